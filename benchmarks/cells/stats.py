"""Statistics over tracks, never over windows: the windows of a song are not independent.

Bootstrap: Efron and Tibshirani (1993), percentile intervals. Paired test: sign-flip (swap the two systems' scores track by track).
Holm (1979) corrects over the stems.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmarks.metrics.scores import Pooling, Values, WindowScores

RESAMPLES = 10_000
FEWEST = 3
"""Tracks below which no interval is given: resampling one or two says nothing about other songs."""
EXACT = 13
"""With up to so many tracks all 2^n sign flips are enumerated; with more, ``RESAMPLES`` random ones are drawn."""


@dataclass(frozen=True)
class TrackStatistics:
    """What a cell needs of its ``T`` tracks: per track and stem a total and its weight (0 where undefined). Merges exactly."""

    totals: Values  # [T, K]
    weights: Values  # [T, K]
    pooling: Pooling

    @staticmethod
    def of(scores: Sequence[WindowScores], pooling: Pooling) -> "TrackStatistics":
        """From the scores of each track."""
        defined = [np.isfinite(track.values) for track in scores]  # [K, W] each
        if pooling == "window-mean":
            totals = [np.where(mask, track.values, 0).sum(axis=1) for track, mask in zip(scores, defined, strict=True)]
            weights = [mask.sum(axis=1) for mask in defined]
        else:
            totals = [_medians(track.values) for track in scores]
            weights = [mask.any(axis=1) for mask in defined]
        return TrackStatistics(np.stack(totals), np.stack(weights).astype(np.float64), pooling)

    def cells(self) -> Values:
        """The cells, ``[K + 1]``: the stems and then their mean."""
        return pool(self.totals, self.weights, self.pooling)


def _medians(values: Values) -> Values:
    """Row medians of ``[K, W]``, ignoring NaN; 0 for a row without a number (its weight is 0)."""
    return np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else 0.0 for row in values])


def pool(totals: Values, weights: Values, pooling: Pooling) -> Values:
    """Cells from tracks: ``[..., T, K]`` to ``[..., K + 1]``, the stems and then their mean; NaN where no track is defined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if pooling == "window-mean":
            stems = totals.sum(axis=-2) / weights.sum(axis=-2)
        else:
            ordered = np.sort(np.where(weights > 0, totals, np.inf), axis=-2)
            stems = _sorted_median(ordered, (weights > 0).sum(axis=-2))
    return np.concatenate([stems, stems.mean(axis=-1, keepdims=True)], axis=-1)


def _sorted_median(ordered: Values, counts: npt.NDArray[np.int_]) -> Values:
    """The median of the first ``counts`` of sorted values along the second last axis; NaN where there are none."""
    low, high = np.maximum(counts - 1, 0) // 2, counts // 2
    high = np.minimum(high, ordered.shape[-2] - 1)
    take = [np.take_along_axis(ordered, place[..., None, :], axis=-2)[..., 0, :] for place in (low, high)]
    return np.where(counts > 0, (take[0] + take[1]) / 2, np.nan)


def interval(tracks: TrackStatistics, seed: int, level: float = 0.95) -> tuple[Values, Values]:
    """Bootstrap percentile interval over tracks of each stem and of their mean: low and high, ``[K + 1]`` each."""
    count = len(tracks.totals)
    draws = np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))
    with np.errstate(all="ignore"):
        cells = pool(tracks.totals[draws], tracks.weights[draws], tracks.pooling)  # [R, K + 1]
        defined = np.isfinite(cells).any(axis=0)
        bounds = np.full((2, cells.shape[1]), np.nan)
        bounds[:, defined] = np.nanquantile(cells[:, defined], [(1 - level) / 2, (1 + level) / 2], axis=0)
    tracks_of = (tracks.weights > 0).sum(axis=0)  # [K]
    bounds[:, np.append(tracks_of, tracks_of.min()) < FEWEST] = np.nan
    return bounds[0], bounds[1]


def sign_flip(
    a: TrackStatistics, b: TrackStatistics, seed: int, alternative: Literal["differs", "greater"] = "differs"
) -> Values:
    """The p of the paired sign-flip test that ``a`` and ``b`` (same tracks) are the same, ``[K + 1]``.

    Two-sided against the alternative that ``a`` differs, one-sided against that it is greater. Under the null hypothesis the two
    systems' names can be swapped on any track. Exact up to ``EXACT`` tracks.
    """
    count = len(a.totals)
    if count <= EXACT:
        swaps = (np.arange(2**count)[:, None] >> np.arange(count)) & 1 == 1
    else:
        swaps = np.random.default_rng(seed).integers(2, size=(RESAMPLES, count)) == 1
        swaps[0] = False  # the observed labelling is one of them, so that p is never 0
    swap = swaps[:, :, None]
    first = pool(np.where(swap, b.totals, a.totals), np.where(swap, b.weights, a.weights), a.pooling)
    second = pool(np.where(swap, a.totals, b.totals), np.where(swap, a.weights, b.weights), a.pooling)
    difference = first - second if alternative == "greater" else np.abs(first - second)  # [R, K + 1]
    observed = difference[0]
    extreme = difference >= observed - 1e-9 * np.maximum(1.0, np.abs(observed))
    return np.where(np.isfinite(observed), extreme.mean(axis=0), np.nan)


def holm(p: Values) -> Values:
    """Holm's step-down correction of ``[K]`` p values; NaN stay NaN and do not count."""
    corrected = np.full(p.shape, np.nan)
    order = [k for k in np.argsort(p) if np.isfinite(p[k])]
    highest = 0.0
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[k]))
        corrected[k] = highest
    return corrected
