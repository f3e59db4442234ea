"""Slurm, through submitit: shards as arrays of jobs. All state is in the store, so a job that was stopped is simply run again."""

import io
import os
import signal
import time
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import torch

from benchmarks.config import require_count, require_positive
from benchmarks.identity import digest
from benchmarks.notices import progress, say, warn
from benchmarks.run.execute import Failures
from benchmarks.run.forecast import Forecast
from benchmarks.run.job import Job
from benchmarks.run.launch import finish
from benchmarks.run.shards import Shard, pack, to_separate
from benchmarks.run.slurm import site
from benchmarks.run.slurm.submissions import Submissions, Submitted
from benchmarks.store.provenance import provenance
from benchmarks.store.store import Store
from gmsdi.errors import BadInputError, GmsdiError, one_line

FRUITLESS = 3
"""How many times in a row a job may be stopped without having got anything done."""

TIMEOUTS = 1_000_000
"""submitit gives up after so many time-outs, and takes every stop of a short job for one. ``FRUITLESS`` decides instead."""


class Refused(GmsdiError):
    """Slurm does not accept a job."""


class Terminated(SystemExit):
    """Slurm has told this process to end."""


@dataclass
class Work(ABC):
    """What a job does. When Slurm is about to stop it, it is queued again, unless it has got nothing done several times."""

    step: ClassVar[str]
    """The smallest piece of its work, in words."""

    fruitless: int = field(default=0, kw_only=True)
    _before: int = field(default=0, init=False)

    def __call__(self) -> str:
        if cpus := os.environ.get("SLURM_CPUS_PER_TASK"):
            torch.set_num_threads(int(cpus))  # not every site binds a job to its CPUs
        self._before = self.done()
        _stop_whatever_happens()
        try:
            return self.do()
        except Terminated:  # by now all leases are given back
            if _is_to_run():  # preempted with time to spare; Slurm itself would not run it again
                signal.raise_signal(signal.SIGUSR2)
            raise

    def checkpoint(self) -> Any:
        """What submitit queues in this job's place."""
        from submitit.helpers import DelayedSubmission

        fruitless = 0 if self.done() > self._before else self.fruitless + 1
        if fruitless == FRUITLESS:
            raise SystemExit(
                f"stopped {FRUITLESS} times before {self.step} was done: `gmsdi resume launcher.minutes=…` gives it more"
            )
        return DelayedSubmission(replace(self, fruitless=fruitless))

    @abstractmethod
    def do(self) -> str:
        """Do it; returns a line for the log."""

    @abstractmethod
    def done(self) -> int:
        """How many steps are done. Opens the store anew: the signal may have interrupted this process's own while it was reading."""


@dataclass
class Worker(Work):
    """The job that computes a shard."""

    shard: Shard
    step: ClassVar[str] = "one unit"

    def do(self) -> str:
        failures = self.shard.run()
        return f"{len(self.shard.units) - len(failures)} of {len(self.shard.units)} units"

    def done(self) -> int:
        store = Store(self.shard.job.store.root).refresh()
        return sum(store.has_output(unit.id) for unit in self.shard.units)


@dataclass
class Finisher(Work):
    """The job that comes after all shards: combines, scores, drops audio."""

    job: Job
    step: ClassVar[str] = "one score"

    def do(self) -> str:
        job = replace(self.job, run=self.job.store.record_run(provenance("cpu", self.job.modules)))
        failures = finish(job)
        job.store.compact()
        return f"{len(failures)} excerpts failed or are lacking"

    def done(self) -> int:
        store = Store(self.job.store.root).refresh()
        return len(store.outputs) + len(store.scores)


def _stop_whatever_happens() -> None:
    """End the job when Slurm says so, even if it cannot be queued again; such an error must not be recorded as a unit's failure.

    Slurm sends SIGTERM before it kills a job. submitit only logs it; here it ends the process in good order, once.
    """
    queue_again = signal.getsignal(signal.SIGUSR2)

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Slurm sends it when the job is queued again
        try:
            if callable(queue_again):
                queue_again(number, frame)
        except Exception as error:
            raise SystemExit(
                f"stopped by Slurm, and not queued again: {one_line(error)}; `gmsdi resume` goes on"
            ) from None

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated("ended by Slurm; what is finished is kept, `gmsdi resume` goes on")

    if callable(queue_again):
        signal.signal(signal.SIGUSR2, stop)
        signal.signal(signal.SIGTERM, end)


def _is_to_run() -> bool:
    """Whether Slurm takes this job for running, so that it was not cancelled or ended otherwise."""
    from submitit import JobEnvironment

    with suppress(site.Silent):
        return "JobState=RUNNING" in site.ask("scontrol", "show", "job", JobEnvironment().job_id)
    return False


@dataclass(frozen=True)
class Slurm:
    """Shards of about ``shard_minutes`` as Slurm jobs; ``sbatch`` are further options of submitit's, which are mostly sbatch's own."""

    wait: bool = False
    shard_minutes: float = 60.0
    seconds_per_unit: float = 30.0
    attempts: int = 3
    concurrency: int = 64
    max_array: int | None = None
    max_jobs: int | None = None
    minutes: int = 240
    grace_seconds: int = 120
    poll_seconds: float = 5.0
    python: str | None = None
    sbatch: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("attempts", "concurrency", "max_array", "max_jobs", "minutes", "grace_seconds"):
            if getattr(self, name) is not None or not name.startswith("max_"):
                require_count(f"launcher.{name}", getattr(self, name))
        for name in ("shard_minutes", "seconds_per_unit", "poll_seconds"):
            require_positive(f"launcher.{name}", getattr(self, name))
        if self.grace_seconds >= 60 * self.minutes:
            raise BadInputError(
                f"launcher.grace_seconds={self.grace_seconds}: must be less than the {self.minutes} launcher.minutes"
            )
        if not isinstance(self.sbatch, Mapping):
            raise BadInputError(f"launcher.sbatch={self.sbatch}: must be options by name, such as {{partition: gpu}}")

    def run(self, job: Job) -> Failures | None:
        """Submit what the store lacks and nobody is at; then wait for it and finish the job, or return None at once."""
        return _Submitting(self, job).run()

    def check(self) -> str:
        partition = self.sbatch.get("partition")
        if partition:
            site.ask("scontrol", "show", "partition", partition)
        version = site.ask("sbatch", "--version").strip()
        most = site.limit("MaxArraySize")
        return f"{version}, {f'partition {partition}, ' if partition else ''}arrays of up to {most}, {len(site.active())} jobs of ours"


class _Submitting:
    """One call of ``Slurm.run``."""

    def __init__(self, settings: Slurm, job: Job) -> None:
        self.settings = settings
        self.job = job
        self.submissions = Submissions(job.store).refresh()
        self.name = f"gmsdi-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        self.arrays = 0
        self.failed_before = {unit: failure["attempt"] for unit, failure in job.store.failures.items()}
        self.wanted: set[str] = set()
        """All units that this call found missing, also those that other jobs are computing."""

    @cached_property
    def plan(self) -> str:
        """A hash of what is to be done, whether or not some of it is done already."""
        units, metrics = sorted(self.job.plan.everything()), [metric.signature for metric in self.job.metrics]
        return digest([units, metrics, self.job.keep_audio])

    def run(self) -> Failures | None:
        live = self.submissions.live()
        todo = self._shards(live)
        ours = self._ours(live)
        if not todo and not ours:
            return finish(self.job)
        Forecast(self.job).announce(" on one device")
        if self.settings.wait:
            try:
                self._follow(todo, live)
            except KeyboardInterrupt:
                say(f"the jobs go on: {self._verb('status')} follows them, {self._verb('cancel')} cancels them")
                raise
            return finish(self.job)
        sent = self._send(todo, len(live))
        if sent < len(todo):
            say(
                f"{len(todo) - sent} more shards have to wait for room (launcher.max_jobs): run `gmsdi resume` later, or wait=true"
            )
        elif sent or all(each.units for each in ours):
            self._send_finisher(self._ours(self.submissions.live()))
        say(f"{sent} shards submitted as {self.name}, {len(ours)} jobs were there; see {self._verb('status')}")
        return None

    def _ours(self, live: Iterable[Submitted]) -> list[Submitted]:
        """The jobs, whoever submitted them, that compute units of ``wanted`` or finish the same plan."""
        return [
            each
            for each in live
            if not self.wanted.isdisjoint(each.units) or (not each.units and each.plan == self.plan)
        ]

    def _verb(self, name: str) -> str:
        return f"`gmsdi {name} store={self.job.store.root}`"

    def _shards(self, live: Sequence[Submitted]) -> list[Shard]:
        """Shards of the missing units that no live job has and that have not failed in this call."""
        settings = self.settings
        self.job.store.refresh()
        taken = {unit for each in live for unit in each.units}
        parts = to_separate(self.job)
        self.wanted.update(unit.id for part in parts for unit in part)
        free = [[unit for unit in part if unit.id not in taken and not self._failed(unit.id)] for part in parts]
        return pack(self.job, free, settings.shard_minutes * 60, settings.seconds_per_unit, settings.attempts)

    def _failed(self, unit: str) -> bool:
        attempts = self.job.store.failures.get(unit, {"attempt": 0})["attempt"]
        return attempts > self.failed_before.get(unit, 0)

    def _follow(self, todo: list[Shard], live: list[Submitted]) -> None:
        """Submit shards as there is room, until each unit is done, has failed, or was lost with its job ``attempts`` times."""
        store, queue, rounds = self.job.store, deque(todo), 1
        taken = {unit for each in live for unit in each.units}
        pending = {unit.id for shard in todo for unit in shard.units} | (self.wanted & taken)
        began = time.time()
        self._send_some(queue, len(live))
        with progress(f"separating on Slurm, {len(todo)} shards", len(pending)) as advance:
            while True:
                store.refresh()
                done = {unit for unit in pending if unit in store.outputs or unit in store.left_out}
                pending -= done
                advance(len(done))
                try:
                    live = self.submissions.live()
                    if self.submissions.cancelled() > began:
                        say("cancelled; what is finished is kept, `gmsdi resume` goes on")
                        return
                    if queue:
                        self._send_some(queue, len(live))
                        live = self.submissions.live()
                except GmsdiError as error:
                    if isinstance(error, Refused) and not live:
                        raise  # none of our jobs will end and make room
                    warn(f"{error}; waiting for Slurm")
                    time.sleep(self.settings.poll_seconds)
                    continue
                if not queue and not self._ours(live):
                    queue = deque(self._shards([]))
                    self._tell_of_lost(queue)
                    if not queue or rounds == self.settings.attempts:
                        return
                    rounds += 1
                    say(f"{sum(len(shard.units) for shard in queue)} units were lost with their jobs; submitted again")
                time.sleep(self.settings.poll_seconds)

    def _tell_of_lost(self, shards: Iterable[Shard]) -> None:
        """Say how one of the jobs ended whose units are in ``shards`` again, the last line of its log, and where the log is."""
        units = {unit.id for shard in shards for unit in shard.units}
        states = self.submissions.states({}) if units else {}  # no job is active any more
        for each, state in states.items():
            if state.word == "lost" and not units.isdisjoint(each.units):
                say(f"job {each.job} was lost: {state.reason}; its log is {each.log}; see {self._verb('status')}")
                return

    def _send_some(self, queue: deque[Shard], live: int) -> None:
        """Submit as many shards from the front of the queue as there is room for."""
        for _ in range(self._send(list(queue), live)):
            queue.popleft()

    def _send(self, shards: Sequence[Shard], live: int) -> int:
        """Submit the first of ``shards``, as many as there is room for beside ``live`` jobs, in arrays; returns how many."""
        if not shards:
            return 0
        room = max(0, self.settings.max_jobs - live) if self.settings.max_jobs else len(shards)
        size = min(site.limit("MaxArraySize") or len(shards), self.settings.max_array or len(shards))
        rest = deque(shards[:room])
        sent = 0
        while rest:
            array = list(islice(rest, size))
            try:
                jobs = self._submit([Worker(shard) for shard in array])
            except Refused as error:
                if len(array) > 1:
                    size = len(array) // 2  # the array as a whole may have been above a limit
                    continue
                if not sent:
                    raise
                say(f"{error}; {sent} shards were taken before")
                break
            for _ in array:
                rest.popleft()
            self.submissions.record(
                Submitted(job.job_id, self.name, str(job.paths.stderr), tuple(unit.id for unit in shard.units))
                for job, shard in zip(jobs, array, strict=True)
            )
            sent += len(array)
        return sent

    def _send_finisher(self, live: Sequence[Submitted]) -> None:
        """Submit the job that finishes the plan after all shards. It computes on the CPU, so it asks for no GPU."""
        arrays = dict.fromkeys(each.job.split("_")[0] for each in live if each.units)
        more: dict[str, str | None] = {name: None for name in self.settings.sbatch if name == "gres" or "gpu" in name}
        if arrays:
            more["dependency"] = f"afterany:{':'.join(arrays)}"
        (job,) = self._submit([Finisher(replace(self.job, config=""))], **more)
        self.submissions.record([Submitted(job.job_id, self.name, str(job.paths.stderr), (), self.plan)])

    def _submit(self, work: Sequence[Work], **more: str | None) -> list[Any]:
        """Give one array to Slurm; ``Refused``, in one line, if it does not accept it."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        settings = self.settings
        folder = self._folder() / str(self.arrays)
        self.arrays += 1
        try:
            executor = submitit.SlurmExecutor(folder, max_num_timeout=TIMEOUTS, python=settings.python)
            executor.update_parameters(
                job_name=self.name,
                time=settings.minutes,
                signal_delay_s=settings.grace_seconds,
                array_parallelism=settings.concurrency,
                **{name: value for name, value in {**settings.sbatch, **more}.items() if value is not None},
            )
        except (ValueError, TypeError) as error:
            raise BadInputError(f"launcher.sbatch: {one_line(error)}") from None
        except RuntimeError as error:
            raise Refused(one_line(error)) from None
        try:
            with redirect_stderr(io.StringIO()):  # submitit would print what we say below
                return executor.submit_array(list(work))
        except (FailedJobError, FailedSubmissionError) as error:
            raise Refused(f"Slurm does not take the job: {one_line(error)}; nothing is lost, run again") from None

    def _folder(self) -> Path:
        """The folder of this submission; the config is written there before the first job is submitted."""
        folder = self.submissions.folder / self.name
        if not folder.is_dir():
            folder.mkdir(parents=True)
            (folder / "config.yaml").write_text(self.job.config)
        return folder
