"""The Fréchet distance of two sets of embeddings, taken as Gaussians (for audio: FAD), and its limit for infinitely many excerpts.

Sources: Kilgour et al., "Fréchet Audio Distance" (Interspeech 2019); Gui et al., "Adapting Fréchet Audio Distance for Generative Music
Evaluation" (ICASSP 2024), for the extrapolation to infinitely many excerpts: n embeddings bias the distance upwards by about a / n.

Only the sums of a set are kept, so the sets of tracks, shards and resamples add up exactly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gmsdi.errors import BadInputError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """The sums Σe and Σeeᵀ of ``count`` embeddings of ``d`` features."""

    count: int
    total: Floats  # [d]
    outer: Floats  # [d, d]

    @classmethod
    def of(cls, embeddings: npt.ArrayLike) -> "Statistics":
        """The sums of embeddings ``[n, d]``. ``BadInputError`` for values that are not finite."""
        rows = np.asarray(embeddings, dtype=np.float64)
        if rows.ndim != 2 or not np.isfinite(rows).all():
            raise BadInputError(f"embeddings {list(rows.shape)}: must be finite numbers [n, d]")
        return cls(len(rows), rows.sum(axis=0), rows.T @ rows)

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(self.count + other.count, self.total + other.total, self.outer + other.outer)

    @property
    def mean(self) -> Floats:
        """``[d]``."""
        mean: Floats = self.total / self.count
        return mean

    @property
    def covariance(self) -> Floats:
        """``[d, d]``, unbiased, as ``np.cov`` has it. ``BadInputError`` for fewer than two embeddings."""
        if self.count < 2:
            raise BadInputError(f"{self.count} embedding(s) have no covariance; two are needed, and more than features")
        covariance: Floats = (self.outer - self.count * np.outer(self.mean, self.mean)) / (self.count - 1)
        return covariance


def in_their_span(*sets: Floats) -> list[Floats]:
    """Embeddings ``[n, d]`` as coordinates in the space that all of them span, if it has fewer than ``d`` dimensions.

    Distances stay the same, and a covariance of a few hundred dimensions takes a hundredth of the time of one of 2048 features.
    """
    rows = np.concatenate(sets)
    if len(rows) >= rows.shape[1]:
        return list(sets)
    basis, _ = np.linalg.qr(rows.T)  # [d, all n]
    return [each @ basis for each in sets]


def frechet(one: Statistics, other: Statistics) -> float:
    """The squared Fréchet distance of the Gaussians with the sets' means and covariances."""
    return gaussians(one.mean, one.covariance, other.mean, other.covariance)


def gaussians(mean: Floats, covariance: Floats, other_mean: Floats, other_covariance: Floats) -> float:
    """‖μ₁ − μ₂‖² + tr Σ₁ + tr Σ₂ − 2 tr √(Σ₁Σ₂), at least 0, in float64.

    With Σ₁ = FFᵀ, the symmetric FᵀΣ₂F has the eigenvalues of Σ₁Σ₂, so they are real, and no matrix root can turn out complex.
    """
    factor = _factor(covariance)
    eigenvalues = np.linalg.eigvalsh(factor.T @ other_covariance @ factor)
    cross = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    distance = ((mean - other_mean) ** 2).sum() + np.trace(covariance) + np.trace(other_covariance) - 2 * cross
    return max(float(distance), 0.0)


def _factor(covariance: Floats) -> Floats:
    """F with FFᵀ the covariance: Cholesky's or, for a singular one, from its eigenvalues, where negative ones are rounding errors."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        factor: Floats = vectors * np.sqrt(np.maximum(values, 0))
        return factor


@dataclass(frozen=True)
class Extrapolation:
    """A line through mean distances of growing subsets, against 1 / n for n embeddings; its value at 0 is FAD∞."""

    value: float
    slope: float
    r2: float  # the share of the distances' variance that the line explains; if it is low, ``value`` means little
    sizes: tuple[int, ...]  # excerpts
    distances: tuple[float, ...]


def extrapolate(
    reference: Sequence[Floats],
    excerpts: Sequence[Floats],
    seed: int,
    *,
    points: int = 5,
    fewest: float = 0.6,
    repeats: int = 25,
) -> Extrapolation:
    """FAD∞ from the embeddings ``[n, d]`` of each excerpt: a line through the mean distances of random subsets of ``points`` sizes.

    Sizes go from the share ``fewest`` to all excerpts. ``repeats`` subsets of each size are drawn without replacement: with few songs,
    two subsets differ by more than the bias to be found. ``reference[i]`` is of the same excerpt as ``excerpts[i]``, and drawn with it:
    the two sides share music, which would bring a whole reference too near to a subset. ``BadInputError`` for too few excerpts.
    """
    sizes = np.unique(np.linspace(fewest * len(excerpts), len(excerpts), points).round().astype(int))
    if len(sizes) < 3 or sizes[0] < 2:
        raise BadInputError(f"{len(excerpts)} excerpts are too few for FAD∞, which needs subsets of three sizes")
    random = np.random.default_rng(seed)
    counts, distances = [], []
    for size in sizes:
        found = [
            _of_some(reference, excerpts, random.permutation(len(excerpts))[:size])
            for _ in range(repeats if size < len(excerpts) else 1)
        ]
        count, distance = np.mean(found, axis=0)
        counts.append(count)
        distances.append(distance)
    inverse, means = 1 / np.array(counts), np.array(distances)
    slope, value = np.polyfit(inverse, means, 1)
    residual, spread = means - (value + slope * inverse), means - means.mean()
    r2 = 1 - float(residual @ residual) / float(spread @ spread) if spread @ spread > 0 else 1.0
    return Extrapolation(float(value), float(slope), r2, tuple(int(size) for size in sizes), tuple(distances))


def _of_some(reference: Sequence[Floats], excerpts: Sequence[Floats], places: Iterable[int]) -> tuple[int, float]:
    """The number of embeddings of the excerpts at ``places``, and their distance from the reference's."""
    real, drawn = in_their_span(*(np.concatenate([side[place] for place in places]) for side in (reference, excerpts)))
    return len(drawn), frechet(Statistics.of(real), Statistics.of(drawn))
