"""Where the work of a plan is done."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from benchmarks.data.dataset import Dataset
from benchmarks.execute import Failures, execute
from benchmarks.metrics.scores import Metric
from benchmarks.plan import Plan, WorkUnit
from benchmarks.score import score, score_key
from benchmarks.spec import SystemSpec
from benchmarks.store import KeepAudio, Store


@dataclass(frozen=True)
class Job:
    """A plan and everything that it takes to carry it out."""

    plan: Plan
    dataset: Dataset
    metrics: tuple[Metric, ...]
    store: Store
    batch_size: int
    keep_audio: KeepAudio
    device: str
    run: str = ""  # the provenance of what it makes; a job that is only looked at makes nothing


class Local:
    """In this process, one system after the other; a system is scored, and its audio dropped, before the next begins."""

    def run(self, job: Job) -> Failures:
        """Carry the job out; returns what failed."""
        distinct = {system.id: system for system in job.plan.systems}  # two names may stand for one system
        return {unit: failure for system in distinct.values() for unit, failure in _run_system(system, job).items()}


def _run_system(system: SystemSpec, job: Job) -> Failures:
    units = list(job.plan.of_system(system))
    damaged = job.store.remove_damaged(units)

    def missing(some: list[WorkUnit]) -> list[WorkUnit]:
        needed = {unit.id for unit in _missing(some, job)}
        return [
            unit for unit in some if unit.id in needed or (unit.id in damaged and not job.store.has_output(unit.id))
        ]

    failures = execute(system, units, missing, job.dataset, job.store, job.batch_size, job.device, job.run)
    score(system, job.plan, job.metrics, job.dataset, job.store, job.run)
    if job.keep_audio != "float32":
        _drop_audio(units, job)
    return failures


def missing_units(system: SystemSpec, job: Job) -> list[WorkUnit]:
    """The units of a system that have to be computed."""
    return _missing(job.plan.of_system(system), job)


def _missing(units: Iterable[WorkUnit], job: Job) -> list[WorkUnit]:
    """Those of tracks that lack a score and whose audio is not there."""
    return [
        unit
        for scored, group in _by_track(units, job)
        if not scored
        for unit in group
        if not job.store.has_output(unit.id)
    ]


def _drop_audio(units: Iterable[WorkUnit], job: Job) -> None:
    """Drop what has been scored; a run that finishes beside this one may be at it too, so each unit under its lease."""

    def remaining(some: list[WorkUnit]) -> list[WorkUnit]:
        return [unit for unit in some if job.store.has_output(unit.id)]

    scored = [unit for scored, group in _by_track(units, job) if scored for unit in group]
    with job.store.leases() as leases:
        for batch in leases.share(remaining(scored), lambda unit: unit.id, remaining, job.batch_size):
            for unit in batch:
                job.store.drop_audio(unit, job.keep_audio)


def _by_track(units: Iterable[WorkUnit], job: Job) -> Iterator[tuple[bool, Iterator[WorkUnit]]]:
    """Units, which come track by track, in groups; with each, whether its track has all its scores."""
    for (system, track), group in groupby(units, lambda unit: (unit.system.id, unit.excerpt.track)):
        yield _is_scored(job.plan.units[system, track], job.metrics, job.store), group


def _is_scored(units: Sequence[WorkUnit], metrics: Sequence[Metric], store: Store) -> bool:
    return all(score_key(metric, units, store) in store.scores for metric in metrics)
