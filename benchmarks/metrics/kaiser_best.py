"""resampy's ``kaiser_best``, the resampler of the field's FAD library, as products with one small matrix: the same numbers, faster.

A resampler's weights are periodic: from 22050 to 16000 Hz they repeat every 320 outputs, which is every 441 inputs. The weights are
resampy's own, read off its response to unit impulses.
"""

from functools import cache
from math import ceil, gcd

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gmsdi import audio

CROSSINGS = 64
"""Zero crossings on each side of the filter."""

LARGEST = 2_000
"""The longest period of the weights, in samples of input; ratios of a longer one go through resampy itself."""


def resample(samples: audio.Samples, rate: int, target: int) -> audio.Samples:
    """Mono ``samples`` ``[T]`` from ``rate`` to ``target`` Hz, ``[⌊T · target / rate⌋]``."""
    if rate == target:
        return samples
    if rate // gcd(rate, target) > LARGEST:
        import resampy

        resampled: audio.Samples = resampy.resample(samples, rate, target)
        return resampled
    weights, advance, reach = _weights(rate, target)
    blocks = ceil(len(samples) / advance)
    padded = torch.zeros(blocks * advance + 2 * reach)
    padded[reach : reach + len(samples)] = torch.from_numpy(samples)
    windows = padded.unfold(0, advance + 2 * reach, advance)  # [blocks, advance + 2 · reach]
    found: npt.NDArray[np.float32] = (windows @ weights).flatten()[: len(samples) * target // rate].numpy()
    return found


@cache
def _weights(rate: int, target: int) -> tuple[Tensor, int, int]:
    """The weights of a block ``[advance + 2 · reach, outputs]``, the inputs that a block advances, and its reach beyond them."""
    import resampy

    reach = ceil(CROSSINGS * max(1.0, rate / target)) + 1
    period = rate // gcd(rate, target)
    advance = period * ceil(reach / period)
    responses = resampy.resample(np.eye(3 * advance), rate, target, axis=1)  # [3 · advance, outputs of three blocks]
    outputs = advance * target // rate
    middle = responses[advance - reach : 2 * advance + reach, outputs : 2 * outputs]
    return torch.from_numpy(np.ascontiguousarray(middle, dtype=np.float32)), advance, reach
