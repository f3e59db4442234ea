"""What of a job is still to do, as its store is now."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import WorkUnit
from benchmarks.run.job import Job
from benchmarks.run.score import is_scored, score_key


def to_do(job: Job) -> dict[str, WorkUnit]:
    """All units that have to be computed, by id: those that rows lack, and those that these are made of."""
    found: dict[str, WorkUnit] = {}
    todo = [unit for system in job.plan.systems for unit in missing_units(system, job)]
    while todo:
        found |= {unit.id: unit for unit in todo}
        todo = [each for unit in todo for each in unit.inputs if not job.store.has_output(each.id)]
    return found


def missing_units(system: SystemSpec, job: Job) -> list[WorkUnit]:
    """The units of a system's row that have to be computed."""
    return lacking(job.plan.of_system(system), job)


def lacking(units: Iterable[WorkUnit], job: Job) -> list[WorkUnit]:
    """Those of ``units``, which come track by track, whose track lacks a score and whose audio is not there."""
    return [
        unit
        for scored, group in by_track(units, job)
        if not scored
        for unit in group
        if not job.store.has_output(unit.id)
    ]


def by_track(units: Iterable[WorkUnit], job: Job) -> Iterator[tuple[bool, Iterator[WorkUnit]]]:
    """Units, which come track by track, in groups; with each, whether its track has all its scores."""
    for (system, track), group in groupby(units, lambda unit: (unit.system.id, unit.excerpt.track)):
        yield has_scores(system, track, job), group


def has_scores(system: str, track: str, job: Job) -> bool:
    """Whether a track, through the system of that id, has a score of each metric."""
    units = job.plan.units[system, track]
    return all(is_scored(score_key(metric, units, job.store), job.store) for metric in job.metrics)


def in_order(systems: Iterable[SystemSpec]) -> list[SystemSpec]:
    """Each system once (two names may stand for one), what is made of others after those."""
    return sorted({system.id: system for system in systems}.values(), key=_depth)


def _depth(system: SystemSpec) -> int:
    return max((1 + _depth(each.system) for each in system.inputs), default=0)
