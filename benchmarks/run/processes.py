"""Several processes on this machine, each with a GPU of its own, or with its share of the CPU's cores."""

import multiprocessing
import os
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess

import torch

from benchmarks import notices
from benchmarks.config import require_count
from benchmarks.device import cores, usable
from benchmarks.notices import beside, progress, say
from benchmarks.run.execute import Failures
from benchmarks.run.forecast import Forecast
from benchmarks.run.job import Job
from benchmarks.run.launch import finish
from benchmarks.run.shards import Shard, pack, to_separate
from gmsdi.errors import GmsdiError

FORKS = multiprocessing.get_context("forkserver")
"""Workers are forked from a process that has imported everything but not touched a GPU: CUDA does not work after a fork."""

PORTIONS = 8
"""Shards per worker. With fewer, all wait longer for the last one; with more, weights are read more often."""

POLL = 1.0
"""Seconds between two looks at the store, to show progress."""


@dataclass(frozen=True)
class Processes:
    """``workers`` processes; by default one for each GPU, or two on a CPU. If a worker dies, another takes its shard."""

    workers: int | None = None
    attempts: int = 3  # at a unit that fails, and at a shard whose worker dies

    def __post_init__(self) -> None:
        require_count("launcher.attempts", self.attempts)
        if self.workers is not None:
            require_count("launcher.workers", self.workers)

    def run(self, job: Job) -> Failures:
        """Carry the job out; returns what failed."""
        device = usable(job.device)
        gpus = _gpus() if device == "cuda" else []
        count = self.workers or len(gpus) or 2
        parts = to_separate(job)
        forecast = Forecast(job, max(1, len(gpus)))  # processes on one CPU share its cores
        forecast.announce()
        known = {system: timing.seconds for system, timing in forecast.timings.known().items()}
        usual = sum(known.values()) / len(known) if known else 1.0
        length = sum(len(part) * known.get(part[0].system.id, usual) for part in parts) / (count * PORTIONS)
        shards = pack(job, parts, length, usual, self.attempts)
        with beside(forecast.state):
            if shards:
                _Pool(job, shards, gpus, min(count, len(shards)), self.attempts).work(forecast)
            return finish(job, forecast)

    def check(self) -> str:
        return f"{self.workers or len(_gpus()) or 2} processes"


@dataclass
class _Pool:
    """Workers and the shards that they have not finished."""

    job: Job
    shards: list[Shard]
    gpus: list[str]
    count: int
    attempts: int
    workers: dict[Connection, "_Worker"] = field(default_factory=dict)

    def work(self, forecast: Forecast) -> None:
        """Hand out the shards until each is done, or ``attempts`` workers have died at it."""
        store, todo = self.job.store, deque(self.shards)
        units = {unit.id: unit for shard in self.shards for unit in shard.units}
        FORKS.set_forkserver_preload(["benchmarks.run.shards"])  # not on import: it is a setting of the whole process
        died: Counter[str] = Counter()  # how many workers, by the first unit of their shard
        try:
            for place in range(self.count):
                self._start(place)
            with progress(f"separating, {self.count} processes", len(units)) as advance:
                while todo or any(worker.shard for worker in self.workers.values()):
                    for worker in self.workers.values():
                        if worker.shard is None and todo:
                            worker.give(todo.popleft())
                    for connection in wait(list(self.workers), POLL):
                        worker = self.workers[connection]  # type: ignore[index]
                        if worker.is_done():
                            continue
                        if shard := self._bury(worker):
                            died[shard.units[0].id] += 1
                            if died[shard.units[0].id] < self.attempts:
                                todo.append(shard)
                        self._start(worker.place)
                    store.refresh()
                    done = [units.pop(unit) for unit in list(units) if unit in store.outputs]
                    forecast.done(done)
                    advance(len(done))
            forecast.done(units.values())  # nobody tries those again
        finally:
            for worker in self.workers.values():
                worker.stop()

    def _start(self, place: int) -> None:
        gpu = self.gpus[place % len(self.gpus)] if self.gpus else None
        worker = _Worker(place, gpu, max(1, cores() // self.count))
        self.workers[worker.connection] = worker

    def _bury(self, worker: "_Worker") -> Shard | None:
        """Say that a worker died; returns its unfinished shard."""
        del self.workers[worker.connection]
        worker.process.join()
        code = worker.process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        say(f"worker {worker.place} (process {worker.process.pid}) {how}; what it finished is kept, another takes over")
        return worker.shard


class _Worker:
    """A process that computes shards one after the other, and its current shard."""

    def __init__(self, place: int, gpu: str | None, threads: int) -> None:
        self.place = place
        self.shard: Shard | None = None
        self.connection, other = FORKS.Pipe()
        self.process: ForkServerProcess = FORKS.Process(target=_serve, args=(other, gpu, threads), daemon=True)
        self.process.start()
        other.close()  # else the worker's death would not close the pipe

    def give(self, shard: Shard) -> None:
        self.shard = shard
        with suppress(BrokenPipeError):  # it died, which the next look at the connection finds
            self.connection.send(shard)

    def is_done(self) -> bool:
        """Take the worker's answer; False if it died instead. Raises the error that ended the shard, if one did."""
        try:
            error = self.connection.recv()
        except (EOFError, OSError):
            return False
        if error is not None:
            raise error
        self.shard = None
        return True

    def stop(self) -> None:
        """End the process; a unit that it is computing is lost, nothing else."""
        self.connection.close()
        if self.shard is not None:
            self.process.terminate()
        self.process.join()


def _serve(connection: Connection, gpu: str | None, threads: int) -> None:
    """Run shards until the connection closes. The answer to each is None, or the error that ends the whole run (a full disk)."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when a GPU is first touched
    torch.set_num_threads(threads)
    notices.hide_progress()
    while True:
        try:
            shard: Shard = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            shard.run()
            connection.send(None)
        except KeyboardInterrupt:
            return
        except (GmsdiError, OSError) as error:
            connection.send(error)


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(n) for n in range(torch.cuda.device_count())]
