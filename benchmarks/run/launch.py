"""Where the work of a plan is done."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from typing import Protocol

from benchmarks.data.dataset import Dataset
from benchmarks.device import usable
from benchmarks.metrics.judges import Judge
from benchmarks.metrics.scores import Metric
from benchmarks.notices import say
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import Plan, WorkUnit, with_inputs
from benchmarks.run.execute import Failures, NotCovered, execute, gpu_is_lost
from benchmarks.run.score import is_scored, score, score_key
from benchmarks.store.store import KeepAudio, Store
from gmsdi.errors import BadInputError, GmsdiError, one_line

Missing = Callable[[list[WorkUnit]], list[WorkUnit]]
"""Those of some units that have to be computed, as the store is now."""


@dataclass(frozen=True)
class Job:
    """A plan and everything that it takes to carry it out."""

    plan: Plan
    dataset: Dataset
    metrics: tuple[Metric | Judge, ...]
    store: Store
    batch_size: int
    keep_audio: KeepAudio
    device: str  # as the config has it: only where it is computed does anybody know what ``auto`` is
    run: str = ""  # the provenance of what it makes; a job that is only looked at makes nothing
    config: str = ""  # all of it as yaml, for who goes on with a job that was handed over


class Launcher(Protocol):
    def run(self, job: Job) -> Failures | None:
        """Carry the job out; returns what failed. None if it has only been handed over, so that nothing is known yet."""
        ...

    def check(self) -> str:
        """What there is here to work with, in words, for a person; ``GmsdiError`` for what is lacking."""
        ...


class Local:
    """In this process, one system after the other, what is made of others after those.

    A system is scored before the next begins, and its audio dropped, if nothing more is to be made of it.
    """

    def run(self, job: Job) -> Failures:
        """Carry the job out; returns what failed."""
        try:
            return _Work(replace(job, device=usable(job.device))).do()
        except RuntimeError as error:
            if gpu_is_lost(error):
                raise GmsdiError(f"{one_line(error)}; what is finished is kept, run again") from None
            raise

    def check(self) -> str:
        return "in this process"


def finish(job: Job) -> Failures:
    """What is left of a job when workers have done what they could: put together, score, drop. Returns what failed or is lacking."""
    job.store.refresh()
    failures = _Finishing(replace(job, device="cpu")).do()
    lacking = sum(isinstance(failure, Unfinished) for failure in failures.values())
    if lacking:
        say(f"error: {lacking} excerpts were not computed: their workers ended before")
    return failures


class Unfinished(GmsdiError):
    """No worker has come to a unit, or one ended while at it."""


class _Work:
    """A job that is being carried out: what it has not been able to do, and what is made of what."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.failures: Failures = {}
        self._users: dict[tuple[str, int], list[str]] = defaultdict(
            list
        )  # of a system and replicate: what is made of it
        for system in job.plan.systems:
            for each in system.inputs:
                self._users[each.system.id, each.replicate].append(system.id)

    def do(self) -> Failures:
        """Carry out all systems; returns what failed."""
        for system in in_order(self.job.plan.systems):
            self.carry_out(system)
        return {unit: failure for unit, failure in self.failures.items() if not isinstance(failure, NotCovered)}

    def carry_out(self, system: SystemSpec) -> None:
        """Compute and score one system's row, and drop the audio that the row was the last to need."""
        job = self.job
        units = list(job.plan.of_system(system))
        damaged = job.store.remove_damaged(self._to_verify(units))

        def missing(some: list[WorkUnit]) -> list[WorkUnit]:
            needed = {unit.id for unit in _missing(some, job)}
            return [
                unit for unit in some if unit.id in needed or (unit.id in damaged and not job.store.has_output(unit.id))
            ]

        self._compute(system, units, missing)
        score(system, job.plan, job.metrics, job.dataset, job.store, job.run)
        if job.keep_audio != "float32":
            self._drop_audio(units)

    def _compute(self, system: SystemSpec, units: list[WorkUnit], missing: Missing) -> None:
        """Compute those of one system's units that are missing; before them what they are made of and the store lacks."""
        job = self.job
        if system.inputs:
            job.store.refresh()
            self._compute_inputs(missing(units), missing)
        self.failures |= self._execute(system, units, missing)

    def _execute(self, system: SystemSpec, units: list[WorkUnit], missing: Missing) -> Failures:
        job = self.job
        return execute(
            system, units, missing, job.dataset, job.store, job.batch_size, job.device, job.run, self.failures
        )

    def _to_verify(self, units: list[WorkUnit]) -> list[WorkUnit]:
        """The units whose audio, where it is there, is compared with what was recorded."""
        return units

    def _compute_inputs(self, units: list[WorkUnit], missing: Missing) -> None:
        """Compute what ``units``, which are ``missing``, are made of, system by system, all replicates of one at once."""
        store = self.job.store
        user = {each.id: unit for unit in units for each in unit.inputs}

        def needed(some: list[WorkUnit]) -> list[WorkUnit]:
            wanted = {unit.id for unit in missing([user[each.id] for each in some]) if not self._is_hopeless(unit)}
            return [each for each in some if user[each.id].id in wanted and not store.has_output(each.id)]

        inputs: dict[str, dict[str, WorkUnit]] = defaultdict(dict)
        for unit in units:
            for each in unit.inputs:
                inputs[each.system.id][each.id] = each
        for group in inputs.values():
            some = list(group.values())
            store.remove_damaged(some)
            self._compute(some[0].system, needed(some), needed)

    def _is_hopeless(self, unit: WorkUnit) -> bool:
        """Whether a unit cannot be made: what it is made of failed in this run, and is not tried again, or is not covered."""
        return any(each.id in self.failures and not self.job.store.has_output(each.id) for each in unit.inputs)

    def _drop_audio(self, units: Sequence[WorkUnit]) -> None:
        """Drop what has been scored, and nothing more is to be made of, among ``units`` and what they are made of.

        A run that finishes beside this one may be at it too, so each unit under its lease. Of a replicate without a row nothing stays.
        """
        job = self.job
        is_needed = cache(self._is_needed)

        def remaining(some: list[WorkUnit]) -> list[WorkUnit]:
            return [unit for unit in some if job.store.has_output(unit.id)]

        candidates = with_inputs(units).values()
        done = [unit for unit in candidates if not is_needed(unit.system.id, unit.replicate, unit.excerpt.track)]
        with job.store.leases() as leases:
            for batch in leases.share(remaining(done), lambda unit: unit.id, remaining, job.batch_size):
                for unit in batch:
                    job.store.drop_audio(unit, "false" if unit.replicate else job.keep_audio)

    def _is_needed(self, system: str, replicate: int, track: str) -> bool:
        """Whether the audio of a track is still to be scored, or anything is still to be made of it."""
        users = self._users[system, replicate]
        return any(self._is_needed(user, 0, track) for user in users) or not (
            replicate > 0  # has no row of its own
            or _is_scored(self.job.plan.units[system, track], self.job.metrics, self.job.store)
            or self._is_left_out(system, track)
        )

    def _is_left_out(self, system: str, track: str) -> bool:
        return any(isinstance(self.failures.get(unit.id), NotCovered) for unit in self.job.plan.units[system, track])


class _Finishing(_Work):
    """A job whose separating is done elsewhere: what others were to compute and is not there has failed, or is unfinished."""

    def _execute(self, system: SystemSpec, units: list[WorkUnit], missing: Missing) -> Failures:
        if not system.inputs:
            return {unit.id: self._why(unit) for unit in missing(units)}
        waiting = {unit.id for unit in missing(units) if any(map(self._is_unfinished, unit.inputs))}
        lacking: Failures = {unit: Unfinished("what it is made of is not there yet") for unit in waiting}
        return lacking | super()._execute(system, [unit for unit in units if unit.id not in waiting], missing)

    def _to_verify(self, units: list[WorkUnit]) -> list[WorkUnit]:
        """Not what is scored already: it may be a lot, and this may be a login node."""
        return [unit for scored, group in _by_track(units, self.job) if not scored for unit in group]

    def _why(self, unit: WorkUnit) -> Exception:
        if unit.id in self.job.store.left_out:
            return NotCovered()
        deaths = self.job.store.leases().deaths([unit.id]).get(unit.id, 0)
        if deaths > 1:  # once is chance; the second time it was alone. Whatever it was, the next run tries again
            how = "a crash, out of memory, killed, cancelled or preempted"
            ended = GmsdiError(f"{deaths} workers ended while at it: {how}; their logs may say")
            self.job.store.record_failure(unit, ended, self.job.run)
        if unit.id not in self.job.store.failures:
            return Unfinished("not computed")
        failure = self.job.store.failures[unit.id]
        kind = BadInputError if failure["error"] == BadInputError.__name__ else GmsdiError
        return kind(failure["message"])

    def _is_unfinished(self, unit: WorkUnit) -> bool:
        return isinstance(self.failures.get(unit.id), Unfinished) and not self.job.store.has_output(unit.id)


def missing_units(system: SystemSpec, job: Job) -> list[WorkUnit]:
    """The units of a system's row that have to be computed."""
    return _missing(job.plan.of_system(system), job)


def to_do(job: Job) -> dict[str, WorkUnit]:
    """All units that have to be computed, by id: those that rows lack, and what those are made of."""
    found: dict[str, WorkUnit] = {}
    todo = [unit for system in job.plan.systems for unit in missing_units(system, job)]
    while todo:
        found |= {unit.id: unit for unit in todo}
        todo = [each for unit in todo for each in unit.inputs if not job.store.has_output(each.id)]
    return found


def in_order(systems: Iterable[SystemSpec]) -> list[SystemSpec]:
    """Each system once (two names may stand for one), what is made of others after those."""
    return sorted({system.id: system for system in systems}.values(), key=_depth)


def _depth(system: SystemSpec) -> int:
    return max((1 + _depth(each.system) for each in system.inputs), default=0)


def _missing(units: Iterable[WorkUnit], job: Job) -> list[WorkUnit]:
    """Those of tracks that lack a score and whose audio is not there."""
    return [
        unit
        for scored, group in _by_track(units, job)
        if not scored
        for unit in group
        if not job.store.has_output(unit.id)
    ]


def _by_track(units: Iterable[WorkUnit], job: Job) -> Iterator[tuple[bool, Iterator[WorkUnit]]]:
    """Units, which come track by track, in groups; with each, whether its track has all its scores."""
    for (system, track), group in groupby(units, lambda unit: (unit.system.id, unit.excerpt.track)):
        yield _is_scored(job.plan.units[system, track], job.metrics, job.store), group


def _is_scored(units: Sequence[WorkUnit], metrics: Sequence[Metric | Judge], store: Store) -> bool:
    return all(is_scored(score_key(metric, units, store), store) for metric in metrics)
