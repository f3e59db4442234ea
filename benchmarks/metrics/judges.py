"""What is found of one generated piece. Distances of whole sets, and their intervals, are made of it later: see ``measures``."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.identity import digest
from benchmarks.journal import Record
from benchmarks.metrics.coherence import Coherence
from benchmarks.metrics.embedders import Embedder
from benchmarks.spec import Task
from gmsdi import STEMS, audio

Floats = npt.NDArray[np.float64]
Cache = Callable[[str, Callable[[], Floats]], Floats]
"""Embeddings ``[n, d]`` by a key, made by the function if they are not there."""


@dataclass(frozen=True)
class Piece:
    """Stems that were ``generated`` for a task, and the ``real`` ones of the excerpt, of which some were given."""

    task: Task
    generated: audio.Samples  # [J, T], of task.stems
    real: audio.Samples  # [STEMS, T]
    rate: int

    def with_given(self, stems: audio.Samples) -> audio.Samples:
        """The mix ``[T]`` of ``stems`` ``[J, T]`` and those that are given."""
        return audio.mixture(np.concatenate([stems, self.of(self.task.given)]))

    def of(self, names: tuple[str, ...]) -> audio.Samples:
        """Real stems by their names, ``[len(names), T]``."""
        return self.real[[STEMS.index(name) for name in names]]


class Judge(ABC):
    """A metric of generated pieces: one class and one yaml."""

    @property
    @abstractmethod
    def signature(self) -> str:
        """Everything that the findings depend on, in one line."""

    @abstractmethod
    def judge(self, piece: Piece, cache: Cache) -> Record:
        """What is found of a piece, for JSON."""


@dataclass(frozen=True)
class Embedding(Judge):
    """The embeddings of a generated mix and of the real one, each under a key made of the samples and the embedder's signature.

    The mixes are of the stems of the task and those that were given: of a single stem that goes with nothing, that stem alone.
    """

    embedder: Embedder

    @property
    def signature(self) -> str:
        return self.embedder.signature

    def judge(self, piece: Piece, cache: Cache) -> Record:
        return {
            "generated": self._embed(piece.with_given(piece.generated), piece.rate, cache),
            "real": self._embed(piece.with_given(piece.of(piece.task.stems)), piece.rate, cache),
        }

    def _embed(self, samples: audio.Samples, rate: int, cache: Cache) -> str:
        key = digest([audio.sha256(samples[None]), rate, self.signature])
        cache(key, lambda: self.embedder.embed(samples, rate).numpy())
        return key


@dataclass(frozen=True)
class Agreements(Judge):
    """How well generated stems go with those that are given, in each of some respects: what a distance of embeddings cannot hear."""

    respects: Mapping[str, Coherence]

    @property
    def signature(self) -> str:
        return " ".join(each.signature for each in self.respects.values())

    def judge(self, piece: Piece, cache: Cache) -> Record:
        given = dict(zip(piece.task.given, piece.of(piece.task.given), strict=True))
        generated = dict(zip(piece.task.stems, piece.generated, strict=True))
        found: Record = {}
        for name, respect in self.respects.items():
            agreement = respect(given, generated, piece.rate)
            found[name] = None if agreement.reason else agreement.value
            found[f"{name}-undefined"] = agreement.reason
        return found
