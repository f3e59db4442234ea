"""The diffusion systems of a table as they are configured: seconds per chunk, how many evaluations those are, and float32 beside it."""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook

from benchmarks import config
from benchmarks.data.dataset import Dataset
from benchmarks.device import cpu_name
from benchmarks.perf.networks import medians
from benchmarks.plan.units import Protocol
from gmsdi import audio
from gmsdi.denoiser import Denoiser, SourceDenoiser
from gmsdi.errors import GmsdiError
from gmsdi.posterior import Posterior
from gmsdi.precision import computes_bfloat16, features
from gmsdi.separate import DiffusionSeparator
from gmsdi.system import Batch, Place

SONGS = 2
WARM_UP = 2
"""Steps of a sampler, before any are timed; as many are compared in both precisions."""

REPEATS = 3


@dataclass
class Count:
    """What went on while it was counted."""

    calls: int = 0  # of the sampler's denoiser, each for a whole batch
    evaluations: int = 0  # passes of one item through a network: each source, prompt or stem that has its own is one


@dataclass(frozen=True)
class Speed:
    """A system on some chunks at once."""

    chunks: int
    seconds: float  # of all of them together
    calls: int  # of the sampler's denoiser; each chunk takes part in all of them
    evaluations: int  # of networks, over all chunks
    float32: float  # how many times as long it takes in float32

    def line(self, label: str) -> str:
        """The result for a person."""
        return (
            f"{label}: {self.seconds / self.chunks:.2f} s a chunk; {self.calls} denoiser calls and "
            f"{self.evaluations / self.chunks:g} network evaluations a chunk, {self.evaluations / self.seconds:.1f} evaluations/s; "
            f"in float32 {self.float32:.2f} times as long"
        )


def report() -> None:
    """Every diffusion system of the separation table."""
    settings = config.load(["table=separation"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = chunks(config.build(settings.dataset).split("test"), config.build(settings.protocol), device)
    count, samples = batch.mixtures.shape
    print(
        f"systems on {count} chunks of {samples} samples ({samples / batch.rate:.2f} s) of {settings.dataset.title}, "
        f"{device}, {torch.get_num_threads()} threads"
    )
    print(processor(torch.device(device)))
    for line in measured(settings.systems, batch):
        print(line, flush=True)


def processor(device: torch.device) -> str:
    """The CPU, what it has for bfloat16, and what networks for which it is wanted compute in on ``device``."""
    names = {"avx512_f": "AVX-512", "avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX BF16"}
    found = [name for feature, name in names.items() if feature in features()]
    precision = "bfloat16" if computes_bfloat16(device) else "float32"
    return f"{cpu_name()}, {', '.join(found) or 'no AVX-512'}; networks compute in {precision} on {device.type}"


def measured(systems: DictConfig, batch: Batch) -> Iterator[str]:
    """A line for each diffusion system; systems that are made of others' outputs cost what those cost, and have none."""
    for label, separator in built(systems, "separator", DiffusionSeparator):
        if isinstance(separator, GmsdiError):
            yield f"{label}: skipped: {separator}"
        else:
            yield measure(separator, batch).line(label)


def built(systems: DictConfig, key: str, kind: type) -> Iterator[tuple[str, Any]]:
    """The systems of a ``kind``, by the ``key`` of their nodes, with their labels; or why one cannot be made."""
    for node in systems.values():
        if issubclass(get_class(node[key]._target_), kind):
            try:
                yield node.label, config.build(node[key])
            except GmsdiError as error:
                yield node.label, error


def chunks(dataset: Dataset, protocol: Protocol, device: str) -> Batch:
    """The first excerpt of each of the first songs."""
    tracks = dataset.manifest.tracks[:SONGS]
    excerpts = [protocol.excerpts(track)[0] for track in tracks]
    stems = [dataset.stems(track) for track in tracks]
    mixtures = [
        torch.from_numpy(audio.mixture(each[:, excerpt.start : excerpt.start + excerpt.length]))
        for each, excerpt in zip(stems, excerpts, strict=True)
    ]
    return Batch(
        mixtures=torch.stack(mixtures).to(device),
        rate=dataset.manifest.rate,
        seeds=tuple(range(len(tracks))),
        places=tuple(Place(track.name, excerpts[i].start, track.frames) for i, track in enumerate(tracks)),
    )


@torch.inference_mode()
def measure(separator: DiffusionSeparator, batch: Batch) -> Speed:
    """The speed of a system on a batch, after a few steps on the same batch that warm it up."""
    _few_steps(separator, separator.bf16).separate(batch)
    with counting(separator) as (counted, count):
        began = time.perf_counter()
        counted.separate(batch).cpu()
        seconds = time.perf_counter() - began
    works = [partial(_few_steps(separator, bf16).separate, batch) for bf16 in (separator.bf16, False)]
    configured, float32 = medians(works, REPEATS)
    return Speed(len(batch.seeds), seconds, count.calls, count.evaluations, float32 / configured)


def _few_steps(separator: DiffusionSeparator, bf16: bool) -> DiffusionSeparator:
    few = copy.copy(separator)
    few.sigmas, few.bf16 = separator.sigmas[: WARM_UP + 1], bf16
    return few


@contextmanager
def counting(separator: DiffusionSeparator) -> Iterator[tuple[DiffusionSeparator, Count]]:
    """The same system, and what is counted of it while the context lasts; counting takes no time to speak of."""
    count = Count()
    counted = copy.copy(separator)

    def posterior(denoise: SourceDenoiser, mixture: Tensor) -> Posterior:
        def counted_denoise(x: Tensor, sigma: float) -> Tensor:
            count.calls += 1
            return denoise(x, sigma)

        return separator.posterior(counted_denoise, mixture)

    def count_items(module: torch.nn.Module, inputs: tuple[Any, ...], estimates: Any) -> None:
        count.evaluations += len(estimates) if isinstance(module, Denoiser) else 0

    counted.posterior = posterior
    handle = register_module_forward_hook(count_items)
    try:
        yield counted, count
    finally:
        handle.remove()
