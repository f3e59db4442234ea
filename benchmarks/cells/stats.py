"""Statistics over tracks, never over windows: the windows of a song are not independent.

Intervals of means: the studentised bootstrap (Efron and Tibshirani 1993, section 12.5) with the jackknife's standard error, because few
songs make percentiles too narrow. Of medians: order statistics. Paired test: sign-flip (swap the two systems' scores track by track).
Holm (1979) corrects over the stems. ``benchmarks.figures.coverage`` measures how often intervals hold and tests err.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from benchmarks.metrics.scores import Pooling, Values, WindowScores

LEVEL = 0.95
RESAMPLES = 2000
"""Of the tracks, for an interval."""
FLIPS = 10_000
"""Random sign flips, where there are too many to take all."""
FEWEST = 8
"""Tracks below which no interval is given: with fewer, none holds what it says if a few songs differ much from the others."""
EXACT = 13
"""With up to so many tracks all 2^n sign flips are enumerated; with more, ``FLIPS`` random ones are drawn."""
SEED = 0
"""Of bootstrap and sign flips: a table is the same each time it is made."""


def signature(pooling: Pooling) -> str:
    """Everything that intervals and tests depend on, in one line."""
    how = f"bootstrap-t|error:jackknife|resamples:{RESAMPLES}" if pooling == "window-mean" else "order-statistics"
    return f"ci:{how}|level:{LEVEL:g}|songs:>={FEWEST}|seed:{SEED}|test:sign-flip|exact:<={EXACT}|flips:{FLIPS}|holm:stems|v:2"


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


def interval(tracks: TrackStatistics, fewest: int = FEWEST) -> tuple[Values, Values]:
    """The interval of each stem and of their mean: low and high, ``[K + 1]`` each; NaN with fewer tracks than ``fewest``."""
    bounds = _studentised(tracks) if tracks.pooling == "window-mean" else _ranked(tracks)
    tracks_of = (tracks.weights > 0).sum(axis=0)  # [K]
    bounds[:, np.append(tracks_of, tracks_of.min()) < fewest] = np.nan
    return bounds[0], bounds[1]


def _studentised(tracks: TrackStatistics) -> Values:
    """Low and high ``[2, K + 1]``: the cells less the quantiles of (resampled cell − cell) / its error, times the cells' error."""
    count = len(tracks.totals)
    draws = np.random.default_rng(SEED).integers(count, size=(RESAMPLES, count))
    totals, weights = tracks.totals[draws], tracks.weights[draws]  # [R, T, K]
    cells, error = tracks.cells(), _error(tracks.totals, tracks.weights)  # [K + 1]
    with np.errstate(all="ignore"):
        away = pool(totals, weights, tracks.pooling) - cells  # [R, K + 1]
        ratios = np.where(
            away == 0, 0.0, away / _error(totals, weights)
        )  # infinite where all tracks of a resample are equal
        ratios[np.isnan(ratios)] = 0.0  # of a resample without any track of the stem
        tail = (1 - LEVEL) / 2
        low = np.quantile(ratios, tail, axis=0, method="lower")
        high = np.quantile(ratios, 1 - tail, axis=0, method="higher")
        bounds = np.stack([cells - high * error, cells - low * error])
    bounds[:, error == 0] = cells[error == 0]
    bounds[:, ~np.isfinite(bounds).all(axis=0)] = np.nan
    return bounds


def _error(totals: Values, weights: Values) -> Values:
    """The jackknife's standard error of cells: ``[..., T, K]`` to ``[..., K + 1]``. Tracks without a number of a stem do not count."""
    with np.errstate(all="ignore"):
        without = (totals.sum(axis=-2, keepdims=True) - totals) / (weights.sum(axis=-2, keepdims=True) - weights)
    without = np.concatenate([without, without.mean(axis=-1, keepdims=True)], axis=-1)  # [..., T, K + 1]
    counts = weights > 0
    counts = np.concatenate([counts, counts.any(axis=-1, keepdims=True)], axis=-1)
    number = counts.sum(axis=-2)  # [..., K + 1]
    with np.errstate(all="ignore"):
        centre = np.where(counts, without, 0).sum(axis=-2) / number
        squares = np.where(counts, (without - centre[..., None, :]) ** 2, 0).sum(axis=-2)
        error: Values = np.sqrt((number - 1) / number * squares)
    return error


def _ranked(tracks: TrackStatistics) -> Values:
    """Low and high ``[2, K + 1]`` of medians: of each stem the innermost order statistics that hold the median often enough.

    Exact for any distribution. The bounds of the mean of the stems are the means of bounds that hold all together (Bonferroni).
    """
    stems = tracks.totals.shape[1]
    bounds = np.full((2, stems + 1), np.nan)
    together = np.full((2, stems), np.nan)
    for k in range(stems):
        values = np.sort(tracks.totals[tracks.weights[:, k] > 0, k])
        for found, level in ((bounds, LEVEL), (together, 1 - (1 - LEVEL) / stems)):
            rank = int(
                binom.ppf((1 - level) / 2, len(values), 0.5)
            )  # P(fewer than so many are below the median) is no larger
            if rank >= 1:
                found[:, k] = values[rank - 1], values[len(values) - rank]
    bounds[:, stems] = together.mean(axis=1)
    return bounds


def sign_flip(a: TrackStatistics, b: TrackStatistics, alternative: Literal["differs", "greater"] = "differs") -> Values:
    """The p of the paired sign-flip test that ``a`` and ``b`` (same tracks) are the same, ``[K + 1]``.

    Two-sided against the alternative that ``a`` differs, one-sided against that it is greater. Under the null hypothesis the two
    systems' names can be swapped on any track. All 2^n swaps up to ``EXACT`` tracks: p is the share of those that are as extreme as
    what is observed. Of R random ones c are: p = (c + 1) / (R + 1) (Phipson and Smyth 2010).
    """
    count = len(a.totals)
    exact = count <= EXACT
    if exact:
        swaps = (np.arange(2**count)[:, None] >> np.arange(count)) & 1 == 1
    else:
        swaps = np.random.default_rng(SEED).integers(2, size=(FLIPS, count)) == 1
    swap = swaps[:, :, None]
    first = pool(np.where(swap, b.totals, a.totals), np.where(swap, b.weights, a.weights), a.pooling)
    second = pool(np.where(swap, a.totals, b.totals), np.where(swap, a.weights, b.weights), a.pooling)
    difference, observed = first - second, a.cells() - b.cells()  # [R, K + 1], [K + 1]
    if alternative == "differs":
        difference, observed = np.abs(difference), np.abs(observed)
    extreme = (difference >= observed - 1e-9 * np.maximum(1.0, np.abs(observed))).sum(axis=0)
    p = extreme / len(swaps) if exact else (extreme + 1) / (len(swaps) + 1)
    return np.where(np.isfinite(observed), p, np.nan)


def holm(p: Values) -> Values:
    """Holm's step-down correction of ``[K]`` p values; NaN stay NaN and do not count."""
    corrected = np.full(p.shape, np.nan)
    order = [k for k in np.argsort(p) if np.isfinite(p[k])]
    highest = 0.0
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[k]))
        corrected[k] = highest
    return corrected
