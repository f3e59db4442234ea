"""What a job will cost, before it starts: units, network evaluations, hours and bytes, and how the hours are known."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.plan.units import WorkUnit
from benchmarks.run.job import Job
from benchmarks.run.timings import Timings
from benchmarks.run.todo import to_do


@dataclass(frozen=True)
class Cost:
    """The cost of one system's missing units. ``seconds`` is 0 if they take hardly any time, and None if nothing is known."""

    system: str
    units: int
    missing: int
    evaluations: int | None
    seconds: float | None
    source: str  # how the seconds are known
    bytes: int


def costs(job: Job, throughput: float | None) -> list[Cost]:
    """The cost of each system, by what ``Timings`` knows of it; ``throughput`` is in network evaluations a second.

    More samples of a system, of which others are made, count with it; to put outputs together takes no time to speak of.
    """
    lacking = to_do(job)
    units: dict[str, list[WorkUnit]] = {}
    for unit in job.plan.everything().values():
        units.setdefault(unit.system.id, []).append(unit)
    timings = Timings(job, throughput)
    known = timings.known()
    found = []
    for system in job.plan.systems:
        if system.lacks:
            continue
        missing = [unit for unit in units[system.id] if unit.id in lacking]
        each, timing = timings.evaluations.get(system.id), known.get(system.id)
        is_free = bool(system.inputs) or not missing
        found.append(
            Cost(
                system.name,
                len(units[system.id]),
                len(missing),
                None if each is None else each * len(missing),
                0.0 if is_free else len(missing) * timing.seconds if timing else None,
                "" if is_free or timing is None else timing.source,
                sum(len(unit.system.outputs) * 4 * unit.excerpt.length for unit in missing),
            )
        )
    return found


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


def _protocol(job: Job) -> str:
    return f"{job.plan.protocol.describe(job.plan.manifest.rate)} ({len(job.plan.tracks)} songs)"
