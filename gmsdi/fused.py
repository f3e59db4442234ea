"""What the small network does to every bin, as single loops over memory: for inference on a CPU.

One operation of torch after the other would read and write a whole spectrum ten times, which takes a third as long as all
convolutions, or as long as they do where a network has few features. ``gmsdi.spectral`` has the same formulas in torch, for training
and for GPUs.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from gmsdi.threads import side_by_side


def is_usable(x: Tensor) -> bool:
    """Whether ``x`` is on the CPU, and nobody asks for gradients."""
    return x.device.type == "cpu" and not torch.is_grad_enabled()


def compress(spectrum: Tensor, smallest: float) -> Tensor:
    """``gmsdi.spectral.compress``: of a complex ``[B, N, C, bins]``, its two parts ``[B, N, 2, C, bins]``."""
    batch, frames = spectrum.shape[:2]
    features = torch.empty(batch, frames, 2, *spectrum.shape[2:])
    _in_threads(_compress, batch * frames, _rows(spectrum), smallest, _rows(features))
    return features


def masked(spectrum: Tensor, gain: Tensor, output: Tensor, limit: float) -> Tensor:
    """``gmsdi.spectral.masked``: of a complex ``[B, N, C, bins]``, gains ``[B]`` and outputs ``[B · P, N, 4 · C · bins]``.

    Outputs are float32 or bfloat16, which is the upper half of a float32's bits.
    """
    half = output.dtype == torch.bfloat16
    bits, shift = (output.view(torch.uint16), 16) if half else (output.float().view(torch.uint32), 0)
    items, frames = output.shape[:2]
    prompts = items // len(spectrum)
    estimate = torch.empty(items, *spectrum.shape[1:], dtype=spectrum.dtype)
    inputs = _rows(spectrum), gain.float().numpy(), _rows(bits), shift
    _in_threads(_masked, items * frames, *inputs, limit, prompts, frames, _rows(estimate))
    return estimate


def _rows(x: Tensor) -> np.ndarray[Any, Any]:
    """The frames of ``[B, N, …]`` in one array of two axes; complex numbers are pairs."""
    x = torch.view_as_real(x) if x.is_complex() else x
    rows: np.ndarray[Any, Any] = x.reshape(x.shape[0] * x.shape[1], -1).numpy()
    return rows


def _in_threads(loop: Callable[..., None], rows: int, *arguments: Any) -> None:
    """Run ``loop(first, last, *arguments)`` over all rows, in as many threads as torch computes with."""
    parts = min(torch.get_num_threads(), rows)
    bounds = pairwise(rows * part // parts for part in range(parts + 1))
    side_by_side(lambda part: loop(*part, *arguments), bounds)


LOOSE = {"reassoc", "contract", "arcp", "nsz"}
"""What compilers may do to float32 here, so that loops vectorise. Numbers that are not finite stay what they are."""

compiled = numba.njit(nogil=True, cache=True, fastmath=LOOSE, error_model="numpy")


@compiled
def _compress(first, last, spectrum, smallest, features):  # type: ignore[no-untyped-def]
    one, smallest, bins = np.float32(1), np.float32(smallest), spectrum.shape[1] // 2
    for n in range(first, last):
        pairs, real, imaginary = spectrum[n], features[n, :bins], features[n, bins:]
        for f in range(bins):
            a, b = pairs[2 * f], pairs[2 * f + 1]
            factor = one / np.sqrt(np.sqrt(a * a + b * b + smallest))
            real[f], imaginary[f] = a * factor, b * factor


@compiled
def _masked(first, last, spectrum, gain, bits, shift, limit, prompts, frames, estimate):  # type: ignore[no-untyped-def]
    one, share, shift, bins = np.float32(1), np.float32(1 / limit**2), np.uint32(shift), spectrum.shape[1] // 2
    for n in range(first, last):
        item = n // frames // prompts
        loudness = gain[item]
        pairs, found, planes = spectrum[item * frames + n % frames], estimate[n], bits[n].reshape(4, bins)
        real, imaginary, residual_real, residual_imaginary = planes[0], planes[1], planes[2], planes[3]
        for f in range(bins):
            a, b, c, d = pairs[2 * f], pairs[2 * f + 1], _float(real[f], shift), _float(imaginary[f], shift)
            factor = loudness / np.sqrt(one + (c * c + d * d) * share)
            found[2 * f] = (a * c - b * d) * factor + _float(residual_real[f], shift)
            found[2 * f + 1] = (a * d + b * c) * factor + _float(residual_imaginary[f], shift)


@compiled
def _float(bits, shift):  # type: ignore[no-untyped-def]
    return np.uint32(np.uint32(bits) << shift).view(np.float32)
