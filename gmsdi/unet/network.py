"""The U-Net: samples folded into patches, levels that downsample, a bottleneck, and levels that upsample and read the skips."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmsdi.errors import BadInputError
from gmsdi.unet.attention import SelfAttention
from gmsdi.unet.blocks import Nested, ResnetBlock, TransformerBlock
from gmsdi.unet.config import UNetConfig

SKIP_SCALE = 2**-0.5
"""What a skip is multiplied by where the decoder reads it."""


class UNet1d(nn.Module):
    """The network of a configuration, with PyTorch's default initialisation."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        features, edge = config.mapping_features, config.edge_channels
        self.to_time = nn.Sequential(
            nn.Sequential(FourierFeatures(config.channels), nn.Linear(1 + config.channels, features)), nn.GELU()
        )
        self.to_mapping = nn.Sequential(
            nn.Linear(features, features), nn.GELU(), nn.Linear(features, features), nn.GELU()
        )
        levels = range(len(config.factors))
        self.to_in = Nested("module_list.0.block", ResnetBlock(config, config.in_channels, edge, edge=True))
        self.downsamples = nn.ModuleList(Downsample(config, level) for level in levels)
        self.bottleneck = Bottleneck(config)
        self.upsamples = nn.ModuleList(Upsample(config, level) for level in reversed(levels))
        self.to_out = Nested("module_list.0.block", ResnetBlock(config, edge, config.in_channels, edge=True))
        if config.embedding_shape is not None:
            self.fixed_embedding = Nested("embedding", nn.Embedding(*config.embedding_shape))

    def forward(self, x: Tensor, t: Tensor, embedding: Tensor | None = None) -> Tensor:
        """The output ``[B, C, T]`` for signals ``x [B, C, T]`` at noise levels ``t [B]``, given prompts ``[B, L, F]`` or none.

        ``t`` is what the denoiser makes of σ, commonly ``log(σ) / 4``. A network with text always reads an embedding; that of no
        prompt is ``null``. With P prompts a signal, one signal's after the other's, ``[B · P, L, F]``, the output is ``[B · P, C, T]``.
        Raises ``BadInputError`` for a signal or an embedding of a shape that it cannot read.
        """
        self._require_shapes(x, embedding)
        if embedding is not None:
            x, t = (each.repeat_interleave(len(embedding) // len(x), dim=0) for each in (x, t))
        mapping = F.silu(self.to_mapping(self.to_time(t)))  # [B, M]; every block would begin with this SiLU
        patches = fold(self.to_in(x, mapping), self.config.patch_factor)  # [B, channels, T / patch_factor]
        x, skips = patches, []
        for downsample in self.downsamples:
            x, kept = downsample(x, mapping, embedding)
            skips += kept
        x = self.bottleneck(x, mapping, embedding)
        for upsample in self.upsamples:
            x = upsample(x, skips, mapping, embedding)
        output: Tensor = self.to_out(unfold(x + patches, self.config.patch_factor), mapping)
        return output

    @property
    def null(self) -> Tensor | None:
        """The learned embedding of no prompt, ``[L, F]`` for the most tokens; beside prompts of ``n`` tokens, take ``[:n]``.

        None in a network without text.
        """
        if self.config.embedding_shape is None:
            return None
        (embedding,) = self.fixed_embedding.parameters()
        return embedding

    def _require_shapes(self, x: Tensor, embedding: Tensor | None) -> None:
        config, (_, channels, samples) = self.config, x.shape
        if channels != config.in_channels:
            raise BadInputError(f"UNet1d: a signal of {channels} channels; this network reads {config.in_channels}")
        if samples == 0 or samples % config.stride:
            longer = max(1, math.ceil(samples / config.stride)) * config.stride
            raise BadInputError(
                f"UNet1d: a signal of {samples} samples is no multiple of the stride, {config.stride}; pad it to {longer}"
            )
        tokens, features = embedding.shape[1:] if embedding is not None else (0, 0)
        most, wanted = config.embedding_shape or (0, 0)
        if tokens > most or features != wanted:
            raise BadInputError(
                f"UNet1d: an embedding of {tokens} tokens of {features} features; this network reads up to {most} of {wanted}"
            )


class FourierFeatures(nn.Module):
    """A noise level ``[B]``, its sines and its cosines at learned frequencies, ``[B, 1 + features]``."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(features // 2))

    def forward(self, t: Tensor) -> Tensor:
        t = t[:, None]
        phases = t * self.weights * (2 * math.pi)  # [B, features / 2]
        return torch.cat([t, phases.sin(), phases.cos()], dim=1)


class Downsample(nn.Module):
    """A level of the encoder, ``[B, fine, N]`` to ``[B, coarse, N / factor]``, and the skips that it leaves for the decoder."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        super().__init__()
        fine, coarse = config.widths[level : level + 2]
        factor = config.factors[level]
        self.downsample = nn.Conv1d(fine, coarse, 2 * factor + 1, factor, padding=factor)
        self.blocks = nn.ModuleList(ResnetBlock(config, coarse, coarse) for _ in range(config.num_blocks[level]))
        self.transformer = TransformerBlock(config, coarse) if config.attentions[level] else None

    def forward(self, x: Tensor, mapping: Tensor, embedding: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        x = self.downsample(x)
        skips = []
        for block in self.blocks:
            x = block(x, mapping, embedding)
            skips.append(x)
        if self.transformer is not None:
            x = self.transformer(x)
            skips.append(x)
        return x, skips


class Bottleneck(nn.Module):
    """The coarsest level, ``[B, C, N]``: attention between two residual blocks, without a residual path of its own."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        channels = config.widths[-1]
        self.pre_block = ResnetBlock(config, channels, channels)
        self.attention = Nested("fn", SelfAttention(config, channels))
        self.post_block = ResnetBlock(config, channels, channels)

    def forward(self, x: Tensor, mapping: Tensor, embedding: Tensor | None) -> Tensor:
        x = self.attention(self.pre_block(x, mapping, embedding))
        output: Tensor = self.post_block(x, mapping, embedding)
        return output


class Upsample(nn.Module):
    """A level of the decoder, ``[B, coarse, N]`` to ``[B, fine, N · factor]``; each of its blocks takes the last skip that is left."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        super().__init__()
        fine, coarse = config.widths[level : level + 2]
        factor, skips = config.factors[level], config.num_blocks[level] + config.attentions[level]
        self.blocks = nn.ModuleList(ResnetBlock(config, 2 * coarse, coarse) for _ in range(skips))
        self.transformer = TransformerBlock(config, coarse) if config.attentions[level] else None
        padding, odd = (factor + 1) // 2, factor % 2
        self.upsample = nn.ConvTranspose1d(coarse, fine, 2 * factor, factor, padding=padding, output_padding=odd)

    def forward(self, x: Tensor, skips: list[Tensor], mapping: Tensor, embedding: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(torch.cat([x, skips.pop() * SKIP_SCALE], dim=1), mapping, embedding)
        if self.transformer is not None:
            x = self.transformer(x)
        output: Tensor = self.upsample(x)
        return output


def fold(x: Tensor, size: int) -> Tensor:
    """``size`` successive steps of ``[B, C, N · size]`` as channels of one step, ``[B, C · size, N]``."""
    return x.unflatten(2, (-1, size)).transpose(2, 3).flatten(1, 2)


def unfold(x: Tensor, size: int) -> Tensor:
    """The inverse of ``fold``."""
    return x.unflatten(1, (-1, size)).transpose(2, 3).flatten(2)
