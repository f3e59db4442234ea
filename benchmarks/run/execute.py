"""Fill the store: run the units of a plan that are missing, in batches, each exactly once whoever else is at it."""

import errno
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.data.dataset import Dataset
from benchmarks.data.manifest import Excerpt
from benchmarks.notices import progress, say
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import WorkUnit
from benchmarks.store.store import Output, Store
from gmsdi import STEMS, audio
from gmsdi.errors import BadInputError, GmsdiError, one_line
from gmsdi.system import Batch, Derived, Request

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
"""What is wrong with the disk, not with a unit: it ends the run; what is finished stays."""

NO_MEMORY = ("out of memory", "ALLOC_FAILED")
"""In what CUDA says when a GPU is full, which the next unit may find it no longer."""


def ends_the_run(error: Exception) -> bool:
    """Whether whatever this process tries next will fail, too: no room on the disk, or no GPU."""
    return (isinstance(error, OSError) and error.errno in FULL) or gpu_is_lost(error)


def gpu_is_lost(error: Exception) -> bool:
    """Whether an error at work on a GPU took it from this process for good, as one in a kernel does; another process still can."""
    text = str(error) if isinstance(error, RuntimeError) else ""
    return text.startswith("CUDA error") and not any(words in text for words in NO_MEMORY)


REPORTED = 5
"""Failures of a system that are shown as they happen; all are recorded."""


class NotCovered(Exception):
    """The system has nothing to say of the track: its unit is left out, which is no failure."""


Failures = dict[str, Exception]
"""What went wrong, by unit id; and as ``NotCovered`` what was left out."""

Computed = tuple[torch.Tensor, float, str]
"""The stems ``[K, T]`` of a unit, the seconds that they took, and the device."""


def execute(
    system: SystemSpec,
    units: Sequence[WorkUnit],
    missing: Callable[[list[WorkUnit]], list[WorkUnit]],
    dataset: Dataset,
    store: Store,
    batch_size: int,
    device: str,
    run: str,
    before: Mapping[str, Exception],
) -> Failures:
    """Compute those of one system's ``units`` that are ``missing``; returns what failed or is not covered.

    ``missing`` is asked again whenever the store may have changed. A unit that fails is recorded and does not stop the others. Units
    that another process holds are waited for, and taken over if it dies. ``before`` is what failed before, of the units that a derived
    system's are made of. When the GPU is lost, the units that it was lost at are left to others, as if this process had been killed.
    """

    def pending(some: list[WorkUnit]) -> list[WorkUnit]:
        store.refresh()
        return missing(some)

    todo = pending(list(units))
    if not todo:
        return {}
    worker = _worker(system, dataset, store, device, run, before)
    covered = worker.covered(units)
    failures: Failures = {unit.id: NotCovered() for unit in todo if unit.excerpt.track not in covered}
    todo = [unit for unit in todo if unit.excerpt.track in covered]
    with store.leases() as leases, progress(f"{worker.doing}: {_title(system, todo)}", len(todo)) as advance:
        for batch in leases.share(todo, lambda unit: unit.id, pending, batch_size):
            store.tidy()
            try:
                failures |= worker.run(batch, leases.holds)
            except RuntimeError as error:
                if gpu_is_lost(error):
                    leases.abandon()
                raise
            advance(len(batch))
    return failures


def _worker(
    system: SystemSpec, dataset: Dataset, store: Store, device: str, run: str, before: Mapping[str, Exception]
) -> "Worker":
    if system.derived:
        return Combining(system, dataset, store, run, before)
    return (Generating if system.task else Separating)(system, dataset, store, device, run)


class Worker(ABC):
    """One system at work on one dataset and one store."""

    doing: str
    """What it does, for a person who waits."""

    def __init__(self, system: SystemSpec, dataset: Dataset, store: Store, run: str) -> None:
        self.system = system
        self.dataset = dataset
        self.store = store
        self.provenance = run
        self._reported = 0

    def covers(self, unit: WorkUnit) -> bool:
        """Whether the system has anything to say of a unit's track."""
        return True

    @abstractmethod
    def compute(self, units: list[WorkUnit]) -> list[Computed]:
        """Compute the outputs of a batch."""

    def covered(self, units: Sequence[WorkUnit]) -> set[str]:
        """Those of the tracks of ``units`` that the system covers; what it leaves out is said."""
        one = {unit.excerpt.track: unit for unit in units}
        covered = {track: self.covers(unit) for track, unit in one.items()}
        if not all(covered.values()):
            absent = next(track for track in covered if not covered[track])
            say(f"{self.system.name}: covers {sum(covered.values())} of {len(covered)} songs; not {absent}, …")
        return {track for track in covered if covered[track]}

    def run(self, units: list[WorkUnit], holds: Callable[[str], bool]) -> Failures:
        """Compute and record a batch; returns what failed. A batch that fails is tried unit by unit.

        Units that this process, by their ids, no longer ``holds`` are left to who does, who may have recorded them meanwhile.
        """
        try:
            made = zip(units, self.compute(units), strict=True)
            self.store.record_outputs([self.write(unit, *each) for unit, each in made if holds(unit.id)])
        except Exception as error:
            if ends_the_run(error):
                raise
            if len(units) > 1:
                return {key: failure for unit in units for key, failure in self.run([unit], holds).items()}
            self.store.record_failure(units[0], error, self.provenance)
            self._report(units[0])
            return {units[0].id: error}
        return {}

    def write(self, unit: WorkUnit, stems: torch.Tensor, seconds: float, device: str) -> Output:
        """Write the stems ``[K, T]`` of a unit, unless they are not finite."""
        rate = self.dataset.manifest.rate
        estimate = stems.float().cpu().numpy()
        audio.require_finite(estimate, rate, "estimate")
        return self.store.write_output(unit, estimate, rate, seconds, device, self.provenance)

    def _report(self, unit: WorkUnit) -> None:
        self._reported += 1
        if self._reported <= REPORTED:
            where = f"{unit.excerpt.track} at {unit.excerpt.start / self.dataset.manifest.rate:.1f} s"
            say(f"error: {_title(unit.system, [unit])}, {where}: {self.store.failures[unit.id]['message']}")
        elif self._reported == REPORTED + 1:
            say(f"error: {self.system.name}: further failures are recorded, not shown")


class Sampling(Worker):
    """A system, built, at work on excerpts of songs."""

    def __init__(self, system: SystemSpec, dataset: Dataset, store: Store, device: str, run: str) -> None:
        super().__init__(system, dataset, store, run)
        self.device = device
        self.built: Any = system.build()
        self._tracks = {track.name: track for track in dataset.manifest.tracks}

    @abstractmethod
    def sample(self, units: list[WorkUnit], references: audio.Samples) -> torch.Tensor:
        """The outputs ``[B, K, T]`` of units, whose excerpts' true stems are ``references`` ``[B, STEMS, T]``."""

    def compute(self, units: list[WorkUnit]) -> list[Computed]:
        references = np.stack([self.read(unit.excerpt) for unit in units])  # [B, STEMS, T]
        began = time.perf_counter()
        with torch.inference_mode():
            stems = self.sample(units, references).cpu()  # [B, K, T]
        seconds = (time.perf_counter() - began) / len(units)
        _require_shape(stems, (len(units), len(self.system.outputs), references.shape[2]), "[B, K, T]")
        return [(estimate, seconds, self.device) for estimate in stems]

    def read(self, excerpt: Excerpt) -> audio.Samples:
        """The true stems ``[STEMS, T]`` of an excerpt, verified."""
        return self.dataset.stretch(self._tracks[excerpt.track], excerpt.start, excerpt.length)


class Separating(Sampling):
    """A separator at work on mixtures."""

    doing = "separating"

    def covers(self, unit: WorkUnit) -> bool:
        covers: bool = self.built.covers(unit.excerpt.track)
        return covers

    def sample(self, units: list[WorkUnit], references: audio.Samples) -> torch.Tensor:
        mixtures = np.stack([audio.mixture(stems) for stems in references])  # [B, T]
        batch = Batch(
            mixtures=torch.from_numpy(mixtures).to(self.device),
            rate=self.dataset.manifest.rate,
            seeds=tuple(unit.seed for unit in units),
            tracks=tuple(unit.excerpt.track for unit in units),
            starts=tuple(unit.excerpt.start for unit in units),
            frames=tuple(self._tracks[unit.excerpt.track].frames for unit in units),
            references=torch.from_numpy(references).to(self.device) if self.built.reads_references else None,
        )
        stems: torch.Tensor = self.built.separate(batch)
        return stems


class Generating(Sampling):
    """A generator at work on its task."""

    doing = "generating"

    def sample(self, units: list[WorkUnit], references: audio.Samples) -> torch.Tensor:
        task = self.system.task
        assert task is not None
        request = Request(
            stems=task.stems,
            given={stem: torch.from_numpy(references[:, STEMS.index(stem)]).to(self.device) for stem in task.given},
            seeds=tuple(unit.seed for unit in units),
            length=references.shape[2],
            device=self.device,
            elsewhere=None
            if self.system.borrows is None
            else torch.from_numpy(np.stack([self._borrow(unit, task.stems) for unit in units])).to(self.device),
        )
        stems: torch.Tensor = self.built.generate(request)
        return stems

    def _borrow(self, unit: WorkUnit, stems: Sequence[str]) -> audio.Samples:
        """The real stems ``[J, T]`` from where the plan says."""
        pairs = zip(stems, unit.elsewhere, strict=True)
        return np.stack([self.read(excerpt)[STEMS.index(stem)] for stem, excerpt in pairs])


class Combining(Worker):
    """A derived system at work on what the store holds, one excerpt at a time."""

    doing = "combining"

    def __init__(
        self, system: SystemSpec, dataset: Dataset, store: Store, run: str, before: Mapping[str, Exception]
    ) -> None:
        super().__init__(system, dataset, store, run)
        assert system.derived is not None
        self.derived: Derived = system.derived
        self.before = before

    def covers(self, unit: WorkUnit) -> bool:
        return not any(isinstance(self.before.get(each.id), NotCovered) for each in unit.inputs)

    def compute(self, units: list[WorkUnit]) -> list[Computed]:
        return [self._combine(unit) for unit in units]

    def _combine(self, unit: WorkUnit) -> Computed:
        for each in unit.inputs:
            if each.id in self.before and not self.store.has_output(each.id):
                raise _input_failed(each, self.before[each.id])
        outputs = np.stack([self.store.read_output(each) for each in unit.inputs])  # [I, K, T]
        stems = self.derived.combine(torch.from_numpy(outputs))
        _require_shape(stems, outputs.shape[1:], "[K, T]")
        records = [self.store.outputs[each.id] for each in unit.inputs]
        devices = ", ".join(sorted({record.device for record in records}))
        return stems, sum(record.seconds for record in records), devices


def _input_failed(unit: WorkUnit, error: Exception) -> GmsdiError:
    """What a unit fails with that is made of one that failed: bad input if that was."""
    kind = BadInputError if isinstance(error, BadInputError) else GmsdiError
    return kind(f"its input {_title(unit.system, [unit])} failed: {one_line(error) or type(error).__name__}")


def _require_shape(stems: torch.Tensor, shape: tuple[int, ...], axes: str) -> None:
    if tuple(stems.shape) != shape:
        raise ValueError(f"gave stems of shape {tuple(stems.shape)} where {axes} is {shape}")


def _title(system: SystemSpec, units: Sequence[WorkUnit]) -> str:
    """A system's name and which replicates ``units`` are, unless they are those of its row."""
    replicates = {unit.replicate for unit in units}
    if replicates <= {0}:
        return system.name
    span = dict.fromkeys([min(replicates), max(replicates)])
    return f"{system.name}, replicate{'s' if len(span) > 1 else ''} {' to '.join(map(str, span))}"
