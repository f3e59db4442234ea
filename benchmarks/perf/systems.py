"""The diffusion systems of a table as they are configured: seconds per chunk, and how many evaluations those are."""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from benchmarks import config
from benchmarks.data.dataset import Dataset
from benchmarks.plan.units import Protocol
from gmsdi import audio
from gmsdi.denoiser import Denoiser, SourceDenoiser
from gmsdi.errors import GmsdiError
from gmsdi.posterior import Posterior
from gmsdi.separate import DiffusionSeparator
from gmsdi.system import Batch

SONGS = 2
WARM_UP = 2
"""Steps of a sampler, before any are timed."""


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

    def line(self, label: str) -> str:
        """The result for a person."""
        return (
            f"{label}: {self.seconds / self.chunks:.2f} s a chunk; {self.calls} denoiser calls and "
            f"{self.evaluations / self.chunks:g} network evaluations a chunk, {self.evaluations / self.seconds:.1f} evaluations/s"
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
    for line in measured(settings.systems, batch):
        print(line, flush=True)


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
        tracks=tuple(track.name for track in tracks),
        starts=tuple(excerpt.start for excerpt in excerpts),
        frames=tuple(track.frames for track in tracks),
    )


@torch.inference_mode()
def measure(separator: DiffusionSeparator, batch: Batch) -> Speed:
    """The speed of a system on a batch, after a few steps on the same batch that warm it up."""
    warm_up = copy.copy(separator)
    warm_up.sigmas = separator.sigmas[: WARM_UP + 1]
    warm_up.separate(batch)
    with counting(separator) as (counted, count):
        began = time.perf_counter()
        counted.separate(batch).cpu()
        seconds = time.perf_counter() - began
    return Speed(len(batch.seeds), seconds, count.calls, count.evaluations)


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

    def count_items(module: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        count.evaluations += len(inputs[0]) if isinstance(module, Denoiser) else 0

    counted.posterior = posterior
    handle = register_module_forward_pre_hook(count_items)
    try:
        yield counted, count
    finally:
        handle.remove()
