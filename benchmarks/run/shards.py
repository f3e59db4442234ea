"""Work for other processes: the units that a job lacks, in shards of about equal length, each for one worker.

A worker needs nothing but its shard, and computes the units in it and no others. Combining, scoring and dropping audio are left to
``benchmarks.run.launch.finish``, once all workers have ended.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from benchmarks.device import usable
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import Plan, WorkUnit
from benchmarks.run.execute import Failures, Missing, NotCovered, ends_the_run, execute
from benchmarks.run.job import Job
from benchmarks.run.timings import Timings
from benchmarks.run.todo import in_order, to_do
from benchmarks.store.provenance import provenance


@dataclass(frozen=True)
class Shard:
    """What one worker computes, in parts of one system each. ``job`` has only the songs and systems that this takes."""

    job: Job
    parts: tuple[tuple[WorkUnit, ...], ...]
    seconds: float  # that they are expected to take
    attempts: int = 1  # how often a unit that fails is tried

    @property
    def units(self) -> tuple[WorkUnit, ...]:
        return tuple(unit for part in self.parts for unit in part)

    def run(self) -> Failures:
        """Compute what is missing of the shard; returns what failed.

        Units at which a worker died come last and one at a time: if one kills this worker, too, all others are done by then.
        """
        job = replace(self.job, device=usable(self.job.device))
        job = replace(job, run=job.store.record_run(provenance(job.device, job.modules)))
        job.store.refresh()
        job.store.remove_damaged(self.units)
        deaths = job.store.leases().deaths(unit.id for unit in self.units)
        calm = [[unit for unit in part if unit.id not in deaths] for part in self.parts]

        def risk(unit: WorkUnit) -> tuple[int, str]:
            return deaths[unit.id], unit.system.id

        risky = groupby(sorted((unit for unit in self.units if unit.id in deaths), key=risk), risk)
        alone = replace(job, batch_size=1)
        failures = self._compute(calm, job) | self._compute((list(part) for _, part in risky), alone)
        job.store.compact()  # else a store would have a small file for each batch of all shards
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
                broken.append(error)  # a system that cannot be built; the shard's other systems may
        if broken:
            raise broken[0]
        return {key: failure for key, failure in failures.items() if not isinstance(failure, NotCovered)}

    def _compute_part(self, todo: list[WorkUnit], job: Job, missing: Missing) -> Failures:
        """Compute units of one system, those that fail up to ``attempts`` times."""
        failures: Failures = {}
        for _ in range(self.attempts):
            found = execute(todo[0].system, todo, missing, job, {})
            failures = {key: failure for key, failure in failures.items() if not job.store.has_output(key)} | found
            job.store.record_left_out(key for key, failure in found.items() if isinstance(failure, NotCovered))
            if not (todo := [unit for unit in todo if not isinstance(found.get(unit.id, NotCovered()), NotCovered)]):
                break
        return failures


def to_separate(job: Job) -> list[list[WorkUnit]]:
    """The units that workers can compute: not derived, not left out. In parts of one system each, in the order of ``Local``."""
    wanted = to_do(job)
    parts = [
        [unit for unit in part if unit.id in wanted and unit.id not in job.store.left_out] for part in _parts(job.plan)
    ]
    return [part for part in parts if part]


def pack(job: Job, parts: Iterable[Sequence[WorkUnit]], seconds: float, unknown: float, attempts: int) -> list[Shard]:
    """Shards that take about ``seconds`` each, by what ``Timings`` knows; a unit of a system that nothing is known of: ``unknown``.

    Batches are not split: they are those of ``Local``, since the last bits of a network's output depend on what else is in a batch.
    """
    known = Timings(job).known()
    users = _users(job.plan.systems)
    shards: list[Shard] = []
    group: list[list[WorkUnit]] = []
    length = 0.0
    for part in parts:
        begins = True
        for n in range(0, len(part), job.batch_size):
            batch = part[n : n + job.batch_size]
            timing = known.get(batch[0].system.id)
            own = len(batch) * (timing.seconds if timing else unknown)
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
    """All units that are not made of others, by system: those of its row, and further replicates where a row is made of them."""
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


Users = Mapping[tuple[str, int], Collection[str]]
"""By system and replicate: the systems whose rows need it, which may be its own."""


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
    part = Plan(manifest, plan.protocol, systems, {key: plan.units[key] for key in keys}, plan.seed)
    small = replace(job, plan=part, dataset=replace(job.dataset, manifest=manifest), run="", headline=None, config="")
    return Shard(small, tuple(map(tuple, parts)), seconds, attempts)
