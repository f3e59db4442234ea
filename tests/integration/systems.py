"""A system for the tests of whole runs: slow enough to be caught at work, and open about what it did."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

from gmsdi import STEMS
from gmsdi.system import Batch, Separator

POISONED: list[int] = []
"""This process, once it has lost the GPU."""


class Slow(Separator):
    """Each stem is the mixture times a random gain of the item's own seed. ``variant`` makes another system of it.

    The rest is no part of what the system is: the ``seconds`` that an item takes, the ``log`` that a line is appended to for each,
    the file system that turns read-only when it comes to a track, ``protect`` = [mount, track], and the [track, start] that it fails
    at, kills its process at, or loses the GPU at, after which nothing works in its process.
    """

    reads_places = True

    def __init__(
        self,
        variant: int = 0,
        seconds: float = 0.0,
        log: str | None = None,
        protect: tuple[str, str] | None = None,
        fails: tuple[str, int] | None = None,
        deadly: tuple[str, int] | None = None,
        poison: tuple[str, int] | None = None,
    ) -> None:
        self.variant = variant
        self.seconds = seconds
        self.log = log
        self.protect = protect
        self.fails = fails
        self.deadly = deadly
        self.poison = poison

    @classmethod
    def identify(cls, **arguments: Any) -> dict[str, Any]:
        return {"variant": arguments["variant"]}

    def separate(self, batch: Batch) -> torch.Tensor:
        if self.protect and self.protect[1] in batch.tracks:
            subprocess.run(["mount", "-o", "remount,ro", self.protect[0]], check=True)
        return torch.stack([self._item(batch, i) for i in range(len(batch.seeds))])

    def _item(self, batch: Batch, i: int) -> torch.Tensor:
        time.sleep(self.seconds)
        item = [batch.tracks[i], batch.starts[i]]
        if item == self.fails:
            raise RuntimeError("this one never works")
        if item == self.poison or POISONED:
            POISONED.append(os.getpid())
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        if item == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.log is not None:
            with Path(self.log).open("a") as log:
                log.write(f"{batch.tracks[i]} {batch.starts[i]} {os.getpid()}\n")
        gains = torch.rand(len(STEMS), 1, generator=torch.Generator().manual_seed(batch.seeds[i] ^ self.variant))
        return gains * batch.mixtures[i]
