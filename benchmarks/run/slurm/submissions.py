"""What was submitted to Slurm from a store, and what has become of it.

slurm/submitted/*.jsonl        a record for each job: its id, its units, its log
slurm/NAME/config.yaml         the config of a submission
slurm/NAME/N/                  submitit's folder for the N-th array: pickles and logs
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.run.slurm import site
from benchmarks.store.journal import Journal
from benchmarks.store.store import Store
from gmsdi.errors import BadInputError

SHOWN = 20
"""How many shards in each state are listed; all are counted."""


@dataclass(frozen=True)
class Submitted:
    """A job that was submitted: one that computes a shard, or, without units, the one that finishes the plan."""

    job: str
    name: str  # of the submission, and of the job: Slurm may use an id again
    log: str
    units: tuple[str, ...]
    plan: str = ""  # of one that finishes: a hash of the plan


@dataclass(frozen=True)
class State:
    """What has become of a shard."""

    word: str  # done, failed, running, pending, lost
    reason: str
    units: int
    done: int
    failed: int


class Submissions:
    """All that was ever submitted from one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.folder = store.root.absolute() / "slurm"
        self._journal = Journal(self.folder / "submitted")
        self.all: dict[tuple[str, str], Submitted] = {}

    def refresh(self) -> "Submissions":
        """Read what any process has submitted since the last call."""
        for record in self._journal.refresh():
            self._add(Submitted(**{**record, "units": tuple(record["units"])}))
        return self

    def record(self, some: Iterable[Submitted]) -> None:
        """Record jobs that Slurm has accepted."""
        some = list(some)
        self._journal.append(asdict(each) for each in some)
        for each in some:
            self._add(each)

    def live(self) -> list[Submitted]:
        """The jobs that have not ended; ``site.Silent`` if Slurm does not answer."""
        self.refresh()
        jobs = site.active()
        return [self.all[job.name, number] for number, job in jobs.items() if (job.name, number) in self.all]

    def last_config(self) -> Path:
        """The config of the last submission; ``BadInputError`` if there was none."""
        taken = {name for name, _ in self.refresh().all}
        configs = sorted(path for path in self.folder.glob("*/config.yaml") if path.parent.name in taken)
        if not configs:
            raise BadInputError(
                f"{self.store.root}: nothing was given to Slurm from this store (`gmsdi run launcher=slurm`)"
            )
        return configs[-1]

    def cancel(self) -> int:
        """Cancel all jobs of the store, and tell runs that wait for them. Returns how many; ``BadInputError`` if none ever were."""
        if not self.refresh().all:
            self.last_config()
        (self.folder / "cancelled").write_text(repr(time.time()))
        jobs = [each.job for each in self.live()]
        site.cancel(jobs)
        return len(jobs)

    def cancelled(self) -> float:
        """When the jobs of the store were last cancelled; 0 if never."""
        try:
            return float((self.folder / "cancelled").read_text())
        except (FileNotFoundError, ValueError):
            return 0.0

    def compact(self) -> None:
        self._journal.compact()

    def states(self, active: Mapping[str, site.Active]) -> dict[Submitted, State]:
        """What has become of each job. Units that were submitted again count for the last job that has them."""
        last = {unit: each for each in self.all.values() for unit in each.units}
        own: dict[Submitted, list[str]] = {each: [] for each in self.all.values() if not each.units}
        for unit, each in last.items():
            own.setdefault(each, []).append(unit)
        lacking = [
            each.job
            for each, units in own.items()
            if each.job not in active and not (units and all(map(self._settled, units)))
        ]
        ends = site.ended(lacking) if lacking else {}
        return {
            each: self._state(each, units, active.get(each.job), ends.get(each.job, "")) for each, units in own.items()
        }

    def _state(self, each: Submitted, units: Sequence[str], active: site.Active | None, end: str) -> State:
        store = self.store
        failed = [unit for unit in units if unit in store.failures and not self._settled(unit)]
        done = sum(map(self._settled, units))
        if active and active.name == each.name:
            reason = active.node if active.state == "RUNNING" else f"{active.state.lower()}: {active.reason}"
            word = "running" if active.state in ("RUNNING", "COMPLETING") else "pending"
        elif done + len(failed) < len(units) or (not units and end not in ("", "COMPLETED")):
            word, reason = "lost", ": ".join(filter(None, (end or "ended", _last_line(Path(each.log)))))
        else:
            word, reason = ("failed", store.failures[failed[0]]["message"]) if failed else ("done", "")
        return State(word, reason, len(units), done, len(failed))

    def _settled(self, unit: str) -> bool:
        return unit in self.store.outputs or unit in self.store.left_out

    def _add(self, each: Submitted) -> None:
        self.all[each.name, each.job] = each


def _last_line(log: Path) -> str:
    """The last line of a log, which often says why the job ended. Lines of srun, which come after it, do not say."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    said = [line.strip() for line in reversed(lines) if line.strip()]
    return next((line for line in said if not line.startswith("srun: ")), said[0] if said else "")


def print_status(store: Store) -> None:
    """Print how many shards are in which state, and for those that are not done the node, the reason and the log."""
    submissions = Submissions(store).refresh()
    if not submissions.all:
        submissions.last_config()
    note = ""
    active: dict[str, site.Active] = {}
    try:
        active = site.active()
    except site.Silent as error:
        note = f"Slurm does not answer ({error}): what runs or waits is taken for lost"
    states = submissions.states(active)
    shards = {each: state for each, state in states.items() if each.units}
    counts = Counter(state.word for state in shards.values())
    words = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    done, units = (sum(getattr(state, name) for state in shards.values()) for name in ("done", "units"))
    print(f"{len(shards)} shards: {words}; {done} of {units} units done")
    shown: Counter[str] = Counter()
    for each, state in states.items():
        shown[state.word] += 1
        if not each.units and state.word in ("running", "pending"):
            print(f"{each.job} {state.word} ({state.reason}): puts together and scores; {each.log}")
        elif state.word != "done" and shown[state.word] <= SHOWN:
            failed = f", {state.failed} failed" if state.failed else ""
            print(f"{each.job} {state.word} ({state.reason}): {state.done} of {state.units} units{failed}; {each.log}")
    if counts["lost"] or counts["failed"]:
        print("`gmsdi resume` submits again what is lost or failed")
    if note:
        print(note)
