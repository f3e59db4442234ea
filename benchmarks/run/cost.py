"""What a job would cost, before any of it is done: units, network evaluations, hours and bytes, and how the hours are known."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from hydra.utils import get_class
from rich.console import Console
from rich.table import Table

from benchmarks.config import build
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import WorkUnit
from benchmarks.run.launch import Job, to_do


@dataclass(frozen=True)
class Cost:
    """Of what is missing of one system. What takes no time to speak of has 0 seconds, what nothing is known of None."""

    system: str
    units: int
    missing: int
    evaluations: int | None
    seconds: float | None
    source: str  # of the seconds
    bytes: int


def costs(job: Job, throughput: float | None) -> list[Cost]:
    """The cost of each system, by this store's timings of it, else by ``throughput``, in network evaluations a second.

    More samples of a system, of which others are made, count with it; to put outputs together takes no time to speak of.
    """
    everything, lacking = job.plan.everything(), to_do(job)
    units: dict[str, list[WorkUnit]] = {}
    for unit in everything.values():
        units.setdefault(unit.system.id, []).append(unit)
    return [
        _cost(system, job, units[system.id], lacking.keys(), throughput)
        for system in job.plan.systems
        if not system.lacks
    ]


def evaluations(system: SystemSpec) -> int | None:
    """How often a chunk passes through a network; None where a system does not walk down noise levels."""
    target: Any = get_class(system.config._target_)
    passes = None if system.inputs else target.passes(len(system.outputs))
    if passes is None:
        return None
    steps = len(build(system.config.sigmas)) - 1
    return passes * steps * build(system.config.sampler).resamples


def print_costs(job: Job, throughput: float | None) -> None:
    """The costs as a table, their sum, and how the seconds are known."""
    found = costs(job, throughput)
    grid = Table(title=f"To do on {job.plan.manifest.title} {job.plan.manifest.split}; {_protocol(job)}")
    for heading in ("system", "units", "missing", "evaluations", "seconds", "bytes"):
        grid.add_column(heading, justify="left" if heading == "system" else "right")
    for cost in found:
        evaluated = "" if cost.evaluations is None else f"{cost.evaluations:,}"
        seconds = "unknown" if cost.seconds is None else f"{cost.seconds:,.1f}" if cost.seconds else "0"
        grid.add_row(cost.system, str(cost.units), str(cost.missing), evaluated, seconds, f"{cost.bytes:,}")
    console = Console()
    console.print(grid)
    known = sum(cost.seconds or 0 for cost in found)
    unknown = sum(cost.seconds is None for cost in found)
    more = f", and {unknown} systems of which nothing is known" if unknown else ""
    sources = "; ".join(dict.fromkeys(cost.source for cost in found if cost.source))
    count = sum(cost.evaluations or 0 for cost in found)
    print(f"in all {count:,} network evaluations, {known / 3600:,.2f} device hours{more}")
    if sources:
        print(f"seconds are from {sources}")
    if unknown:
        print(
            "run protocol.chunks_per_track=1 first, or give evaluations_per_second=… as `python -m benchmarks.perf systems` measures it"
        )


def _cost(
    system: SystemSpec, job: Job, units: list[WorkUnit], lacking: Collection[str], throughput: float | None
) -> Cost:
    missing = [unit for unit in units if unit.id in lacking]
    each = evaluations(system)
    count = None if each is None else each * len(missing)
    size = sum(len(unit.system.outputs) * 4 * unit.excerpt.length for unit in missing)
    timed = [job.store.outputs[unit.id] for unit in units if unit.id in job.store.outputs]
    seconds: float | None = None
    source = ""
    if system.inputs or not missing:
        seconds = 0.0
    elif timed:
        seconds = len(missing) * sum(output.seconds for output in timed) / len(timed)
        source = f"this store's own, on {', '.join(sorted({output.device for output in timed}))}"
    elif count is not None and throughput:
        seconds = count / throughput
        source = f"evaluations_per_second={throughput:g}, as given"
    return Cost(system.name, len(units), len(missing), count, seconds, source, size)


def _protocol(job: Job) -> str:
    return f"{job.plan.protocol.describe(job.plan.manifest.rate)} ({len(job.plan.tracks)} songs)"
