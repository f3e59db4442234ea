"""The maximum mean discrepancy of two sets of embeddings: unbiased, and without the Gaussians that a Fréchet distance assumes.

Sources: Gretton et al., "A Kernel Two-Sample Test" (JMLR 2012), equation 3; as a distance of audio (KAD): Chung et al.,
"KAD: No More FAD!" (arXiv 2502.15602), with a Gaussian kernel whose bandwidth is the median distance within the reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gmsdi.errors import BadInputError

Floats = npt.NDArray[np.float64]

QUANTILE = 1.959964
"""Of the normal distribution, for 95 %."""


@dataclass(frozen=True)
class Discrepancy:
    """MMD² and its 95 % interval over the tracks of the set that was judged. It can be below 0: it is unbiased, and 0 for one law."""

    value: float
    low: float
    high: float
    bandwidth: float

    @property
    def error(self) -> float:
        """The standard error."""
        return (self.high - self.value) / QUANTILE


def bandwidth(reference: Floats) -> float:
    """The median distance between different embeddings ``[n, d]``. ``BadInputError`` when there is none above 0."""
    squares = _squares(reference, reference)[np.triu_indices(len(reference), 1)]
    found = float(np.sqrt(np.median(squares))) if len(squares) else 0.0
    if found == 0:
        raise BadInputError(
            f"{len(reference)} embeddings have no distance among them; the reference needs different ones"
        )
    return found


def discrepancy(reference: Floats, tracks: Sequence[Floats], width: float | None = None) -> Discrepancy:
    """MMD² of all embeddings of ``tracks`` (``[n_t, d]`` each) from ``reference`` ``[m, d]``, with a kernel of ``width``.

    The interval is that of the jackknife: each track is left out in turn, for the embeddings of a song are not independent.
    ``BadInputError`` for fewer than two tracks.
    """
    if len(tracks) < 2:
        raise BadInputError(f"{len(tracks)} track(s): an interval over tracks needs two at least")
    width = bandwidth(reference) if width is None else width
    counts = np.array([len(track) for track in tracks])
    starts = np.append(0, np.cumsum(counts))
    every = np.concatenate(tracks)
    within = _kernel(every, every, width)
    pairs = np.add.reduceat(np.add.reduceat(within, starts[:-1], axis=0), starts[:-1], axis=1)  # [T, T]
    across = np.add.reduceat(_kernel(every, reference, width).sum(axis=1), starts[:-1])  # [T]
    own = _kernel(reference, reference, width)
    constant = (own.sum() - len(reference)) / (len(reference) * (len(reference) - 1))

    def value(kept: npt.NDArray[np.bool_]) -> float:
        count = counts[kept].sum()
        inner = (pairs[np.ix_(kept, kept)].sum() - count) / (count * (count - 1))  # k(e, e) = 1 is left out
        return float(inner + constant - 2 * across[kept].sum() / (count * len(reference)))

    everything = np.ones(len(tracks), dtype=bool)
    found = value(everything)
    without = np.array([value(np.arange(len(tracks)) != place) for place in range(len(tracks))])
    error = np.sqrt((len(tracks) - 1) / len(tracks) * ((without - without.mean()) ** 2).sum())
    return Discrepancy(found, found - QUANTILE * error, found + QUANTILE * error, width)


def _kernel(one: Floats, other: Floats, width: float) -> Floats:
    return np.exp(-_squares(one, other) / (2 * width**2))


def _squares(one: Floats, other: Floats) -> Floats:
    """Squared distances ``[n, m]``, exactly 0 between equal rows where both are one set."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    if one is other:
        np.fill_diagonal(squares, 0.0)
    return np.maximum(squares, 0.0)
