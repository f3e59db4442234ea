"""MSDM's evaluation of separations to the letter: window by window and stem by stem, in torch float32.

Slow and obvious on purpose: what ``benchmarks.metrics.si_sdr`` must agree with, and what its speed is compared to.
"""

import math

import numpy as np
import torch

from benchmarks.metrics.scores import Signals, Values


def si_snr(prediction: torch.Tensor, target: torch.Tensor, eps: float, scale_invariant: bool = True) -> torch.Tensor:
    """The ratio in dB of one estimate ``[T]`` to its target ``[T]``, without mean removal."""
    alpha = ((prediction * target).sum() + eps) / ((target**2).sum() + eps) if scale_invariant else 1.0
    scaled = alpha * target
    noise = scaled - prediction
    return 10 * torch.log10(((scaled**2).sum() + eps) / ((noise**2).sum() + eps))


def is_silent(signal: torch.Tensor, threshold: float) -> bool:
    """Whether ``‖x‖₂ / N`` is below the threshold."""
    return bool(torch.linalg.norm(signal) / len(signal) < threshold)


def literal(
    estimates: Signals,
    references: Signals,
    rate: int,
    scale_invariant: bool = True,
    improvement: bool = True,
    window: float = 4.0,
    hop: float = 2.0,
    silence: float = 1.5e-5,
    eps: float = 1e-8,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Values]:
    """The values ``[K, W]`` of the columns ``msdm`` and ``active`` (NaN where left out) for ``K`` stems ``[T]``.

    MSDM computes in float32; with ``dtype`` float64 it is the same loop without the rounding, to compare with more closely.
    """
    predictions = [torch.from_numpy(np.array(stem, dtype=np.float32)) for stem in estimates]
    targets = [torch.from_numpy(np.array(stem, dtype=np.float32)) for stem in references]
    mixture = torch.zeros_like(targets[0])
    for target in targets:
        mixture = mixture + target
    predictions, targets = [stem.to(dtype) for stem in predictions], [stem.to(dtype) for stem in targets]
    mixture = mixture.to(dtype)
    size, step = round(window * rate), round(hop * rate)
    values, activity = [], []
    for w in range(math.ceil((len(mixture) - (size - step)) / step)):
        here = slice(w * step, w * step + size)
        active = [not is_silent(target[here], silence) for target in targets]
        if sum(active) < 2:
            continue
        row = []
        for prediction, target in zip(predictions, targets, strict=True):
            value = si_snr(prediction[here], target[here], eps, scale_invariant)
            if improvement:
                value = value - si_snr(mixture[here], target[here], eps, scale_invariant)
            row.append(value.item())
        values.append(row)
        activity.append(active)
    scores = np.array(values, dtype=np.float64).reshape(-1, len(targets)).T
    kept = np.array(activity, dtype=bool).reshape(-1, len(targets)).T
    return {"msdm": scores, "active": np.where(kept, scores, np.nan)}
