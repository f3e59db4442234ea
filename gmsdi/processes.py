"""The processes of one training, as ``torchrun`` starts them. A single process is the first, has all items, and agrees with itself.

All of them run the same program; the first one speaks, writes and decides for all.
"""

import datetime
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist

# Imported before there is a process group. An optimizer imports it, too, but later: then it would keep the group as a default argument,
# and the group's threads would still run when the process exits, which they can abort.
import torch.distributed.nn
from torch import Tensor

from gmsdi.errors import BadInputError

T = TypeVar("T")

PATIENCE = datetime.timedelta(days=1)
"""How long the others wait for the first, which may have a dataset to prepare. ``torchrun`` ends them when it dies."""


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Be one of the processes that ``torchrun`` started, if it did; yields this one's device, a GPU of its own for ``cuda``."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    # What the first says goes through the CPU on GPUs, too: nobody has to wait for kernels to hear it.
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    yield device
    dist.destroy_process_group()  # not after an error, where it could wait for processes that are still at work


def count() -> int:
    """How many there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def first() -> bool:
    """Whether this is the one that speaks and writes."""
    return not dist.is_initialized() or dist.get_rank() == 0


def share(items: int) -> slice:
    """The items of a batch that this process computes. Shares differ by one item at most; ``BadInputError`` if one had none."""
    processes, rank = count(), dist.get_rank() if dist.is_initialized() else 0
    if items < processes:
        raise BadInputError(f"a batch of {items} for {processes} processes; take a larger batch_size or fewer of them")
    return slice(rank * items // processes, (rank + 1) * items // processes)


def agreed(value: T) -> T:
    """The ``value`` that the first process has, in every process."""
    if not dist.is_initialized():
        return value
    said = [value]
    dist.broadcast_object_list(said)
    return said[0]


def add_up(tensors: Iterable[Tensor]) -> None:
    """Make every tensor the sum of all processes' own, in place."""
    if dist.is_initialized():
        for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
            work.wait()


@contextmanager
def first_before_others() -> Iterator[None]:
    """Run the block in the first process and then in the others, which find on disk what it made."""
    if not first():
        agreed(None)  # heard when the first has left the block
    yield
    if first():
        agreed(None)
