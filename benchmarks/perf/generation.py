"""The generators of the sub-FAD table as they are configured: seconds per excerpt, by how many stems are generated."""

import copy
import time
from collections.abc import Iterator

import torch
from omegaconf import DictConfig

from benchmarks import config
from benchmarks.perf.systems import WARM_UP, built
from gmsdi import SAMPLE_RATE, STEMS
from gmsdi.errors import GmsdiError
from gmsdi.generate import DiffusionGenerator
from gmsdi.system import Request

BATCH = 2


def report() -> None:
    """Every diffusion generator of the table."""
    settings = config.load(["table=subfad"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    samples = settings.protocol.chunk
    print(
        f"generators on {BATCH} excerpts of {samples} samples ({samples / SAMPLE_RATE:.2f} s), {device}, "
        f"{torch.get_num_threads()} threads; seconds an excerpt with 1, 2, 3 and all 4 stems generated"
    )
    for line in measured(settings.systems, samples, device):
        print(line, flush=True)


def measured(systems: DictConfig, samples: int, device: str) -> Iterator[str]:
    """A line for each diffusion generator; "-" for what it cannot do."""
    for label, generator in built(systems, "generator", DiffusionGenerator):
        if isinstance(generator, GmsdiError):
            yield f"{label}: skipped: {generator}"
            continue
        requests = [request(count, samples, device) for count in range(1, len(STEMS) + 1)]
        able = [not generator.lacks(each.stems, tuple(each.given)) for each in requests]
        seconds = [f"{measure(generator, each):.2f}" if can else "-" for each, can in zip(requests, able, strict=True)]
        yield f"{label}: {', '.join(seconds)} s; {len(generator.sigmas) - 1} steps"


def request(count: int, samples: int, device: str) -> Request:
    """A request for the first ``count`` stems; quiet noise stands for the given others."""
    random = torch.Generator().manual_seed(0)
    given = {stem: 0.1 * torch.randn(BATCH, samples, generator=random) for stem in STEMS[count:]}
    there = {stem: each.to(device) for stem, each in given.items()}
    return Request(STEMS[:count], there, tuple(range(BATCH)), samples, device)


def measure(generator: DiffusionGenerator, asked: Request) -> float:
    """Seconds an excerpt, after a few steps to warm up."""
    warm_up = copy.copy(generator)
    warm_up.sigmas = generator.sigmas[: WARM_UP + 1]
    warm_up.generate(asked)
    began = time.perf_counter()
    generator.generate(asked).cpu()
    return (time.perf_counter() - began) / len(asked.seeds)
