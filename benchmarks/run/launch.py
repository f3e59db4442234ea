"""Carrying a job out: all of it in this process, or what is left of it when workers have ended."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Protocol

from benchmarks.device import usable
from benchmarks.notices import beside, say
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import WorkUnit, with_inputs
from benchmarks.run.execute import Failures, Missing, NotCovered, execute, gpu_is_lost
from benchmarks.run.forecast import Forecast
from benchmarks.run.job import Job
from benchmarks.run.score import score
from benchmarks.run.todo import by_track, has_scores, in_order, lacking
from gmsdi.errors import BadInputError, GmsdiError, one_line


class Launcher(Protocol):
    def run(self, job: Job) -> Failures | None:
        """Carry the job out; returns what failed, or None if the job was only handed over and nothing is known yet."""
        ...

    def check(self) -> str:
        """Say in a line what there is here to compute with; ``GmsdiError`` if something that is needed is not there."""
        ...


class Local:
    """In this process, one system after the other; those that are made of others come last.

    Each system is scored before the next begins. Then its audio is dropped, if ``keep_audio`` says so and no other system needs it.
    """

    def run(self, job: Job) -> Failures:
        """Carry the job out; returns what failed."""
        job = replace(job, device=usable(job.device))
        forecast = Forecast(job)
        forecast.announce()
        try:
            with beside(forecast.state):
                return _Work(job, forecast).do()
        except RuntimeError as error:
            if gpu_is_lost(error):
                raise GmsdiError(f"{one_line(error)}; what is finished is kept, run again") from None
            raise

    def check(self) -> str:
        return "in this process"


def finish(job: Job, forecast: Forecast | None = None) -> Failures:
    """Do the rest of a job once its workers have ended: combine, score, drop audio. Returns what failed or was not computed."""
    job.store.refresh()
    failures = _Finishing(replace(job, device="cpu"), forecast).do()
    unfinished = sum(isinstance(failure, Unfinished) for failure in failures.values())
    if unfinished:
        say(f"error: {unfinished} excerpts were not computed: their workers ended before")
    return failures


class Unfinished(GmsdiError):
    """A unit was not computed: no worker came to it, or the worker ended before it was done."""


class _Work:
    """A job that is being carried out: what has failed so far, and which systems are made of which."""

    def __init__(self, job: Job, forecast: Forecast | None) -> None:
        self.job = job
        self.forecast = forecast  # is told what is done; none where nobody looks at it
        self.failures: Failures = {}
        # of a system and replicate: what is made of it
        self._users: dict[tuple[str, int], list[str]] = defaultdict(list)
        for system in job.plan.systems:
            for each in system.inputs:
                self._users[each.system.id, each.replicate].append(system.id)

    def do(self) -> Failures:
        """Carry out all systems; returns what failed."""
        for system in in_order(self.job.plan.systems):
            self.carry_out(system)
        return {unit: failure for unit, failure in self.failures.items() if not isinstance(failure, NotCovered)}

    def carry_out(self, system: SystemSpec) -> None:
        """Compute and score one system's row, and drop the audio that no later row needs."""
        job = self.job
        units = list(job.plan.of_system(system))
        damaged = job.store.remove_damaged(self._to_verify(units))

        def missing(some: list[WorkUnit]) -> list[WorkUnit]:
            wanted = {unit.id for unit in lacking(some, job)} | damaged
            return [unit for unit in some if unit.id in wanted and not job.store.has_output(unit.id)]

        self._compute(system, units, missing)
        if score(system, job) and job.headline and (headline := job.headline(system, job)):
            say(headline)
        if job.keep_audio != "float32":
            self._drop_audio(units)
        if self.forecast:
            self.forecast.finished(system.id)

    def _compute(self, system: SystemSpec, units: list[WorkUnit], missing: Missing) -> None:
        """Compute those of a system's units that are missing, and before that their inputs, where the store lacks them."""
        job = self.job
        if system.inputs:
            job.store.refresh()
            self._compute_inputs(missing(units), missing)
        self.failures |= self._execute(system, units, missing)

    def _execute(self, system: SystemSpec, units: list[WorkUnit], missing: Missing) -> Failures:
        done = self.forecast.done if self.forecast else None
        return execute(system, units, missing, self.job, self.failures, done)

    def _to_verify(self, units: list[WorkUnit]) -> list[WorkUnit]:
        """The units whose audio is compared with the recorded hashes, where it is there."""
        return units

    def _compute_inputs(self, units: list[WorkUnit], missing: Missing) -> None:
        """Compute the inputs of ``units`` that the store lacks, system by system, all replicates of a system at once."""
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
        """Whether a unit cannot be made in this run, because one of its inputs failed or is not covered."""
        return any(each.id in self.failures and not self.job.store.has_output(each.id) for each in unit.inputs)

    def _drop_audio(self, units: Sequence[WorkUnit]) -> None:
        """Drop the audio of ``units`` and their inputs, where it has been scored and no system needs it any more.

        Another run may do the same at this moment, so each unit is dropped under its lease. Of replicates that have no row of their
        own nothing is kept, not even FLACs.
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
        """Whether a track's audio is still to be scored, or another system is still to be made of it."""
        users = self._users[system, replicate]
        return any(self._is_needed(user, 0, track) for user in users) or not (
            replicate > 0  # has no row of its own
            or has_scores(system, track, self.job)
            or self._is_left_out(system, track)
        )

    def _is_left_out(self, system: str, track: str) -> bool:
        return any(isinstance(self.failures.get(unit.id), NotCovered) for unit in self.job.plan.units[system, track])


class _Finishing(_Work):
    """A job whose units were computed by workers. A unit that is not there has failed, or no worker has finished it."""

    def _execute(self, system: SystemSpec, units: list[WorkUnit], missing: Missing) -> Failures:
        if not system.inputs:
            return {unit.id: self._why(unit) for unit in missing(units)}
        waiting = {unit.id for unit in missing(units) if any(map(self._is_unfinished, unit.inputs))}
        unfinished: Failures = {unit: Unfinished("what it is made of is not there yet") for unit in waiting}
        return unfinished | super()._execute(system, [unit for unit in units if unit.id not in waiting], missing)

    def _to_verify(self, units: list[WorkUnit]) -> list[WorkUnit]:
        """Only what is not scored yet: all may be a lot of audio, and this may be a login node."""
        return [unit for scored, group in by_track(units, self.job) if not scored for unit in group]

    def _why(self, unit: WorkUnit) -> Exception:
        if unit.id in self.job.store.left_out:
            return NotCovered()
        deaths = self.job.store.leases().deaths([unit.id]).get(unit.id, 0)
        if deaths > 1:  # the second time it was computed alone, so it was this unit; the next run tries it again
            how = "a crash, out of memory, killed, cancelled or preempted"
            ended = GmsdiError(f"{deaths} workers ended while at it: {how}; their logs may say")
            self.job.store.record_failures([unit], ended, self.job.run)
        if unit.id not in self.job.store.failures:
            return Unfinished("not computed")
        failure = self.job.store.failures[unit.id]
        kind = BadInputError if failure["error"] == BadInputError.__name__ else GmsdiError
        return kind(failure["message"])

    def _is_unfinished(self, unit: WorkUnit) -> bool:
        return isinstance(self.failures.get(unit.id), Unfinished) and not self.job.store.has_output(unit.id)
