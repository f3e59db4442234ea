"""Fill the store: compute the units that are missing, in batches. Processes that share a store share the units, too."""

import errno
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.data.manifest import Excerpt
from benchmarks.notices import progress, say
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import WorkUnit
from benchmarks.run.job import Job
from benchmarks.store.store import Output
from gmsdi import STEMS, audio, files
from gmsdi.errors import BadInputError, GmsdiError, IntegrityError, one_line
from gmsdi.system import Batch, Derived, Place, Request

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
"""Errors of the disk: full, over quota, read-only, broken. They end the run; what is finished stays."""

NO_MEMORY = ("out of memory", "ALLOC_FAILED")
"""Words in CUDA's message that a GPU is full. That does not end the run: there may be room for the next unit."""


def ends_the_run(error: Exception) -> bool:
    """Whether all other units would fail in this process, too: the disk is out of order, or the GPU is lost."""
    return (isinstance(error, OSError) and error.errno in FULL) or gpu_is_lost(error)


def gpu_is_lost(error: Exception) -> bool:
    """Whether this process cannot use its GPU any more, as after an error in a kernel. Another process can."""
    text = str(error) if isinstance(error, RuntimeError) else ""
    return text.startswith("CUDA error") and not any(words in text for words in NO_MEMORY)


REPORTED = 5
"""How many failures of a system are shown; all are recorded."""


class NotCovered(Exception):
    """The system does not cover the track, so its units are left out. That is no failure."""


Failures = dict[str, Exception]
"""By unit id: the error of a unit that failed, or ``NotCovered`` for one that was left out."""

Computed = tuple[torch.Tensor, float, str]
"""A unit's stems ``[K, T]``, the seconds that they took, and the device."""


Missing = Callable[[list[WorkUnit]], list[WorkUnit]]
"""Says which of some units have to be computed, as the store is now."""


def execute(
    system: SystemSpec,
    units: Sequence[WorkUnit],
    missing: Missing,
    job: Job,
    before: Mapping[str, Exception],
    done: Callable[[Sequence[WorkUnit]], None] | None = None,
) -> Failures:
    """Compute those of one system's ``units`` that are ``missing``; returns what failed or is not covered.

    ``missing`` is asked again whenever the store may have changed. A unit that fails is recorded and does not stop the others. Units
    that another process is computing are waited for, and taken over if it dies. If the GPU is lost, the current batch is left as it
    would be if this process had been killed, for another process to take over.

    ``before`` has what failed so far: a derived system's unit fails if one of its inputs did. ``done`` is called with units that are
    computed, by this process or another, or have failed; it may hear of a unit more than once.
    """

    def pending(some: list[WorkUnit]) -> list[WorkUnit]:
        job.store.refresh()
        return missing(some)

    todo = pending(list(units))
    if not todo:
        return {}
    try:
        worker = _worker(system, job, before)
    except IntegrityError as error:  # its files are not those of the plan; other systems' may be
        say(f"error: {system.name}: {error}")
        job.store.record_failures(todo, error, job.run)
        return {unit.id: error for unit in todo}
    covered = worker.covered(units)
    left_out = [unit for unit in todo if unit.excerpt.track not in covered]
    failures: Failures = {unit.id: NotCovered() for unit in left_out}
    todo = [unit for unit in todo if unit.excerpt.track in covered]
    with job.store.leases() as leases, progress(f"{worker.doing}: {_title(system, todo)}", len(todo)) as advance:
        for batch in leases.share(todo, lambda unit: unit.id, pending, job.batch_size):
            job.store.tidy()
            try:
                failures |= worker.run(batch, leases.holds)
            except RuntimeError as error:
                if gpu_is_lost(error):
                    leases.abandon()
                raise
            if done:
                done(batch)
            advance(len(batch))
    if done:
        done([*left_out, *todo])  # also what others did
    return failures


def _worker(system: SystemSpec, job: Job, before: Mapping[str, Exception]) -> "Worker":
    if system.derived:
        return Combining(system, job, before)
    return (Generating if system.task else Separating)(system, job)


class Worker(ABC):
    """One system at work on one job."""

    doing: str
    """What it does, in the progress that is shown."""

    def __init__(self, system: SystemSpec, job: Job) -> None:
        self.system = system
        self.job = job
        self._reported = 0

    def covers(self, unit: WorkUnit) -> bool:
        """Whether the system covers a unit's track."""
        return True

    @abstractmethod
    def compute(self, units: list[WorkUnit]) -> list[Computed]:
        """Compute the outputs of a batch."""

    def covered(self, units: Sequence[WorkUnit]) -> set[str]:
        """The tracks of ``units`` that the system covers. Says so if there are others."""
        one = {unit.excerpt.track: unit for unit in units}
        covered = {track: self.covers(unit) for track, unit in one.items()}
        if not all(covered.values()):
            absent = next(track for track in covered if not covered[track])
            say(f"{self.system.name}: covers {sum(covered.values())} of {len(covered)} songs; not {absent}, …")
        return {track for track in covered if covered[track]}

    def run(self, units: list[WorkUnit], holds: Callable[[str], bool]) -> Failures:
        """Compute and record a batch; returns what failed. A batch that fails is tried unit by unit.

        ``holds`` says of a unit's id whether this process still has its lease. Without it the unit is not recorded: the process
        that took the lease over records it, or has done so.
        """
        try:
            made = zip(units, self.compute(units), strict=True)
            outputs = [self.write(unit, *each) for unit, each in made if holds(unit.id)]
            files.verify(self.system.files)  # once more: nothing is recorded of files that are not those of the plan
            self.job.store.record_outputs(outputs)
        except Exception as error:
            if ends_the_run(error):
                raise
            if len(units) > 1:
                return {key: failure for unit in units for key, failure in self.run([unit], holds).items()}
            self.job.store.record_failures(units, error, self.job.run)
            self._report(units[0])
            return {units[0].id: error}
        return {}

    def write(self, unit: WorkUnit, stems: torch.Tensor, seconds: float, device: str) -> Output:
        """Write the stems ``[K, T]`` of a unit, unless they are not finite."""
        rate = self.job.dataset.manifest.rate
        estimate = stems.float().cpu().numpy()
        audio.require_finite(estimate, rate, "estimate")
        return self.job.store.write_output(unit, estimate, rate, seconds, device, self.job.run)

    def _report(self, unit: WorkUnit) -> None:
        self._reported += 1
        if self._reported <= REPORTED:
            where = f"{unit.excerpt.track} at {unit.excerpt.start / self.job.dataset.manifest.rate:.1f} s"
            say(f"error: {_title(unit.system, [unit])}, {where}: {self.job.store.failures[unit.id]['message']}")
        elif self._reported == REPORTED + 1:
            say(f"error: {self.system.name}: further failures are recorded, not shown")


class Sampling(Worker):
    """A system, built, at work on excerpts of songs."""

    def __init__(self, system: SystemSpec, job: Job) -> None:
        super().__init__(system, job)
        self.built: Any = system.build()
        self._tracks = {track.name: track for track in job.dataset.manifest.tracks}

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
        return [(estimate, seconds, self.job.device) for estimate in stems]

    def read(self, excerpt: Excerpt) -> audio.Samples:
        """The true stems ``[STEMS, T]`` of an excerpt, verified."""
        return self.job.dataset.stretch(self._tracks[excerpt.track], excerpt.start, excerpt.length)


class Separating(Sampling):
    """A separator at work on mixtures."""

    doing = "separating"

    def covers(self, unit: WorkUnit) -> bool:
        return not self.system.reads_places or bool(self.built.covers(unit.excerpt.track))

    def sample(self, units: list[WorkUnit], references: audio.Samples) -> torch.Tensor:
        mixtures = np.stack([audio.mixture(stems) for stems in references])  # [B, T]
        batch = Batch(
            mixtures=torch.from_numpy(mixtures).to(self.job.device),
            rate=self.job.dataset.manifest.rate,
            seeds=tuple(unit.seed for unit in units),
            places=tuple(map(self._place, units)) if self.system.reads_places else None,
            references=torch.from_numpy(references).to(self.job.device) if self.built.reads_references else None,
        )
        with files.pinned(self.system.files):
            stems: torch.Tensor = self.built.separate(batch)
        return stems

    def _place(self, unit: WorkUnit) -> Place:
        return Place(unit.excerpt.track, unit.excerpt.start, self._tracks[unit.excerpt.track].frames)


class Generating(Sampling):
    """A generator at work on its task."""

    doing = "generating"

    def sample(self, units: list[WorkUnit], references: audio.Samples) -> torch.Tensor:
        task = self.system.task
        assert task is not None
        request = Request(
            stems=task.stems,
            given={stem: torch.from_numpy(references[:, STEMS.index(stem)]).to(self.job.device) for stem in task.given},
            seeds=tuple(unit.seed for unit in units),
            length=references.shape[2],
            device=self.job.device,
            elsewhere=None
            if self.system.borrows is None
            else torch.from_numpy(np.stack([self._borrow(unit, task.stems) for unit in units])).to(self.job.device),
        )
        with files.pinned(self.system.files):
            stems: torch.Tensor = self.built.generate(request)
        return stems

    def _borrow(self, unit: WorkUnit, stems: Sequence[str]) -> audio.Samples:
        """The real stems ``[J, T]`` of the excerpts that the plan chose, one a stem."""
        pairs = zip(stems, unit.elsewhere, strict=True)
        return np.stack([self.read(excerpt)[STEMS.index(stem)] for stem, excerpt in pairs])


class Combining(Worker):
    """A derived system at work on what the store holds, one excerpt at a time."""

    doing = "combining"

    def __init__(self, system: SystemSpec, job: Job, before: Mapping[str, Exception]) -> None:
        super().__init__(system, job)
        assert system.derived is not None
        self.derived: Derived = system.derived
        self.before = before

    def covers(self, unit: WorkUnit) -> bool:
        return not any(isinstance(self.before.get(each.id), NotCovered) for each in unit.inputs)

    def compute(self, units: list[WorkUnit]) -> list[Computed]:
        return [self._combine(unit) for unit in units]

    def _combine(self, unit: WorkUnit) -> Computed:
        for each in unit.inputs:
            if each.id in self.before and not self.job.store.has_output(each.id):
                raise _input_failed(each, self.before[each.id])
        outputs = np.stack([self.job.store.read_output(each) for each in unit.inputs])  # [I, K, T]
        stems = self.derived.combine(torch.from_numpy(outputs))
        _require_shape(stems, outputs.shape[1:], "[K, T]")
        records = [self.job.store.outputs[each.id] for each in unit.inputs]
        devices = ", ".join(sorted({record.device for record in records}))
        return stems, sum(record.seconds for record in records), devices


def _input_failed(unit: WorkUnit, error: Exception) -> GmsdiError:
    """The error of a unit whose input failed; bad input if the input's error was."""
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
