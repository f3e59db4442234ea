"""Runs with ``launcher=slurm``, what they computed, and the faults that they have to bear."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from cluster import Cluster
from tinyruns import CHUNKS, TRACKS, Suite, system, until

from benchmarks.store.journal import Journal

UNITS = len(TRACKS) * CHUNKS
MAX_ARRAY = 2
"""The limit of the tests' site: less than the shards of most runs, so that arrays are split all the time."""

HERE = Path(__file__).resolve().parent
SLURM = [
    "launcher=slurm",
    "launcher.poll_seconds=0.3",
    "launcher.sbatch.cpus_per_task=1",
    "launcher.grace_seconds=30",
]


@dataclass(frozen=True)
class SlurmSuite(Suite):
    """``shards`` are asked for by what a unit is said to take."""

    log: Path = Path()

    @staticmethod
    def on(cluster: Cluster, suite: Suite) -> "SlurmSuite":
        environment = {**cluster.environment, "PYTHONPATH": str(HERE.parent)}
        return SlurmSuite(suite.folder, environment, suite.folder / "log")

    def slurm(
        self, store: Path, *overrides: str, shards: int = 4, wait: bool = True, seconds: float = 0.05
    ) -> BaseProcess:
        """``gmsdi run launcher=slurm``; each unit of ``Slow`` takes ``seconds`` and writes a line to the log."""
        minutes = UNITS // shards / 60
        packing = [f"launcher.shard_minutes={minutes}", "launcher.seconds_per_unit=1", f"wait={str(wait).lower()}"]
        return self.start(store, *SLURM, *packing, *(overrides or self.slow(seconds)))

    def slow(self, seconds: float, **more: object) -> list[str]:
        return system("slow", seconds=seconds, log=self.log, **more)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def computed(self) -> Counter[str]:
        """How often each unit was begun."""
        return Counter(line.rsplit(" ", 1)[0] for line in self.lines())


def finished_twice(store: Path) -> int:
    """Units with more than one completion record."""
    counts = Counter(record["unit"] for record in Journal(store / "outputs").refresh())
    return sum(count > 1 for count in counts.values())


def leases(store: Path) -> list[Path]:
    """What somebody holds, or held when it was killed."""
    return list((store / "leases").glob("*/*"))


Fault = Callable[[Cluster, SlurmSuite], None]
"""Something that goes wrong while jobs compute."""


def kill_worker(cluster: Cluster, suite: SlurmSuite) -> None:
    os.kill(int(suite.lines()[-1].split()[-1]), signal.SIGKILL)


def preempt(cluster: Cluster, suite: SlurmSuite) -> None:
    """A job that may displace ours wants the whole cluster for a moment."""
    cluster.ask("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")


def requeue(cluster: Cluster, suite: SlurmSuite) -> None:
    for job in running(cluster):
        cluster.ask("scontrol", "requeue", job)


def cancel_one(cluster: Cluster, suite: SlurmSuite) -> None:
    cluster.ask("scancel", running(cluster)[0])


def lose_node(cluster: Cluster, suite: SlurmSuite) -> None:
    """Its processes die at once. The controller would notice after a minute or so; here it is told."""
    cluster.kill_node("n1")
    cluster.ask("scontrol", "update", "nodename=n1", "state=down", "reason=dead")
    until(lambda: cluster.nodes_up() == {"n2"})
    cluster.start_node("n1")
    until(lambda: cluster.nodes_up() == {"n1", "n2"})


def stop_controller(cluster: Cluster, suite: SlurmSuite) -> None:
    cluster.stop_controller()
    time.sleep(3)
    cluster.start_controller()


FAULTS: dict[str, Fault] = {
    "kill -9 of a worker": kill_worker,
    "preemption of all jobs": preempt,
    "scontrol requeue of all jobs": requeue,
    "scancel of a job": cancel_one,
    "loss of a node": lose_node,
    "controller gone for seconds": stop_controller,
}


def running(cluster: Cluster) -> list[str]:
    until(lambda: _running(cluster))
    return _running(cluster)


def _running(cluster: Cluster) -> list[str]:
    return cluster.ask(
        "squeue", "--noheader", "--array", "--states=RUNNING", "--partition=usual", "--format=%i"
    ).split()


@dataclass(frozen=True)
class Outcome:
    """What a fault did to a run: units that were lost, that were finished twice, that were begun again, and seconds."""

    lost: int
    twice: int
    again: int
    seconds: float
    code: int | None
    said: str


def endure(cluster: Cluster, suite: SlurmSuite, store: Path, faults: Sequence[Fault], shards: int = 2) -> Outcome:
    """A run of some seconds of work, with a fault when a quarter is done, and the next a quarter later."""
    began = time.monotonic()
    process = suite.slurm(store, shards=shards, seconds=0.4)
    for n, fault in enumerate(faults, start=1):
        until(lambda n=n: len(suite.lines()) >= n * UNITS // 4)
        fault(cluster, suite)
    code, said = suite.wait(store, process)
    seconds = time.monotonic() - began
    records = {record["unit"] for record in Journal(store / "outputs").refresh()}
    again = sum(suite.computed().values()) - len(suite.computed())
    return Outcome(UNITS - len(records), finished_twice(store), again, seconds, code, said)
