"""Attention over the steps of ``[B, C, N]``: to the signal itself, and to a prompt's embedding ``[B, L, F]``."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmsdi.unet.config import UNetConfig


class LayerNorm(nn.Module):
    """Layer normalisation over the last dimension, with a gain and no bias."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.g.shape, self.g)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of ``[B, C, N]``, with a gain and no bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        gain = self.g.flatten()
        return F.layer_norm(x.mT, gain.shape, gain).mT


class Heads(nn.Module):
    """Scaled dot-product attention of every head, and the projection of all heads back to ``features``."""

    def __init__(self, config: UNetConfig, features: int) -> None:
        super().__init__()
        self.heads = config.attention_heads
        inner = config.attention_heads * config.attention_features
        self.to_out = nn.Sequential(nn.Linear(inner, features, bias=False), LayerNorm(features))

    def forward(self, queries: Tensor, keys_values: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)  # [B, H, steps, D]
            for part in (queries, *keys_values.chunk(2, dim=2))
        )
        attended = F.scaled_dot_product_attention(q, k, v)  # [B, H, N, D]
        output: Tensor = self.to_out(attended.transpose(1, 2).flatten(2))  # [B, N, features]
        return output


class SelfAttention(nn.Module):
    """Every step of ``[B, C, N]`` attends to all of them."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        inner = config.attention_heads * config.attention_features
        self.norm = LayerNorm(channels)
        self.to_q = nn.Linear(channels, inner, bias=False)
        self.to_kv = nn.Linear(channels, 2 * inner, bias=False)
        self.attention = Heads(config, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.mT)  # [B, N, C]
        output: Tensor = self.attention(self.to_q(x), self.to_kv(x))
        return output.mT


class CrossAttention(nn.Module):
    """Every step of ``[B, C, N]`` attends to the tokens of a prompt's embedding ``[B, L, F]``."""

    def __init__(self, config: UNetConfig, channels: int, features: int) -> None:
        super().__init__()
        inner = config.attention_heads * config.attention_features
        self.norm_in = LayerNorm(channels)
        self.norm_context = LayerNorm(features)
        self.to_q = nn.Linear(channels, inner, bias=False)
        self.to_kv = nn.Linear(features, 2 * inner, bias=False)
        self.attention = Heads(config, channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        queries = self.to_q(self.norm_in(x.mT))  # [B, N, inner]
        output: Tensor = self.attention(queries, self.to_kv(self.norm_context(embedding)))
        return output.mT
