"""The maximum mean discrepancy of two sets of embeddings: unbiased, and without the Gaussians that a Fréchet distance assumes.

Sources: Gretton et al., "A Kernel Two-Sample Test" (JMLR 2012), equation 3; as a distance of audio (KAD): Chung et al.,
"KAD: No More FAD!" (arXiv 2502.15602), with a Gaussian kernel whose bandwidth is the median distance within the reference.

Both sets here are of the same songs, and may even share stems, so pairs of embeddings of one song are left out everywhere: with them
the discrepancy of a song's own mixes would be taken for that of the sets. So are pairs of songs of which one lent stems to the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gmsdi.errors import BadInputError

Floats = npt.NDArray[np.float64]
Related = npt.NDArray[np.bool_]
"""Which of ``S`` songs have music of each other in their mixes, ``[S, S]``, symmetric."""

MOST = 2000
"""Embeddings of which the bandwidth is the median distance; of more, as many evenly spread ones."""


@dataclass(frozen=True)
class Discrepancy:
    """Of sets of ``S`` songs: the kernel summed over the pairs of embeddings of each pair of songs, and how many pairs those are."""

    sums: Floats  # [S, S]: k(g, g') + k(r, r') − k(g, r') − k(r, g'), each over its number of pairs
    weights: Floats  # [S, S], 0 on the diagonal

    def value(self, times: Floats) -> float:
        """MMD² when each song counts ``times`` ``[S]``. Unbiased, so about 0 for one law, and often below. NaN for one song."""
        weights = self.weights * np.outer(times, times)
        total = weights.sum()
        return float((weights * self.sums).sum() / total) if total > 0 else float("nan")


def discrepancy(
    real: Sequence[Floats], generated: Sequence[Floats], width: float | None = None, related: Related | None = None
) -> Discrepancy:
    """Of embeddings ``[n, d]`` of each song, real and generated, with a kernel of ``width``, by default the reference's bandwidth.

    Pairs of songs that are ``related`` do not count. Song by song, so memory grows with two songs' embeddings. ``BadInputError`` for
    fewer than two songs.
    """
    if len(real) < 2 or len(real) != len(generated):
        raise BadInputError(f"{len(real)} and {len(generated)} song(s): the same two at least are needed")
    width = bandwidth(np.concatenate(real)) if width is None else width
    sums = np.zeros((len(real), len(real)))
    weights = np.zeros_like(sums)
    for s in range(len(real)):
        for t in range(s):
            if related is not None and related[s, t]:
                continue
            within = _kernel(generated[s], generated[t], width).mean() + _kernel(real[s], real[t], width).mean()
            across = _kernel(generated[s], real[t], width).mean() + _kernel(real[s], generated[t], width).mean()
            sums[s, t] = sums[t, s] = within - across
            weights[s, t] = weights[t, s] = len(real[s]) * len(real[t])
    return Discrepancy(sums, weights)


def bandwidth(reference: Floats) -> float:
    """The median distance between different embeddings ``[n, d]``. ``BadInputError`` when there is none above 0."""
    some = reference[:: -(-len(reference) // MOST)]
    squares = _squares(some, some)[np.triu_indices(len(some), 1)]
    found = float(np.sqrt(np.median(squares))) if len(squares) else 0.0
    if found == 0:
        raise BadInputError(
            f"{len(reference)} embeddings have no distance among them; the reference needs different ones"
        )
    return found


def _kernel(one: Floats, other: Floats, width: float) -> Floats:
    return np.exp(-_squares(one, other) / (2 * width**2))


def _squares(one: Floats, other: Floats) -> Floats:
    """Squared distances ``[n, m]``."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    return np.maximum(squares, 0.0)
