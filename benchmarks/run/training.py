"""Train a model of ``configs/model`` on a dataset's train split, and save its checkpoint, with all that it takes to make it again."""

import datetime
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from baselines import demucs
from benchmarks.data.dataset import Dataset
from benchmarks.data.training import (
    INDEX,
    JointChunks,
    Mixtures,
    StemChunks,
    batches,
    prompted_batches,
    write_mixtures,
)
from benchmarks.device import processor
from benchmarks.identity import short
from benchmarks.notices import say
from gmsdi import SAMPLE_RATE, STEMS, checkpoint, processes
from gmsdi.checkpoint import Manifest
from gmsdi.errors import BadInputError, near
from gmsdi.model import build_denoiser, build_encoder, with_prompts
from gmsdi.objective import Batch, Row, Validation
from gmsdi.prompts import join
from gmsdi.text import SEPARATOR
from gmsdi.train import TrainConfig, Trained, train

SIGMAS = (0.03, 0.1, 0.3, 1.0)
"""The noise levels of validation."""

VALIDATION_ITEMS = 32
"""Chunks of validation, of Demucs, as far as batches fill them."""

VALIDATION_SEED = 1
"""Of the validation chunks: the same ones whatever a training's own seed is."""


@dataclass(frozen=True)
class Lessons:
    """What a training learns from and is judged by."""

    data: Callable[[int], Batch]
    validation: Callable[[Any], Row]


class Material(ABC):
    """A kind of model, and what it may see of a dataset."""

    kind: str  # of the checkpoint
    stems: tuple[str, ...]  # of the checkpoint

    def network(self, sizes: Mapping[str, Any]) -> dict[str, Any]:
        """The network's configuration, from what a model's config says of it."""
        return dict(sizes)

    def build(self, network: Mapping[str, Any]) -> Any:
        """The untrained model; its ``network`` is what a checkpoint holds."""
        return build_denoiser(network)

    @abstractmethod
    def lessons(self, training: Dataset, validation: Dataset, chunk: int, batch_size: int, seed: int) -> Lessons:
        """Batches of ``batch_size`` chunks of ``chunk`` samples from ``training``, and fixed ones from ``validation``."""

    @property
    def text(self) -> Mapping[str, Any] | None:
        """The manifest's entry for the text encoder."""
        return None


class Joint(Material):
    """All stems of a song at once: MSDM."""

    kind, stems = "msdm", STEMS

    def lessons(self, training: Dataset, validation: Dataset, chunk: int, batch_size: int, seed: int) -> Lessons:
        data = batches(JointChunks(training, chunk, seed), batch_size)
        return Lessons(
            data, Validation(batches(JointChunks(validation, chunk, VALIDATION_SEED), batch_size)(0), SIGMAS)
        )


class OneStem(Material):
    """One stem alone: a model of Weakly Supervised MSDM."""

    kind = "weak-msdm"

    def __init__(self, stem: str) -> None:
        if stem not in STEMS:
            raise BadInputError(f"model.stem={stem}: is no stem{near(stem, STEMS)}")
        self.stem, self.stems = stem, (stem,)

    def lessons(self, training: Dataset, validation: Dataset, chunk: int, batch_size: int, seed: int) -> Lessons:
        data = batches(StemChunks(training, self.stem, chunk, seed), batch_size)
        held_out = batches(StemChunks(validation, self.stem, chunk, VALIDATION_SEED), batch_size)(0)
        return Lessons(data, Validation(held_out, SIGMAS))


class Supervised(Joint):
    """All stems of a song at once, to be predicted from their mixture: Demucs."""

    kind = demucs.KIND

    def build(self, network: Mapping[str, Any]) -> Any:
        return demucs.build(network)

    def lessons(self, training: Dataset, validation: Dataset, chunk: int, batch_size: int, seed: int) -> Lessons:
        if batch_size % demucs.GROUP:
            raise BadInputError(
                f"batch_size={batch_size}: remixing takes groups of {demucs.GROUP}; give a multiple of it"
            )
        held_out = batches(JointChunks(validation, chunk, VALIDATION_SEED), batch_size)
        return Lessons(
            batches(JointChunks(training, chunk, seed), batch_size),
            demucs.Lesson(tuple(held_out(n) for n in range(VALIDATION_ITEMS // batch_size or 1))),
        )


class PromptedMixtures(Material):
    """Mixtures and the prompts of what plays in them, and nothing else: GMSDI.

    The mixtures are written to ``folder`` first; what trains reads that folder alone.
    """

    kind, stems = "gmsdi", STEMS

    def __init__(self, folder: str, encoder: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._text = OmegaConf.to_container(OmegaConf.create(dict(encoder)), resolve=True)
        self.encoder = build_encoder(self._text)  # type: ignore[arg-type]

    @property
    def text(self) -> Mapping[str, Any]:
        return self._text  # type: ignore[return-value]

    def network(self, sizes: Mapping[str, Any]) -> dict[str, Any]:
        return with_prompts(sizes, *self.encoder.encode([""]).shape[1:])

    def lessons(self, training: Dataset, validation: Dataset, chunk: int, batch_size: int, seed: int) -> Lessons:
        data = prompted_batches(self._mixtures(training, chunk, seed), batch_size, self.encoder)
        held_out = self._mixtures(validation, chunk, VALIDATION_SEED)
        chunks, prompts = zip(*(held_out[0, item] for item in range(batch_size)), strict=True)
        null = self.encoder.encode([""])
        others = {
            "null": null.expand(batch_size, -1, -1),
            "wrong": self.encoder.encode([_wrong(prompt) for prompt in prompts]),
        }
        batch = Batch(torch.stack(chunks), self.encoder.encode(prompts))
        return Lessons(data, Validation(batch, SIGMAS, others))

    def _mixtures(self, dataset: Dataset, chunk: int, seed: int) -> Mixtures:
        folder = self.folder / f"{dataset.manifest.split}-{short(dataset.manifest.digest)}"
        if not (folder / INDEX).exists():
            write_mixtures(dataset, folder)
        return Mixtures(folder, chunk, seed)


def _wrong(prompt: str) -> str:
    """What is *not* in a chunk; of a chunk with everything in it, the first stem alone."""
    rest = [stem for stem in STEMS if stem not in prompt.split(SEPARATOR)]
    return join(rest or STEMS[:1])


@dataclass(frozen=True)
class Training:
    """One training run: a model, what it learns from, how, and where all of it goes."""

    name: str
    material: Material
    network: Mapping[str, Any]  # as gmsdi.model.build_denoiser takes it
    how: TrainConfig
    chunk: int  # samples
    batch_size: int
    folder: Path  # of its state and curve, from which a killed run goes on
    checkpoint: Path

    def run(self, training: Dataset, validation: Dataset, device: str, command: Sequence[str]) -> Trained[Any]:
        """Train, or go on, and write the checkpoint: float16 weights of the average, and the manifest."""
        with processes.first_before_others():
            lessons = self.material.lessons(training, validation, self.chunk, self.batch_size, self.how.seed)
        network = self.material.network(self.network)
        torch.manual_seed(self.how.seed)
        model = self.material.build(network).to(device)
        identity = {
            "sizes": network,
            "chunk": self.chunk,
            "batch_size": self.batch_size,
            "data": training.manifest.digest,
        }
        trained = train(self.how, model, lessons.data, lessons.validation, self.folder, self._report, identity)
        if processes.first():
            weights = {name: weight.half() for name, weight in trained.model.network.state_dict().items()}
            checkpoint.save(self.checkpoint, weights, self._manifest(network, trained, training, device, command))
        return trained

    def _report(self, row: Row) -> None:
        say(
            f"{self.name}: step {row['step']:.0f} of {self.how.steps}, "
            + ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "step")
        )

    def _manifest(
        self, network: Mapping[str, Any], trained: Trained[Any], training: Dataset, device: str, command: Sequence[str]
    ) -> Manifest:
        text = {"text": self.material.text} if self.material.text else {}
        return Manifest(
            kind=self.material.kind,
            config={**network, **text},
            stems=self.material.stems,
            sample_rate=SAMPLE_RATE,
            training_data=training.manifest.digest,
            step=trained.step,
            metrics={name: value for name, value in trained.curve[-1].items() if name.startswith("validation_")},
            training={
                "model": self.name,
                "command": " ".join(command),
                "data": f"{training.manifest.title} {training.manifest.split}",
                "chunk": self.chunk,
                "batch_size": self.batch_size,
                **_plain(self.how),
                "minutes": round(trained.seconds / 60, 1),
                "machine": _machine(device),
                "finished": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "curve": [dict(row) for row in trained.curve],
            },
        )


def _plain(how: TrainConfig) -> dict[str, Any]:
    """The settings as JSON can hold them."""
    learned = {"class": type(how.objective).__name__, **asdict(how.objective)}  # type: ignore[call-overload]
    return {name: value for name, value in asdict(how).items() if name != "seconds"} | {"objective": learned}


def _machine(device: str) -> str:
    """The processors that trained, without the name of the host: one a process."""
    several = f"{processes.count()} × " if processes.count() > 1 else ""
    return several + processor(device)
