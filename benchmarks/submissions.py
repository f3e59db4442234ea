"""What was handed over to Slurm from a store, and what has become of it.

slurm/submitted/*.jsonl        one record a shard: its job, its units, its log
slurm/NAME/config.yaml         what a submission was made from
slurm/NAME/N/                  submitit's folder of the N-th array: pickles and logs
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import site
from benchmarks.journal import Journal
from benchmarks.store import Store
from gmsdi.errors import BadInputError

SHOWN = 20
"""Shards of a state that are listed; all are counted."""


@dataclass(frozen=True)
class Submitted:
    """A job that was given to Slurm: a shard, or without units the one that finishes what the shards leave."""

    job: str
    name: str  # of the submission, and of the job: ids alone may come again
    log: str
    units: tuple[str, ...]


@dataclass(frozen=True)
class State:
    """What has become of a shard."""

    word: str  # done, failed, running, pending, lost
    reason: str
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
        """Take in what was submitted, by anyone, since the last call."""
        for record in self._journal.refresh():
            self._add(Submitted(**{**record, "units": tuple(record["units"])}))
        return self

    def record(self, some: Iterable[Submitted]) -> None:
        """Remember what Slurm has taken."""
        some = list(some)
        self._journal.append(asdict(each) for each in some)
        for each in some:
            self._add(each)

    def live(self) -> list[Submitted]:
        """Those whose jobs have not ended; ``site.Silent`` if Slurm does not answer."""
        self.refresh()
        jobs = site.active()
        return [self.all[job.name, number] for number, job in jobs.items() if (job.name, number) in self.all]

    def last_config(self) -> Path:
        """The config of the last submission; ``BadInputError`` if there was none."""
        configs = sorted(self.folder.glob("*/config.yaml"))
        if not configs:
            raise BadInputError(
                f"{self.store.root}: nothing was given to Slurm from this store (`gmsdi run launcher=slurm`)"
            )
        return configs[-1]

    def compact(self) -> None:
        self._journal.compact()

    def states(self, active: Mapping[str, site.Active]) -> dict[Submitted, State]:
        """What has become of each shard that was not submitted again."""
        last = {unit: each for each in self.all.values() for unit in each.units}
        current = [
            each for each in self.all.values() if not each.units or any(last[unit] is each for unit in each.units)
        ]
        gone = [each.job for each in current if each.job not in active and self._lacking(each)]
        ends = site.ended(gone) if gone else {}
        return {each: self._state(each, active.get(each.job), ends.get(each.job, "")) for each in current}

    def _state(self, each: Submitted, active: site.Active | None, end: str) -> State:
        store = self.store
        done = sum(unit in store.outputs or unit in store.left_out for unit in each.units)
        failed = sum(unit in store.failures and unit not in store.outputs for unit in each.units)
        if active and active.name == each.name:
            reason = active.node if active.state == "RUNNING" else f"{active.state.lower()}: {active.reason}"
            return State("running" if active.state in ("RUNNING", "COMPLETING") else "pending", reason, done, failed)
        if done + failed < len(each.units):
            return State("lost", end or "ended", done, failed)
        message = next((store.failures[unit]["message"] for unit in each.units if unit in store.failures), "")
        return State("failed" if failed else "done", message if failed else "", done, failed)

    def _lacking(self, each: Submitted) -> bool:
        return any(unit not in self.store.outputs and unit not in self.store.left_out for unit in each.units)

    def _add(self, each: Submitted) -> None:
        self.all[each.name, each.job] = each


def print_status(store: Store) -> None:
    """The shards by state, and of those that are not done where they are, why, and where their logs are."""
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
    done = {unit for each in shards for unit in each.units if unit in store.outputs}
    counts = Counter(state.word for state in shards.values())
    words = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    print(f"{len(shards)} shards: {words}; {len(done)} of {len({u for each in shards for u in each.units})} units done")
    for each, state in states.items():
        if not each.units and state.word in ("running", "pending"):
            print(f"job {each.job}, which puts together and scores: {state.word} ({state.reason})")
    shown: Counter[str] = Counter()
    for each, state in shards.items():
        shown[state.word] += 1
        if state.word != "done" and shown[state.word] <= SHOWN:
            failed = f", {state.failed} failed" if state.failed else ""
            print(
                f"{each.job} {state.word} ({state.reason}): {state.done} of {len(each.units)} units{failed}; {each.log}"
            )
    if counts["lost"] or counts["failed"]:
        print("`gmsdi resume` submits again what is lost or failed")
    if note:
        print(note)
