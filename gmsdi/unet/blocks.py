"""What a level of the U-Net is made of: residual blocks, transformer blocks, and the names of their parameters."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmsdi.unet.attention import ChannelNorm, CrossAttention, SelfAttention
from gmsdi.unet.config import UNetConfig


class Nested(nn.Module):
    """A module whose parameters are named as if it lay in others, ``path``, as it does in ``audio-diffusion-pytorch``."""

    def __init__(self, path: str, module: nn.Module) -> None:
        super().__init__()
        name, _, rest = path.partition(".")
        self.add_module(name, Nested(rest, module) if rest else module)

    def forward(self, *inputs: Tensor) -> Tensor:
        (module,) = self.children()
        output: Tensor = module(*inputs)
        return output


class ConvBlock(nn.Module):
    """Group normalisation, a scale and a shift ``[B, C, 1]`` where given, SiLU and a convolution of width 3."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.groupnorm = nn.GroupNorm(groups, in_channels)
        self.project = nn.Conv1d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor, scale_shift: tuple[Tensor, Tensor] | None = None) -> Tensor:
        x = self.groupnorm(x)
        if scale_shift is not None:
            scale, shift = scale_shift
            x = torch.addcmul(shift, x, scale + 1)
        output: Tensor = self.project(F.silu(x))
        return output


class ResnetBlock(nn.Module):
    """Two convolutions beside a residual path, ``[B, C, N]`` to ``[B, C', N]``; the mapping ``[B, M]`` modulates the second.

    In a network with text, attention to the prompt is in between. The blocks at the ``edge`` of the network, which see samples,
    have groups of their own and no text.
    """

    def __init__(self, config: UNetConfig, in_channels: int, out_channels: int, *, edge: bool = False) -> None:
        super().__init__()
        groups = config.edge_groups if edge else config.resnet_groups
        self.block1 = ConvBlock(in_channels, out_channels, groups)
        self.to_scale_shift = Nested("to_scale_shift.1", nn.Linear(config.mapping_features, 2 * out_channels))
        self.cross_attend = None
        if config.embedding_shape is not None and not edge:
            _, features = config.embedding_shape
            self.cross_attend = Nested("fn", CrossAttention(config, out_channels, features))
        self.block2 = ConvBlock(out_channels, out_channels, groups)
        self.to_out = nn.Identity() if in_channels == out_channels else nn.Conv1d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, mapping: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.block1(x)
        if self.cross_attend is not None and embedding is not None:
            h = h + self.cross_attend(h, embedding)
        scale, shift = self.to_scale_shift(mapping)[:, :, None].chunk(2, dim=1)  # [B, C', 1] each
        output: Tensor = self.block2(h, (scale, shift)) + self.to_out(x)
        return output


class TransformerBlock(nn.Module):
    """Self-attention and a feed-forward network over the steps of ``[B, C, N]``, each beside a residual path."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        hidden = config.attention_multiplier * channels
        self.attention = Nested("fn", SelfAttention(config, channels))
        self.feed_forward = nn.Sequential(
            ChannelNorm(channels),
            nn.Conv1d(channels, hidden, 1, bias=False),
            nn.GELU(),
            ChannelNorm(hidden),
            nn.Conv1d(hidden, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        output: Tensor = x + self.feed_forward(x)
        return output
