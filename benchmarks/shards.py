"""Work for other processes: what a job lacks and has to be computed, in shards of about equal length, each for one worker.

A worker computes the units of its shard and nothing else, and needs nothing but the shard. What is made of others, the scores and what
is dropped after them are left to ``benchmarks.launch.finish``, once all workers have ended.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from benchmarks.device import usable
from benchmarks.execute import Failures, NotCovered, execute
from benchmarks.launch import Job, to_do
from benchmarks.plan import Plan, WorkUnit
from benchmarks.provenance import provenance
from benchmarks.spec import SystemSpec


@dataclass(frozen=True)
class Shard:
    """Units that one worker computes, system by system. ``job`` is as much of the whole one as says what they are needed for."""

    job: Job
    units: tuple[WorkUnit, ...]
    seconds: float  # that they are expected to take
    attempts: int = 1  # at a unit that fails, before it is given up

    def run(self) -> Failures:
        """Compute what is missing of the shard; returns what failed.

        Units at which a worker died come last and one at a time, so that one that kills every worker keeps no other from being done.
        """
        job = replace(self.job, device=usable(self.job.device))
        job = replace(job, run=job.store.record_run(provenance(job.device)))
        job.store.refresh()
        job.store.remove_damaged(self.units)
        deaths = job.store.leases().deaths(unit.id for unit in self.units)
        calm = [unit for unit in self.units if unit.id not in deaths]
        risky = sorted((unit for unit in self.units if unit.id in deaths), key=lambda unit: deaths[unit.id])
        failures = self._compute(calm, job) | self._compute(risky, replace(job, batch_size=1))
        job.store.compact()  # so that there are as many small files as batches of the shards at work, not of all
        return failures

    def _compute(self, units: Sequence[WorkUnit], job: Job) -> Failures:
        def missing(some: list[WorkUnit]) -> list[WorkUnit]:
            wanted = to_do(job)
            return [unit for unit in some if unit.id in wanted]

        failures: Failures = {}
        for _, group in groupby(units, key=lambda unit: unit.system.id):
            todo = list(group)
            system = todo[0].system
            for _ in range(self.attempts):
                found = execute(system, todo, missing, job.dataset, job.store, job.batch_size, job.device, job.run, {})
                failures = {key: failure for key, failure in failures.items() if not job.store.has_output(key)} | found
                job.store.record_left_out(key for key, failure in found.items() if isinstance(failure, NotCovered))
                if not (
                    todo := [unit for unit in todo if not isinstance(found.get(unit.id, NotCovered()), NotCovered)]
                ):
                    break
        return {key: failure for key, failure in failures.items() if not isinstance(failure, NotCovered)}


def to_separate(job: Job) -> list[WorkUnit]:
    """What has to be computed and is not made of others, system by system; not what a system has nothing to say of."""
    units = [unit for unit in to_do(job).values() if not unit.system.inputs and unit.id not in job.store.left_out]
    order = {system.id: n for n, system in enumerate(_all_systems(job.plan.systems))}
    return sorted(
        units, key=lambda unit: (order[unit.system.id], unit.excerpt.track, unit.replicate, unit.excerpt.start)
    )


def pack(job: Job, units: Sequence[WorkUnit], seconds: float, unknown: float, attempts: int) -> list[Shard]:
    """Shards of ``units`` that take about ``seconds`` each, by the timings in the store; without any: ``unknown``."""
    expected = {system: found or unknown for system, found in timings(job).items()}
    users = _users(job.plan.systems)
    shards: list[Shard] = []
    group: list[WorkUnit] = []
    length = 0.0
    for unit in units:
        own = expected.get(unit.system.id, unknown)
        if group and length + own > seconds:
            shards.append(_shard(job, group, length, attempts, users))
            group, length = [], 0.0
        group.append(unit)
        length += own
    return [*shards, _shard(job, group, length, attempts, users)] if group else []


def timings(job: Job) -> dict[str, float]:
    """Seconds that a unit of a system took on average, by system, as far as the store knows of this plan's units."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for unit in job.plan.everything().values():
        if unit.id in job.store.outputs and not unit.system.inputs:
            seconds[unit.system.id].append(job.store.outputs[unit.id].seconds)
    return {system: sum(some) / len(some) for system, some in seconds.items()}


Users = Mapping[tuple[str, int], Collection[str]]
"""By system and replicate: the systems whose rows need it, itself among them if it has one."""


def _users(systems: Sequence[SystemSpec]) -> Users:
    users: dict[tuple[str, int], set[str]] = defaultdict(set)
    for row in systems:
        todo = [(row, 0)]
        while todo:
            system, replicate = todo.pop()
            users[system.id, replicate].add(row.id)
            todo += [(each.system, each.replicate) for each in system.inputs]
    return users


def _shard(job: Job, units: Sequence[WorkUnit], seconds: float, attempts: int, users: Users) -> Shard:
    plan = job.plan
    keys = {(row, unit.excerpt.track): None for unit in units for row in sorted(users[unit.system.id, unit.replicate])}
    rows, names = {row for row, _ in keys}, {track for _, track in keys}
    manifest = replace(plan.manifest, tracks=tuple(track for track in plan.manifest.tracks if track.name in names))
    systems = tuple(system for system in plan.systems if system.id in rows)
    part = Plan(manifest, plan.protocol, systems, {key: plan.units[key] for key in keys})
    small = replace(job, plan=part, dataset=replace(job.dataset, manifest=manifest), run="", config="")
    return Shard(small, tuple(units), seconds, attempts)


def _all_systems(systems: Iterable[SystemSpec]) -> Iterator[SystemSpec]:
    for system in systems:
        yield from _all_systems(each.system for each in system.inputs)
        yield system
