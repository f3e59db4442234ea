"""Judges of one generated piece. ``benchmarks.cells.measures`` turns their findings into distances of whole sets, with intervals."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks import sources
from benchmarks.identity import digest
from benchmarks.metrics.coherence import Coherence
from benchmarks.metrics.embedders import Embedder
from benchmarks.plan.tasks import Task
from benchmarks.store.journal import Record
from gmsdi import STEMS, audio

Floats = npt.NDArray[np.float64]
Cache = Callable[[str, Callable[[], Floats]], Record]
"""Stores a key's embeddings ``[n, d]``, calling the function for them if they are new; the record tells their place and content."""


@dataclass(frozen=True)
class Piece:
    """The stems that were ``generated`` for a task, and all ``real`` stems of the excerpt, some of which were given."""

    task: Task
    generated: audio.Samples  # [J, T], of task.stems
    real: audio.Samples  # [STEMS, T]
    rate: int

    def with_given(self, stems: audio.Samples) -> audio.Samples:
        """The mix ``[T]`` of the task's ``stems`` ``[J, T]`` and the given ones, always added up in the order of ``STEMS``."""
        every = np.zeros_like(self.real)
        every[self.places(self.task.given)] = self.of(self.task.given)
        every[self.places(self.task.stems)] = stems
        return audio.mixture(every)

    def of(self, names: tuple[str, ...]) -> audio.Samples:
        """Real stems by their names, ``[len(names), T]``."""
        return self.real[self.places(names)]

    @staticmethod
    def places(names: tuple[str, ...]) -> list[int]:
        """Where stems are in ``real``."""
        return [STEMS.index(name) for name in names]


class Judge(ABC):
    """A metric of generated pieces: one class and one yaml."""

    @property
    @abstractmethod
    def signature(self) -> str:
        """Everything that the findings depend on, in one line."""

    @property
    def shortest(self) -> float:
        """Seconds that a piece must have to be judged at all."""
        return 0.0

    @property
    @abstractmethod
    def modules(self) -> tuple[str, ...]:
        """The modules whose code decides the findings."""

    @property
    def columns(self) -> dict[str, str]:
        """What of its findings is a number by itself, and the signature of each."""
        return {}

    @abstractmethod
    def judge(self, piece: Piece, cache: Cache) -> Record:
        """The findings of a piece, for JSON."""


@dataclass(frozen=True)
class Embedding(Judge):
    """The embeddings of a generated mix and of the real one, each cached by its samples and the embedder's signature and code.

    A mix is the sum of the task's stems and the given ones; without given ones, of the task's stems alone.
    """

    embedder: Embedder

    @property
    def signature(self) -> str:
        return self.embedder.signature

    @property
    def shortest(self) -> float:
        return self.embedder.shortest

    @property
    def modules(self) -> tuple[str, ...]:
        return type(self).__module__, type(self.embedder).__module__

    def judge(self, piece: Piece, cache: Cache) -> Record:
        return {
            "generated": self._embed(piece.with_given(piece.generated), piece.rate, cache),
            "real": self._embed(piece.with_given(piece.of(piece.task.stems)), piece.rate, cache),
        }

    def _embed(self, samples: audio.Samples, rate: int, cache: Cache) -> Record:
        code = digest(sources.digests([type(self.embedder).__module__]))
        key = digest([audio.sha256(samples[None]), rate, self.signature, code])
        return cache(key, lambda: self.embedder.embed(samples, rate).numpy())


@dataclass(frozen=True)
class Agreements(Judge):
    """How well generated stems fit the given ones, in each of the ``respects``; a distance of embeddings cannot hear it."""

    respects: Mapping[str, Coherence]

    @property
    def signature(self) -> str:
        return " ".join(each.signature for each in self.respects.values())

    @property
    def modules(self) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys([type(self).__module__, *(type(each).__module__ for each in self.respects.values())])
        )

    @property
    def columns(self) -> dict[str, str]:
        return {name: respect.signature for name, respect in self.respects.items()}

    def judge(self, piece: Piece, cache: Cache) -> Record:
        given = dict(zip(piece.task.given, piece.of(piece.task.given), strict=True))
        generated = dict(zip(piece.task.stems, piece.generated, strict=True))
        found: Record = {}
        for name, respect in self.respects.items():
            agreement = respect(given, generated, piece.rate)
            found[name] = None if agreement.reason else agreement.value
            found[f"{name}-undefined"] = agreement.reason
        return found
