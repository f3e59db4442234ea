"""From findings of pieces to a number with its uncertainty: the distance of two sets of embeddings, or a mean agreement.

Uncertainty is over tracks, by the jackknife: each number once without each of the tracks. So two systems can be compared pairwise. For
few songs it holds where the bootstrap does not: a resample has fewer different songs, which makes distances larger.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from benchmarks.cells.stats import FEWEST as INTERVAL
from benchmarks.cells.stats import LEVEL
from benchmarks.metrics.frechet import Statistics, extrapolate, frechet, in_their_span
from benchmarks.metrics.judges import Judge
from benchmarks.metrics.kernel import Related, discrepancy
from benchmarks.store.journal import Record
from benchmarks.tables.table import Better

Floats = npt.NDArray[np.float64]
Read = Callable[[Record], Floats]
"""Reads the embeddings ``[n, d]`` that a finding points to."""

SEED = 0
"""Of the random subsets for FAD∞."""

FEWEST = 3
"""Tracks below which there is no number: two songs say nothing about others."""


@dataclass(frozen=True)
class Estimate:
    """A number, its replicas each without one of the tracks, and how many pieces (embeddings, excerpts) it stands on.

    ``value`` is None for a ``reason``. ``note`` is what a reader must know. ``places`` are those of the tracks that it stands on, None
    for all; ``tracks`` are their names. Fewer tracks bias a distance more, so only numbers of the same tracks can be compared.
    """

    value: float | None
    count: int = 0
    replicas: Floats | None = None  # [tracks]
    reason: str = ""
    note: str = ""
    places: tuple[int, ...] | None = None
    tracks: tuple[str, ...] = ()

    @property
    def error(self) -> float | None:
        """The jackknife's standard error (Efron and Tibshirani 1993, section 11.5); None where it is not known."""
        if self.replicas is None or not np.isfinite(self.replicas).all():
            return None
        number = len(self.replicas)
        return float(np.sqrt((number - 1) / number * np.square(self.replicas - self.replicas.mean()).sum()))

    @property
    def songs(self) -> int:
        """How many different tracks it stands on."""
        return len(set(self.tracks))


class Measure(ABC):
    """What a table shows of the findings of one metric."""

    better: Better = "lower"
    pieces: ClassVar[str] = "embeddings"
    least: ClassVar[float] = float("-inf")  # the lowest that the number can be

    @property
    @abstractmethod
    def signature(self) -> str:
        """How the number is made, to go with the metric's own signature."""

    def full_signature(self, judge: Judge) -> str:
        """The signature of the findings, and then that of the number."""
        return f"{judge.signature} {self.signature}"

    @abstractmethod
    def __call__(
        self, tracks: Sequence[Sequence[Record]], without: Floats, read: Read, related: Related | None = None
    ) -> Estimate:
        """The estimate from the findings of each track's excerpts; ``without`` ``[R, tracks]``: which tracks each replica has.

        ``related`` ``[tracks, tracks]`` marks the pairs of which one borrowed stems from the other.
        """


class Distance(Measure):
    """The distance of the generated mixes' embeddings from those of the real mixes of the same excerpts."""

    def by_excerpt(self, tracks: Sequence[Sequence[Record]], which: str, read: Read) -> list[Floats]:
        """Embeddings ``[n, d]`` of each excerpt of all tracks."""
        return [read(excerpt[which]) for track in tracks for excerpt in track]

    def by_track(self, tracks: Sequence[Sequence[Record]], which: str, read: Read) -> list[Floats]:
        """Embeddings ``[n, d]`` of each track."""
        return [np.concatenate([read(excerpt[which]) for excerpt in track]) for track in tracks]


class Frechet(Distance):
    """FAD. Each resample adds up the sums of its tracks, which give the Gaussians."""

    least = 0.0

    signature = "fad|reference:same-excerpts|cov:unbiased|v:1"

    def __call__(
        self, tracks: Sequence[Sequence[Record]], without: Floats, read: Read, related: Related | None = None
    ) -> Estimate:
        sides = [self.by_track(tracks, which, read) for which in ("real", "generated")]
        features, count = sides[1][0].shape[1], sum(map(len, sides[1]))
        narrow = iter(in_their_span(*sides[0], *sides[1]))
        real, generated = (Sums.of([next(narrow) for _ in side]) for side in sides)
        every = np.ones(len(tracks))
        value = frechet(real.drawn(every), generated.drawn(every))
        replicas = [
            frechet(real.drawn(kept), generated.drawn(kept)) if np.count_nonzero(kept) > 1 else np.nan
            for kept in without
        ]
        return Estimate(value, count, np.array(replicas), note=_note(count, features))


@dataclass(frozen=True)
class Sums:
    """The sufficient statistics of ``T`` tracks."""

    counts: Floats  # [T]
    totals: Floats  # [T, d]
    outers: Floats  # [T, d, d]

    @classmethod
    def of(cls, tracks: Sequence[Floats]) -> "Sums":
        """From the embeddings ``[n, d]`` of each track."""
        each = [Statistics.of(track) for track in tracks]
        return cls(
            np.array([track.count for track in each], dtype=np.float64),
            np.stack([track.total for track in each]),
            np.stack([track.outer for track in each]),
        )

    def drawn(self, times: Floats) -> Statistics:
        """The statistics of each track, counted so many times."""
        return Statistics(int(times @ self.counts), times @ self.totals, np.tensordot(times, self.outers, axes=1))


def _note(count: int, features: int) -> str:
    """What to know of a covariance of ``count`` embeddings: its rank is at most ``count`` − 1."""
    if count > features:
        return ""
    return (
        f"rank-deficient: {count} embeddings of {features} features; its bias is large, compare only within the table"
    )


class FrechetInfinity(Distance):
    """FAD∞: the limit of FAD for ever more excerpts, from a line through the FAD of subsets. It has no interval."""

    signature = f"fad-inf|reference:same-excerpts|subsets:25 of 0.6, 0.7, 0.8, 0.9 of both|seed:{SEED}|v:2"

    def __call__(
        self, tracks: Sequence[Sequence[Record]], without: Floats, read: Read, related: Related | None = None
    ) -> Estimate:
        real, generated = (self.by_excerpt(tracks, which, read) for which in ("real", "generated"))
        return Estimate(extrapolate(real, generated, SEED).value, sum(map(len, generated)))


class Kernel(Distance):
    """KAD: the unbiased MMD², times 1000."""

    signature = "kad|reference:same-excerpts|pairs:unrelated-songs|kernel:gauss-median|x1000|v:2"

    def __call__(
        self, tracks: Sequence[Sequence[Record]], without: Floats, read: Read, related: Related | None = None
    ) -> Estimate:
        real, generated = (self.by_track(tracks, which, read) for which in ("real", "generated"))
        found = discrepancy(real, generated, related=related)
        value = 1000 * found.value(np.ones(len(tracks)))
        replicas = np.array([1000 * found.value(kept) for kept in without])
        return Estimate(value, sum(map(len, generated)), replicas)


@dataclass(frozen=True)
class Mean(Measure):
    """The mean over tracks of a ``quantity`` that a metric gives of each excerpt, such as an agreement; undefined ones are left out."""

    quantity: str
    better: Better = "higher"

    pieces = "excerpts"

    @property
    def signature(self) -> str:
        return "mean-over-songs"

    def full_signature(self, judge: Judge) -> str:
        return f"{judge.columns[self.quantity]} {self.signature}"

    def __call__(
        self, tracks: Sequence[Sequence[Record]], without: Floats, read: Read, related: Related | None = None
    ) -> Estimate:
        values = [
            [excerpt[self.quantity] for excerpt in track if excerpt[self.quantity] is not None] for track in tracks
        ]
        heard = np.array([bool(track) for track in values])
        if not heard.any():
            reasons = {excerpt[f"{self.quantity}-undefined"] for track in tracks for excerpt in track}
            return Estimate(None, reason="; ".join(sorted(reasons)))
        if heard.sum() < FEWEST:
            return Estimate(None, reason=f"{self.quantity} is defined on {heard.sum()} songs, which is too few")
        means = np.array([np.mean(track) for track in values if track])
        weights = without[:, heard]
        replicas = weights @ means / weights.sum(axis=1)
        total, count = sum(map(len, tracks)), sum(map(len, values))
        note = f"{self.quantity} is undefined in some excerpts, which are left out" if count < total else ""
        places = tuple(np.flatnonzero(heard).tolist())
        return Estimate(float(means.mean()), count, replicas, note=note, places=places)


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several estimates, replica by replica; undefined if one of them is."""
    undefined = next((each for each in estimates if each.value is None), None)
    if undefined or len(estimates) == 1:
        return undefined or estimates[0]
    count = sum(each.count for each in estimates)
    value = float(np.mean([each.value for each in estimates if each.value is not None]))
    note = next((each.note for each in estimates if each.note), "")
    tracks = tuple(track for each in estimates for track in each.tracks)
    replicas = [each.replicas for each in estimates if each.replicas is not None]
    mean = np.mean(replicas, axis=0) if len(replicas) == len(estimates) else None
    return Estimate(value, count, mean, note=note, tracks=tracks)


def difference(one: Estimate, other: Estimate) -> Estimate | None:
    """``one`` − ``other`` where both have replicas, and stand on the same tracks."""
    if one.value is None or other.value is None or one.replicas is None or other.replicas is None:
        return None
    if one.tracks != other.tracks:
        return None
    return replace(one, value=one.value - other.value, replicas=one.replicas - other.replicas)


def interval(
    found: Estimate, least: float = -math.inf, fewest: int = INTERVAL
) -> tuple[float, float] | tuple[None, None]:
    """Student's t times the error, not below the ``least`` that the number can be; none below ``fewest`` songs."""
    if found.value is None or found.error is None or found.songs < fewest:
        return None, None
    width = float(t.ppf((1 + LEVEL) / 2, found.songs - 1)) * found.error
    return max(found.value - width, least), found.value + width


def p_value(one: Estimate, other: Estimate) -> float:
    """Two-sided, of the difference by Student's t; NaN where there is none to be had."""
    found = difference(one, other)
    if found is None or found.value is None or not found.error:
        return math.nan
    return 2 * float(t.sf(abs(found.value) / found.error, found.songs - 1))


def signature() -> str:
    """Everything that intervals and tests of a table of generation depend on, in one line."""
    return f"ci:jackknife-t|level:{LEVEL:g}|songs:>={INTERVAL}|test:jackknife-t of the difference|holm:columns|v:2"
