"""Threads for what torch has none for: loops of numba and NumPy's random numbers, which let go of Python's lock."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results of ``work``, in the order of ``items``; as many of them at a time as torch uses threads."""
    threads = torch.get_num_threads()
    return list(map(work, items) if threads == 1 else _pool(threads).map(work, items))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)
