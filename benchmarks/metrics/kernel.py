"""The maximum mean discrepancy of two sets of embeddings: unbiased, and without the Gaussians that a Fréchet distance assumes.

Sources: Gretton et al., "A Kernel Two-Sample Test" (JMLR 2012), equation 3; as a distance of audio (KAD): Chung et al.,
"KAD: No More FAD!" (arXiv 2502.15602), with a Gaussian kernel whose bandwidth is the median distance within the reference.

Both sets here are of the same songs and may even share stems. So pairs of embeddings of one song are left out everywhere: they measure
how the mixes of a song differ, not how the sets do. Pairs of songs are left out, too, where one lent stems to the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gmsdi.errors import BadInputError

Floats = npt.NDArray[np.float64]
Related = npt.NDArray[np.bool_]
"""Which pairs of ``S`` songs share music in their mixes, ``[S, S]``, symmetric."""

MOST = 2000
"""The most embeddings that the bandwidth is found from; of more, evenly spread ones are taken."""


@dataclass(frozen=True)
class Discrepancy:
    """For each pair of ``S`` songs: the kernel's terms, averaged over pairs of their embeddings, and how many pairs those are."""

    sums: Floats  # [S, S]: k(g, g') + k(r, r') − k(g, r') − k(r, g'), each a mean over pairs
    weights: Floats  # [S, S], 0 on the diagonal

    def value(self, times: Floats) -> float:
        """MMD² when song s counts ``times[s]`` times. Unbiased: about 0, and often below, for equal distributions. NaN for one song."""
        weights = self.weights * np.outer(times, times)
        total = weights.sum()
        return float((weights * self.sums).sum() / total) if total > 0 else float("nan")


def discrepancy(
    real: Sequence[Floats], generated: Sequence[Floats], width: float | None = None, related: Related | None = None
) -> Discrepancy:
    """The discrepancy of each song's real and generated embeddings ``[n, d]``; ``width`` is by default the real ones' bandwidth.

    Pairs of songs that are ``related`` do not count. Memory holds the kernel of two songs at a time. ``BadInputError`` for
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
    """The median distance between different embeddings ``[n, d]``. ``BadInputError`` when it is 0 or there is none."""
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
