"""Work for other processes: what a job lacks and has to be computed, in shards of about equal length, each for one worker.

A worker computes the units of its shard and nothing else, and needs nothing but the shard. What is made of others, the scores and what
is dropped after them are left to ``benchmarks.run.launch.finish``, once all workers have ended.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from benchmarks.device import usable
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import Plan, WorkUnit
from benchmarks.run.execute import Failures, NotCovered, ends_the_run, execute
from benchmarks.run.launch import Job, Missing, in_order, to_do
from benchmarks.store.provenance import provenance


@dataclass(frozen=True)
class Shard:
    """What one worker computes, part by part, each of one system. ``job`` is as much of the whole one as says what it is needed for."""

    job: Job
    parts: tuple[tuple[WorkUnit, ...], ...]
    seconds: float  # that they are expected to take
    attempts: int = 1  # at a unit that fails, before it is given up

    @property
    def units(self) -> tuple[WorkUnit, ...]:
        return tuple(unit for part in self.parts for unit in part)

    def run(self) -> Failures:
        """Compute what is missing of the shard; returns what failed.

        Units at which a worker died come last and one at a time, so that one that kills every worker keeps no other from being done.
        """
        job = replace(self.job, device=usable(self.job.device))
        job = replace(job, run=job.store.record_run(provenance(job.device)))
        job.store.refresh()
        job.store.remove_damaged(self.units)
        deaths = job.store.leases().deaths(unit.id for unit in self.units)
        calm = [[unit for unit in part if unit.id not in deaths] for part in self.parts]

        def risk(unit: WorkUnit) -> tuple[int, str]:
            return deaths[unit.id], unit.system.id

        risky = groupby(sorted((unit for unit in self.units if unit.id in deaths), key=risk), risk)
        alone = replace(job, batch_size=1)
        failures = self._compute(calm, job) | self._compute((list(part) for _, part in risky), alone)
        job.store.compact()  # so that there are as many small files as batches of the shards at work, not of all
        return failures

    def _compute(self, parts: Iterable[list[WorkUnit]], job: Job) -> Failures:
        def missing(some: list[WorkUnit]) -> list[WorkUnit]:
            wanted = to_do(job)
            return [unit for unit in some if unit.id in wanted]

        failures: Failures = {}
        broken: list[Exception] = []
        for todo in filter(None, parts):
            try:
                failures |= self._compute_part(todo, job, missing)
            except Exception as error:
                if ends_the_run(error):
                    raise
                broken.append(error)  # a system that cannot be made: the others of the shard can
        if broken:
            raise broken[0]
        return {key: failure for key, failure in failures.items() if not isinstance(failure, NotCovered)}

    def _compute_part(self, todo: list[WorkUnit], job: Job, missing: Missing) -> Failures:
        """Units of one system, those that fail ``attempts`` times."""
        failures: Failures = {}
        for _ in range(self.attempts):
            found = execute(
                todo[0].system, todo, missing, job.dataset, job.store, job.batch_size, job.device, job.run, {}
            )
            failures = {key: failure for key, failure in failures.items() if not job.store.has_output(key)} | found
            job.store.record_left_out(key for key, failure in found.items() if isinstance(failure, NotCovered))
            if not (todo := [unit for unit in todo if not isinstance(found.get(unit.id, NotCovered()), NotCovered)]):
                break
        return failures


def to_separate(job: Job) -> list[list[WorkUnit]]:
    """What has to be computed and is not made of others, nor left out by its system: in parts, as ``Local`` comes to it one by one."""
    wanted = to_do(job)
    parts = [
        [unit for unit in part if unit.id in wanted and unit.id not in job.store.left_out] for part in _parts(job.plan)
    ]
    return [part for part in parts if part]


def pack(job: Job, parts: Iterable[Sequence[WorkUnit]], seconds: float, unknown: float, attempts: int) -> list[Shard]:
    """Shards that take about ``seconds`` each, by the timings in the store; a unit of a system without any: ``unknown``.

    Batches are left whole, and so the same wherever they are computed: what else is in a batch changes the last bits of a network.
    """
    expected = timings(job)
    users = _users(job.plan.systems)
    shards: list[Shard] = []
    group: list[list[WorkUnit]] = []
    length = 0.0
    for part in parts:
        begins = True
        for n in range(0, len(part), job.batch_size):
            batch = part[n : n + job.batch_size]
            own = len(batch) * (expected.get(batch[0].system.id) or unknown)
            if group and length + own > seconds:
                shards.append(_shard(job, group, length, attempts, users))
                group, length, begins = [], 0.0, True
            if begins:
                group.append([])
            group[-1] += batch
            length += own
            begins = False
    return [*shards, _shard(job, group, length, attempts, users)] if group else []


def _parts(plan: Plan) -> list[list[WorkUnit]]:
    """All units that are not made of others: each system's row, and between them what rows are made of and that is no row itself."""
    parts: list[list[WorkUnit]] = []
    seen: set[str] = set()

    def visit(units: Iterable[WorkUnit]) -> None:
        groups: dict[str, dict[str, WorkUnit]] = defaultdict(dict)
        for unit in units:
            groups[unit.system.id][unit.id] = unit
        for group in groups.values():
            new = [unit for unit in group.values() if unit.id not in seen]
            seen.update(unit.id for unit in new)
            visit(each for unit in new for each in unit.inputs)
            parts.append([unit for unit in new if not unit.inputs])

    for system in in_order(plan.systems):
        visit(plan.of_system(system))
    return [part for part in parts if part]


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


def _shard(job: Job, parts: Sequence[Sequence[WorkUnit]], seconds: float, attempts: int, users: Users) -> Shard:
    plan = job.plan
    units = [unit for part in parts for unit in part]
    keys = {(row, unit.excerpt.track): None for unit in units for row in sorted(users[unit.system.id, unit.replicate])}
    rows, names = {row for row, _ in keys}, {track for _, track in keys}
    names |= {excerpt.track for unit in units for excerpt in unit.elsewhere}
    manifest = replace(plan.manifest, tracks=tuple(track for track in plan.manifest.tracks if track.name in names))
    systems = tuple(system for system in plan.systems if system.id in rows)
    part = Plan(manifest, plan.protocol, systems, {key: plan.units[key] for key in keys})
    small = replace(job, plan=part, dataset=replace(job.dataset, manifest=manifest), run="", config="")
    return Shard(small, tuple(map(tuple, parts)), seconds, attempts)
