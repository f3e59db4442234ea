"""Draws that come out the same on every machine: whole numbers from a PCG64 generator, no floating point.

Generators are seeded from a hash, so that each song is independent of all the others.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

Option = TypeVar("Option")


def digest(*seeds: int | str) -> bytes:
    """The SHA-256 of ``seeds``."""
    return hashlib.sha256("/".join(map(str, seeds)).encode()).digest()


def dice(*seeds: int | str) -> np.random.Generator:
    """A generator that depends on every one of ``seeds`` and on nothing else."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest(*seeds), "little")))


def between(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``, both included."""
    return int(rng.integers(low, high + 1))


def around(rng: np.random.Generator, spread: int) -> int:
    """A whole number within ``spread`` of zero; the nearer to zero, the likelier (the sum of two dice)."""
    half = spread // 2
    return between(rng, -half, half) + between(rng, -half, half)


def pick(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    """One of ``options``, all equally likely."""
    return options[between(rng, 0, len(options) - 1)]


def weigh(rng: np.random.Generator, weights: Mapping[Option, int]) -> Option:
    """One of the keys of ``weights``, each with a probability in proportion to its weight."""
    return pick(rng, [option for option, weight in weights.items() for _ in range(weight)])
