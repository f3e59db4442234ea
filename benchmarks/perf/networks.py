"""Our U-Net beside the same function in ``audio-diffusion-pytorch`` 0.0.43: one evaluation, and one step of a sampler."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module

import torch
from torch import Tensor, nn

from gmsdi.denoiser import Denoiser, joint
from gmsdi.posterior import Dirac
from gmsdi.sampler import Sampler, Streams
from gmsdi.schedule import karras
from gmsdi.unet import UNet1d, UNetConfig

MSDM = UNetConfig(in_channels=4)
CHUNK = 262_144
"""Samples, MSDM's chunk."""

LEVELS = 150
"""MSDM's noise levels; only the first few steps are timed."""

STEPS = 3
CHURN = 20 / LEVELS
"""MSDM's churn, as a share of the noise level, so that a step draws noise as theirs does."""

REPEATS = 5


@dataclass(frozen=True)
class Pair:
    """Median seconds of the same computation on our network and on the package's, and how far apart their results are."""

    ours: float
    theirs: float
    difference: float  # the largest, absolute
    loudest: float  # of the package's values, absolute: the scale of the difference

    def line(self, what: str) -> str:
        """The result for a person."""
        return (
            f"{what}: {self.ours:.3f} s, audio-diffusion-pytorch's {self.theirs:.3f} s: {self.theirs / self.ours:.2f} x; "
            f"largest difference {self.difference:.1e} where values reach {self.loudest:.1e}"
        )


def report() -> None:
    """MSDM's network with random weights, in float32 on the CPU."""
    ours, theirs = networks(MSDM)
    parameters = sum(parameter.numel() for parameter in ours.parameters())
    print(
        f"MSDM's network, {parameters:,} parameters, float32, one chunk of {CHUNK} samples, {torch.get_num_threads()} threads"
    )
    print(evaluation(ours, theirs, CHUNK, REPEATS).line("one evaluation"), flush=True)
    print(step(ours, theirs, CHUNK, STEPS, REPEATS).line("one step of MSDM's sampler with the Dirac likelihood"))


def networks(config: UNetConfig) -> tuple[UNet1d, nn.Module]:
    """Our network and the package's, sharing the same random weights in memory."""
    torch.manual_seed(0)
    theirs = reference(config).eval().requires_grad_(False)
    with torch.device("meta"):
        ours = UNet1d(config)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    return ours.eval().requires_grad_(False), theirs


def reference(config: UNetConfig) -> nn.Module:
    """The package's network of a configuration; the rest of its arguments are as MSDM sets them."""
    modules = import_module("audio_diffusion_pytorch.modules")
    text = {}
    if config.embedding_shape is not None:
        text = dict(
            zip(("context_embedding_max_length", "context_embedding_features"), config.embedding_shape, strict=True)
        )
    network: nn.Module = (modules.UNetConditional1d if text else modules.UNet1d)(
        in_channels=config.in_channels,
        channels=config.channels,
        patch_blocks=1,
        patch_factor=config.patch_factor,
        multipliers=config.multipliers,
        factors=config.factors,
        num_blocks=config.num_blocks,
        attentions=config.attentions,
        attention_heads=config.attention_heads,
        attention_features=config.attention_features,
        attention_multiplier=config.attention_multiplier,
        resnet_groups=config.resnet_groups,
        kernel_multiplier_downsample=2,
        kernel_sizes_init=[1, 3, 7],
        use_nearest_upsample=False,
        use_skip_scale=True,
        use_attention_bottleneck=True,
        use_context_time=True,
        **text,
    )
    return network


@torch.inference_mode()
def evaluation(ours: UNet1d, theirs: nn.Module, samples: int, repeats: int) -> Pair:
    """One pass of both networks over one signal of ``samples``."""
    x = torch.randn(1, ours.config.in_channels, samples, generator=torch.Generator().manual_seed(1))
    level = torch.tensor([0.1]).log() / 4
    return _compare(lambda network: network(x, level), ours, theirs, repeats)


@torch.inference_mode()
def step(ours: UNet1d, theirs: nn.Module, samples: int, steps: int, repeats: int) -> Pair:
    """A step of our sampler on both networks: the first of MSDM's, with its churn, each taken once."""
    sigmas = karras(LEVELS, 1e-4, 1.0)[: steps + 1]
    channels = ours.config.in_channels
    mixture = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(1))

    def sample(network: nn.Module) -> Tensor:
        streams = Streams([0])  # anew each time: the same noise for both
        start = float(sigmas[0]) * streams.noise(mixture[:, None].expand(-1, channels, -1))
        posterior = Dirac(joint(Denoiser(network)), mixture)
        return Sampler(churn=CHURN * steps).sample(posterior, sigmas, start, streams)

    found = _compare(sample, ours, theirs, repeats)
    return Pair(found.ours / steps, found.theirs / steps, found.difference, found.loudest)


def _compare(compute: Callable[[nn.Module], Tensor], ours: nn.Module, theirs: nn.Module, repeats: int) -> Pair:
    found, wanted = compute(ours), compute(theirs)  # also warms both up
    one, other = medians([partial(compute, ours), partial(compute, theirs)], repeats)
    return Pair(one, other, float((found - wanted).abs().max()), float(wanted.abs().max()))


def medians(works: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each work. They take turns, in the other order each round, so that a slow spell of the machine affects all."""
    seconds: list[list[float]] = [[] for _ in works]
    turns = list(zip(works, seconds, strict=True))
    for _ in range(repeats):
        for work, taken in turns:
            began = time.perf_counter()
            work()
            taken.append(time.perf_counter() - began)
        turns.reverse()
    return [statistics.median(taken) for taken in seconds]
