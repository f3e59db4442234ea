"""Music for a person to hear: ``OUT/NNN/STEM.wav`` and ``mix.wav`` of everything that was generated."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig

from benchmarks.notices import progress
from benchmarks.plan.systems import resolve_all
from benchmarks.plan.tasks import Task
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError, near
from gmsdi.system import Generator, Request, item_seed


@dataclass(frozen=True)
class Order:
    """What to generate, and where to. Raises ``BadInputError`` for what cannot be generated, before anything is."""

    prompts: tuple[str, ...]
    given: Path | None
    count: int
    samples: int
    seed: int
    out: Path

    def __post_init__(self) -> None:
        if not self.prompts or min(self.count, self.samples) < 1:
            raise BadInputError("nothing to generate: prompt, n and seconds must be positive")
        if len(set(self.prompts)) < len(self.prompts):
            raise BadInputError(f"prompt: {', '.join(self.prompts)} names a stem twice; give each once")
        for stem in self.prompts:
            if stem not in STEMS:
                raise BadInputError(f"prompt: {stem!r} is no stem{near(stem, STEMS)}")
        for folder in self.folders:
            if folder.exists():
                raise BadInputError(f"{folder}: exists already; remove it, or give another out=DIR")

    @property
    def folders(self) -> list[Path]:
        """Of the items."""
        return [self.out / f"{item:03d}" for item in range(self.count)]

    def stems(self) -> dict[str, torch.Tensor]:
        """The stems ``[T]`` that are given, by name. ``BadInputError`` when there are none, or one is too short or to be generated."""
        if self.given is None:
            return {}
        paths = {stem: path for stem in STEMS if (path := self.given / f"{stem}.wav").is_file()}
        if not paths:
            raise BadInputError(f"{self.given}: holds no STEM.wav with STEM one of {', '.join(STEMS)}; check given=…")
        return {stem: self._read(path) for stem, path in paths.items()}

    def _read(self, path: Path) -> torch.Tensor:
        if path.stem in self.prompts:
            raise BadInputError(f"{path}: is given, and to be generated too; take {path.stem} out of prompt=…")
        samples, rate = audio.read(path)
        stem = audio.resample(audio.mono(samples), rate, SAMPLE_RATE)[0]
        if len(stem) < self.samples:
            raise BadInputError(f"{path}: {len(stem) / SAMPLE_RATE:.2f} s are too short; give fewer seconds=…")
        return torch.from_numpy(np.ascontiguousarray(stem[: self.samples]))


def generate(systems: DictConfig, order: Order, batch_size: int, device: str) -> list[Path]:
    """Generate with the one system, and write the stems that are new, those that were given, and the mix of them.

    Returns the folders that were written. ``BadInputError`` unless there is one system, which can do what the order says.
    """
    given = order.stems()
    generator = _lone_generator(systems, Task(order.prompts, tuple(given)))
    with progress(f"generating {', '.join(order.prompts)}", order.count) as advance:
        for first in range(0, order.count, batch_size):
            items = range(first, min(first + batch_size, order.count))
            seeds = [item_seed(order.seed, "generation", item) for item in items]
            there = {stem: samples.to(device).expand(len(seeds), -1) for stem, samples in given.items()}
            request = Request(order.prompts, there, tuple(seeds), order.samples, device)
            found = generator.generate(request).float().cpu().numpy()
            for item, stems in zip(items, found, strict=True):
                _write(order.folders[item], dict(zip(order.prompts, stems, strict=True)), given)
            advance(len(items))
    return order.folders


def _lone_generator(systems: DictConfig, task: Task) -> Generator:
    if len(systems) != 1:
        raise BadInputError(f"one system generates, {len(systems)} are given ({', '.join(systems)}); give system=NAME")
    (spec,) = resolve_all(systems, [task])
    if spec.lacks or spec.borrows is not None:
        raise BadInputError(
            f"system {spec.row}: {spec.lacks or 'generates nothing, it is made of real stems'}; give another system=NAME"
        )
    generator: Generator = spec.build()
    return generator


def _write(folder: Path, generated: dict[str, audio.Samples], given: dict[str, torch.Tensor]) -> None:
    stems = generated | {name: stem.numpy() for name, stem in given.items()}
    folder.mkdir(parents=True)
    for name, stem in stems.items():
        audio.write(folder / f"{name}.wav", stem[None], SAMPLE_RATE)
    audio.write(folder / "mix.wav", np.sum(list(stems.values()), axis=0, dtype=np.float32)[None], SAMPLE_RATE)


def words(prompt: str) -> Sequence[str]:
    """The stems of "bass, drums"."""
    return [word.strip() for word in prompt.split(",") if word.strip()]
