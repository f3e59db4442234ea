"""The timings that ship with the suite: ``python -m benchmarks.perf.timings OUT.yaml TABLE … [OVERRIDE…]``.

Measures nothing itself. It writes down what the outputs of finished runs of these tables, with the same overrides, say they took, on
the same machine: of each system that is not made of others the mean over its units, and what it has to be for that to hold.
"""

import datetime
import shlex
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks import config
from benchmarks.device import chosen, processor
from benchmarks.run.configured import job_of
from benchmarks.run.job import Job
from benchmarks.run.timings import Timings
from benchmarks.store.store import Store
from gmsdi.errors import BadInputError, GmsdiError


def write(path: Path, jobs: Sequence[Job], command: str) -> None:
    """Write what the stores of ``jobs``, whose chunks are of one length, know of their systems.

    ``BadInputError`` if one knows nothing, or was filled by another machine.
    """
    timed = [_timings(job) for job in jobs]
    content = {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": processor(chosen(jobs[0].device)),
        "chunk": jobs[0].plan.protocol.chunk,  # samples
        "systems": {
            timings.systems[key].name: {
                "networks": timings.systems[key].about,
                "evaluations": timings.evaluations[key],
                "seconds": round(spent.each, 6),
            }
            for timings in timed
            for key, spent in timings.own.items()
        },
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False, width=1000))


def _timings(job: Job) -> Timings:
    timings = Timings(job)
    if not timings.own:
        raise BadInputError(
            f"{job.store.root}: has no outputs of these systems; `gmsdi run` with the same overrides first"
        )
    runs = {job.store.outputs[unit].run for unit in job.plan.everything() if unit in job.store.outputs}
    hosts = {job.store.run(run)["machine"]["host"] for run in runs}
    if hosts != {socket.gethostname()}:
        raise BadInputError(
            f"{job.store.root}: has outputs of {', '.join(sorted(hosts))}; their timings are not this machine's"
        )
    return timings


def main(words: Sequence[str]) -> int:
    """The command of the module's docstring; returns an exit code."""
    overrides = [word for word in words if "=" in word]
    out, *tables = [word for word in words if "=" not in word] or [""]
    try:
        if not tables:
            raise BadInputError("give OUT.yaml TABLE … [OVERRIDE…]")
        settings = [config.load([f"table={table}", *overrides]) for table in tables]
        jobs = [job_of(each, Store(each.store).refresh()) for each in settings]
        write(Path(out), jobs, shlex.join(["python", "-m", "benchmarks.perf.timings", *words]))
    except GmsdiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
