"""Fill the store: run the units of a plan that are missing, in batches, each exactly once whoever else is at it."""

import errno
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from benchmarks.data.dataset import Dataset
from benchmarks.notices import progress, say
from benchmarks.plan import WorkUnit
from benchmarks.spec import SystemSpec
from benchmarks.store import Output, Store
from gmsdi import audio
from gmsdi.system import Batch, Separator

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
"""What is wrong with the disk, not with a unit: it ends the run; what is finished stays."""

REPORTED = 5
"""Failures of a system that are shown as they happen; all are recorded."""

Failures = dict[str, Exception]
"""What went wrong, by unit id."""


def execute(
    system: SystemSpec,
    units: Sequence[WorkUnit],
    missing: Callable[[list[WorkUnit]], list[WorkUnit]],
    dataset: Dataset,
    store: Store,
    batch_size: int,
    device: str,
    run: str,
) -> Failures:
    """Compute those of one system's ``units`` that are ``missing``; returns what failed.

    ``missing`` is asked again whenever the store may have changed. A unit that fails is recorded and does not stop the others. Units
    that another process holds are waited for, and taken over if it dies. Tracks that the system does not cover are left out.
    """

    def pending(some: list[WorkUnit]) -> list[WorkUnit]:
        store.refresh()
        return missing(some)

    todo = pending(list(units))
    if not todo:
        return {}
    failures: Failures = {}
    worker = Worker(system, dataset, store, device, run)
    covered = worker.covered(dict.fromkeys(unit.excerpt.track for unit in units))
    todo = [unit for unit in todo if unit.excerpt.track in covered]
    with store.leases() as leases, progress(f"separating: {system.name}", len(todo)) as advance:
        for batch in leases.share(todo, lambda unit: unit.id, pending, batch_size):
            failures |= worker.run(batch)
            advance(len(batch))
    return failures


class Worker:
    """One built system at work on one dataset and one store."""

    def __init__(self, system: SystemSpec, dataset: Dataset, store: Store, device: str, run: str) -> None:
        self.system = system
        self.dataset = dataset
        self.store = store
        self.device = device
        self.provenance = run
        self.separator: Separator = system.build()
        self._tracks = {track.name: track for track in dataset.manifest.tracks}
        self._reported = 0
        self._last: tuple[str, audio.Samples] | None = None

    def covered(self, tracks: Iterable[str]) -> set[str]:
        """Those of ``tracks`` that the system covers; what it leaves out is said, and is no failure."""
        covered = {track: self.separator.covers(track) for track in tracks}
        if not all(covered.values()):
            absent = next(track for track in covered if not covered[track])
            say(f"{self.system.name}: covers {sum(covered.values())} of {len(covered)} songs; not {absent}, …")
        return {track for track in covered if covered[track]}

    def run(self, units: list[WorkUnit]) -> Failures:
        """Compute and record a batch; returns what failed. A batch that fails is tried unit by unit."""
        try:
            self.store.record_outputs(self._compute(units))
        except Exception as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            if len(units) > 1:
                return {key: failure for unit in units for key, failure in self.run([unit]).items()}
            self.store.record_failure(units[0], error, self.provenance)
            self._report(units[0])
            return {units[0].id: error}
        return {}

    def _report(self, unit: WorkUnit) -> None:
        self._reported += 1
        if self._reported <= REPORTED:
            where = f"{unit.excerpt.track} at {unit.excerpt.start / self.dataset.manifest.rate:.1f} s"
            say(f"error: {self.system.name}, {where}: {self.store.failures[unit.id]['message']}")
        elif self._reported == REPORTED + 1:
            say(f"error: {self.system.name}: further failures are recorded, not shown")

    def _compute(self, units: list[WorkUnit]) -> list[Output]:
        references = np.stack([self._references(unit) for unit in units])  # [B, K, T]
        mixtures = np.stack([audio.mixture(stems) for stems in references])  # [B, T]
        batch = Batch(
            mixtures=torch.from_numpy(mixtures).to(self.device),
            rate=self.dataset.manifest.rate,
            seeds=tuple(unit.seed for unit in units),
            tracks=tuple(unit.excerpt.track for unit in units),
            starts=tuple(unit.excerpt.start for unit in units),
            frames=tuple(self._tracks[unit.excerpt.track].frames for unit in units),
            references=torch.from_numpy(references).to(self.device) if self.separator.reads_references else None,
        )
        began = time.perf_counter()
        with torch.inference_mode():
            stems = self.separator.separate(batch).float().cpu().numpy()  # [B, K, T]
        seconds = (time.perf_counter() - began) / len(units)
        if stems.shape != references.shape:
            raise ValueError(f"gave stems of shape {stems.shape} where [B, K, T] is {references.shape}")
        outputs = []
        for unit, estimate in zip(units, stems, strict=True):
            audio.require_finite(estimate, self.dataset.manifest.rate, "estimate")
            outputs.append(
                self.store.write_output(
                    unit, estimate, self.dataset.manifest.rate, seconds, self.device, self.provenance
                )
            )
        return outputs

    def _references(self, unit: WorkUnit) -> audio.Samples:
        """The true stems ``[K, T]`` of a unit's excerpt, verified; the units of a track come one after the other."""
        track, start = unit.excerpt.track, unit.excerpt.start
        if self._last is None or self._last[0] != track:
            self._last = (track, self.dataset.stems(self._tracks[track], verify=True))
        return self._last[1][:, start : start + unit.excerpt.length]
