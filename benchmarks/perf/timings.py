"""The timings that ship with the suite: ``python -m benchmarks.perf.timings OUT.yaml [OVERRIDE…]``.

Measures nothing itself. It writes down what the outputs of a finished ``gmsdi run`` with the same overrides say they took, on the
same machine: of each system that is not made of others the mean over its units, and what it has to be for that to hold.
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


def write(path: Path, job: Job, command: str) -> None:
    """Write what ``job``'s store knows of its systems; ``BadInputError`` if it is nothing, or was measured elsewhere."""
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
    content = {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": processor(chosen(job.device)),
        "chunk": job.plan.protocol.chunk,  # samples
        "systems": {
            timings.systems[key].name: {
                "networks": timings.systems[key].about,
                "evaluations": timings.evaluations[key],
                "seconds": round(spent.each, 6),
            }
            for key, spent in timings.own.items()
        },
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False, width=1000))


def main(words: Sequence[str]) -> int:
    """The command of the module's docstring; returns an exit code."""
    try:
        if not words:
            raise BadInputError("give OUT.yaml [OVERRIDE…]")
        settings = config.load(words[1:])
        command = shlex.join(["python", "-m", "benchmarks.perf.timings", *words])
        write(Path(words[0]), job_of(settings, Store(settings.store).refresh()), command)
    except GmsdiError as error:
        print(f"error: {error}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
