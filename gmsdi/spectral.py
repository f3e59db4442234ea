"""A small network in the STFT domain: a U-Net over frames that masks the input's spectrum and adds to it.

It is what the small checkpoints run, on a CPU; the paper's network, on waveforms, is ``gmsdi.unet``. The bins of a frame are the
features of a 1-D convolution over frames, as the learned basis is in Conv-TasNet (Luo and Mesgarani, 2019); the noise level and the
prompt come in by FiLM (Perez et al., 2018).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmsdi import fused
from gmsdi.errors import BadInputError

KERNEL = 3
"""Frames that a block sees at once."""

HIGHEST = 2.0
"""The fastest wave that a noise level is seen by, in cycles per unit of c_noise: levels from 0.001 to 10 span 2.3 units."""

MOST_GAIN = 8.0
"""What the mask is multiplied by at most."""

SMALLEST = 1e-4
"""Power below which a bin is as good as silent; that of white noise of unit variance is 1."""


@dataclass(frozen=True)
class SpectralConfig:
    """The sizes of the network. Raises ``BadInputError`` for ones that do not fit together."""

    channels: int = 1  # of the signal
    window: int = 1024  # samples
    hop: int = 256  # samples
    widths: tuple[int, ...] = (256, 256, 256)  # features at every level; each has half the frames of the one before
    blocks: int = 1  # residual blocks on each side of a level
    mapping: int = 128  # features M of noise level and prompt together
    embedding_features: int = 0  # F of the prompts; 0 for a network without prompts
    mask_limit: float = 2.0  # the largest magnitude of the mask, before its gain
    sigma_data: float = 0.12  # of the denoiser around the network

    def __post_init__(self) -> None:
        for holds, rule in self._rules():
            if not holds:
                raise BadInputError(f"SpectralConfig: {rule}")

    def _rules(self) -> Iterator[tuple[bool, str]]:
        """What must hold, each rule only asked when those before it hold."""
        sizes = {
            name: getattr(self, name)
            for name in ("channels", "window", "hop", "blocks", "mapping", "mask_limit", "sigma_data")
        }
        yield min(sizes.values()) > 0, f"{sizes} must be positive"
        yield min(self.widths, default=0) > 0, f"widths {list(self.widths)} must be one or more, all positive"
        yield self.embedding_features >= 0, f"{self.embedding_features} embedding_features must not be negative"
        yield self.mapping % 2 == 0, f"{self.mapping} mapping features must be even, sines and cosines"
        yield (
            self.window % (2 * self.hop) == 0,
            f"a window of {self.window} must be a multiple of two hops of {self.hop}, or signals cannot be put together again",
        )

    @staticmethod
    def reading(tokens: int, features: int) -> dict[str, int]:
        """The arguments of a network that reads prompts ``[tokens, features]``, here of any number of tokens."""
        return {"embedding_features": features}

    @property
    def bins(self) -> int:
        """The frequencies of a frame."""
        return self.window // 2 + 1

    @property
    def stride(self) -> int:
        """The frames that one step of the coarsest level spans."""
        return int(2 ** (len(self.widths) - 1))


class SpectralUNet(nn.Module):
    """The network of a configuration. Its last layer begins as zeros, so an untrained network answers 0.

    All that it computes lies in memory frame by frame, ``[B, N, features]``: so does what comes from a Fourier transform, and
    convolutions of it take a fifth less time on a CPU than those of ``[B, features, N]``, which are reordered before and after.
    """

    window: Tensor

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        self.config = config
        widths, parts = config.widths, config.channels * config.bins
        window = torch.hann_window(config.window)
        window /= window.norm()  # the spectrum of white noise has unit power
        self.register_buffer("window", window, persistent=False)
        self.to_mapping = Mapping(config)
        self.to_in = nn.Conv1d(2 * parts, widths[0], 1)
        self.encoders = nn.ModuleList(Stack(config, width) for width in widths)
        self.decoders = nn.ModuleList(Stack(config, width) for width in widths[:-1])
        steps = list(pairwise(widths))
        self.downs = nn.ModuleList(nn.Conv1d(fine, coarse, 4, stride=2, padding=1) for fine, coarse in steps)
        self.ups = nn.ModuleList(nn.ConvTranspose1d(coarse, fine, 4, stride=2, padding=1) for fine, coarse in steps)
        self.to_out = nn.Conv1d(widths[0], 4 * parts, 1)
        for weight in self.to_out.parameters():
            nn.init.zeros_(weight)

    def forward(self, x: Tensor, c_noise: Tensor, embedding: Tensor | None = None) -> Tensor:
        """The output ``[B, C, T]`` for signals ``x`` ``[B, C, T]`` of unit variance and any length.

        ``c_noise`` ``[B]`` is what the denoiser makes of σ, ``embedding`` ``[B, L, F]`` the prompts, of whose tokens the mean is read.
        With P prompts a signal, one signal's after the other's, ``[B · P, L, F]``, the output is ``[B · P, C, T]``, and what all
        prompts of a signal have in common is computed once.
        Raises ``BadInputError`` for shapes that the network cannot read, and for prompts that are missing or that it has no use for.
        """
        self._require_shapes(x, embedding)
        prompts = 1 if embedding is None else len(embedding) // len(x)
        spectrum = self._analyse(x)  # [B, N, C, bins], complex
        features = convolve(self.to_in, compress(spectrum).flatten(2))  # [B, N, widths[0]]
        features = features[:, None].expand(-1, prompts, -1, -1).flatten(0, 1)  # [B · P, N, widths[0]]
        mapping = self.to_mapping(c_noise.repeat_interleave(prompts), embedding)
        output = convolve(self.to_out, self._walk(features, mapping))  # [B · P, N, 4 · C · bins]
        estimate = masked(spectrum, self._gain(c_noise), output, self.config.mask_limit)  # [B · P, N, C, bins], complex
        return self._synthesise(estimate, x.shape[-1])

    def _gain(self, c_noise: Tensor) -> Tensor:
        """What makes a mask of the output one of the denoiser's estimate, ``[B]``.

        With total² = σ² + σ_data², the estimate c_skip x + c_out F(x / total) is (c_skip + mask) x for F = mask · gain · x / total and
        gain = total / c_out = σ / σ_data + σ_data / σ. It is cut at ``MOST_GAIN``, where it would magnify errors.
        """
        level = (4 * c_noise).exp() / self.config.sigma_data
        return (level + 1 / level).clamp(max=MOST_GAIN)

    def _walk(self, x: Tensor, mapping: Tensor) -> Tensor:
        """Down the levels and up again, ``[B, N, widths[0]]``."""
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=False):  # nothing is below the last level
            skips.append(encoder(x, mapping))
            x = convolve(down, skips[-1])
        x = self.encoders[-1](x, mapping)
        for decoder, up, skip in reversed(list(zip(self.decoders, self.ups, skips, strict=True))):
            x = decoder(convolve(up, x) + skip, mapping)
        return x

    def _analyse(self, x: Tensor) -> Tensor:
        """The complex spectrum ``[B, N, C, bins]`` of ``x`` ``[B, C, T]``, N a multiple of the stride.

        It is that of ``torch.stft``: the first frame lies around the first sample.
        """
        window, hop, samples = self.config.window, self.config.hop, x.shape[-1]
        frames = math.ceil((samples / hop + 1) / self.config.stride) * self.config.stride
        padded = F.pad(x.float(), (window // 2, (frames - 1) * hop + window // 2 - samples))
        framed = padded.unfold(2, window, hop).transpose(1, 2)  # [B, N, C, window]
        return torch.fft.rfft(framed * self.window).contiguous()

    def _synthesise(self, spectrum: Tensor, samples: int) -> Tensor:
        """The inverse of ``_analyse``, ``[B, C, samples]``: the same as ``torch.istft``, which takes twice as long for it."""
        half, hop = self.config.window // 2, self.config.hop
        frames = torch.fft.irfft(spectrum)  # [B, N, C, window]
        signal = overlap_add(frames, self.window, hop)
        weight = overlap_add(self.window.expand(1, frames.shape[1], 1, -1), self.window, hop)
        inside = slice(half, half + samples)  # from the middle of the first frame on
        return signal[..., inside] / weight[..., inside]

    def _require_shapes(self, x: Tensor, embedding: Tensor | None) -> None:
        config = self.config
        if x.ndim != 3 or x.shape[1] != config.channels or x.shape[2] == 0:
            raise BadInputError(f"SpectralUNet: a signal {list(x.shape)}; this network reads [B, {config.channels}, T]")
        fits = embedding is None or (embedding.ndim == 3 and embedding.shape[2] == config.embedding_features)
        if not fits or (embedding is None) != (config.embedding_features == 0):
            given = "no prompts" if embedding is None else f"prompts {list(embedding.shape)}"
            wanted = f"[B, L, {config.embedding_features}]" if config.embedding_features else "none"
            raise BadInputError(f"SpectralUNet: {given}; this network reads {wanted}")
        if embedding is not None and len(embedding) % len(x):
            raise BadInputError(f"SpectralUNet: {len(embedding)} prompts for {len(x)} signals; each needs as many")


class Mapping(nn.Module):
    """Noise levels ``[B]`` and prompts ``[B, L, F]`` as the features ``[B, M]`` that every block reads."""

    frequencies: Tensor

    def __init__(self, config: SpectralConfig) -> None:
        super().__init__()
        size = config.mapping
        self.register_buffer("frequencies", torch.linspace(0, HIGHEST, size // 2 + 1)[1:], persistent=False)
        self.level = nn.Sequential(nn.Linear(size, size), nn.SiLU(), nn.Linear(size, size))
        self.prompt = nn.Linear(config.embedding_features, size) if config.embedding_features else None

    def forward(self, c_noise: Tensor, embedding: Tensor | None) -> Tensor:
        phases = 2 * math.pi * c_noise[:, None] * self.frequencies  # [B, M / 2]
        mapping = self.level(torch.cat([phases.sin(), phases.cos()], dim=1))
        if self.prompt is not None and embedding is not None:
            mapping = mapping + self.prompt(embedding.mean(dim=1))
        return F.silu(mapping)


class Stack(nn.ModuleList):
    """The residual blocks of one side of a level, ``[B, N, width]`` to the same."""

    def __init__(self, config: SpectralConfig, width: int) -> None:
        super().__init__(Block(width, config.mapping) for _ in range(config.blocks))

    def forward(self, x: Tensor, mapping: Tensor) -> Tensor:
        for block in self:
            x = block(x, mapping)
        return x


class Block(nn.Module):
    """A residual block, ``[B, N, width]`` to the same: frames are normalised one by one, so it is the same for any length."""

    def __init__(self, width: int, mapping: int) -> None:
        super().__init__()
        self.film = nn.Linear(mapping, 2 * width)
        self.mix = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2)
        self.out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, mapping: Tensor) -> Tensor:
        scale, shift = self.film(mapping)[:, None].chunk(2, dim=2)  # [B, 1, width] each
        power = x.square().mean(dim=2, keepdim=True)  # [B, N, 1]
        hidden = F.silu(torch.addcmul(shift, x * (power + SMALLEST).rsqrt(), 1 + scale))
        return x + convolve(self.out, F.silu(convolve(self.mix, hidden)))


def convolve(layer: Any, x: Tensor) -> Tensor:
    """What ``layer``, a ``Conv1d`` or a ``ConvTranspose1d``, makes of frames: ``[B, N, in]`` to ``[B, N', out]``.

    As a picture of one row whose channels come last in memory: ``nn.Conv1d`` would first bring its input into another order.
    """
    run = F.conv_transpose2d if layer.transposed else F.conv2d
    row: Tensor = run(x.mT[:, :, None], layer.weight[:, :, None], layer.bias, (1, *layer.stride), (0, *layer.padding))
    return row[:, :, 0].mT


def overlap_add(frames: Tensor, window: Tensor, hop: int) -> Tensor:
    """Frames ``[B, N, C, window]`` times ``window``, each a ``hop`` after the one before: ``[B, C, (N - 1) · hop + window]``."""
    count, parts = frames.shape[1], window.view(-1, hop)  # [window / hop, hop]
    signal = frames.new_zeros(len(frames), count + len(parts) - 1, frames.shape[2], hop)
    for k, part in enumerate(parts):
        signal[:, k : k + count].addcmul_(frames[..., k * hop : (k + 1) * hop], part)
    return signal.transpose(1, 2).flatten(2)


def compress(spectrum: Tensor) -> Tensor:
    """The square root of the magnitudes, ``[B, N, 2, C, bins]`` in real and imaginary parts; the phases stay.

    Without it a few loud bins would be all that the network sees.
    """
    if fused.is_usable(spectrum):
        return fused.compress(spectrum, SMALLEST)
    parts = torch.stack([spectrum.real, spectrum.imag], dim=2)
    return parts * (parts.square().sum(dim=2, keepdim=True) + SMALLEST).rsqrt().sqrt()


def masked(spectrum: Tensor, gain: Tensor, output: Tensor, limit: float) -> Tensor:
    """A complex ``spectrum`` ``[B, N, C, bins]`` as the network's ``output`` ``[B · P, N, 4 · C · bins]`` would have it for P prompts.

    The output is a mask and what is added, real and imaginary parts of each. The mask's magnitudes x are squeezed below ``limit``,
    x / √(1 + (x / limit)²), where small ones stay as they are, and multiplied by ``gain`` ``[B]``. ``[B · P, N, C, bins]``.
    """
    if fused.is_usable(spectrum):
        return fused.masked(spectrum, gain, output, limit)
    spectrum = spectrum * gain[:, None, None, None]
    parts = output.float().view(len(spectrum), -1, spectrum.shape[1], 4, *spectrum.shape[2:])  # [B, P, N, 4, C, bins]
    a, b, c, d = parts.unbind(dim=3)
    mask = torch.complex(a, b) * (1 + (a.square() + b.square()) / limit**2).rsqrt()
    return (mask * spectrum[:, None] + torch.complex(c, d)).flatten(0, 1)
