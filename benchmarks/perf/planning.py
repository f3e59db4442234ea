"""What a large job of N units costs the process that plans it, against a simulated store in which half of them are done.

Run as ``python -m benchmarks.perf.planning N STEP`` it prints seconds and peak memory of one step at one size, in a process of its own:
``plan`` (read the store, plan, find what is missing), ``submit`` (then pack it into shards and pickle them, as for Slurm), ``status``
(of all shards that were submitted) and ``aggregate`` (the table, of what is scored).
"""

import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import numpy as np
from omegaconf import OmegaConf

from benchmarks.cells.separation import make_table
from benchmarks.data.dataset import Dataset
from benchmarks.data.manifest import DatasetManifest, Stem, Track
from benchmarks.identity import digest
from benchmarks.metrics.si_sdr import SiSDR
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import Plan, Protocol, make_plan
from benchmarks.run.job import Job
from benchmarks.run.score import score_key
from benchmarks.run.shards import pack, to_separate
from benchmarks.run.slurm import site
from benchmarks.run.slurm.launcher import Worker
from benchmarks.run.slurm.submissions import Submissions, Submitted
from benchmarks.run.todo import missing_units
from benchmarks.store.journal import Record
from benchmarks.store.provenance import provenance
from benchmarks.store.store import Output, Store
from gmsdi import SAMPLE_RATE, STEMS

CHUNKS = 20
"""Chunks of a track, about what a song of Slakh2100 has."""

TRACKS = 150
"""The most tracks, about Slakh2100's test split; a larger job has more systems."""

SEGMENT = 1_000
"""Records in one file of the simulated store."""

SHARD_SECONDS = 30.0
"""Work of one shard. At half a second a unit that is 60 units, as many as an hour holds at a minute a unit."""

TABLE = {
    "name": "simulated",
    "title": "Simulated",
    "baseline": "none",
    "groups": [{"metric": "si_sdr", "column": "msdm", "title": "msdm"}],
    "reported": None,
}


def measure(units: int, step: str = "plan") -> tuple[float, float, float]:
    """One step at one size in a fresh process: seconds, peak MiB, and seconds of making the simulated store."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.perf.planning", str(units), step], capture_output=True, text=True, check=True
    )
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def _main(units: int, step: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        # in a process of its own, so that the peak memory below is that of the step
        subprocess.run([sys.executable, "-m", "benchmarks.perf.planning", str(units), "simulate", folder], check=True)
        simulated = time.perf_counter() - began
        began = time.perf_counter()
        STEPS[step](units, folder)
        seconds = time.perf_counter() - began
        print(json.dumps([seconds, _peak(), simulated]))


def _job(units: int, folder: str) -> Job:
    store = Store(folder).refresh()
    plan = _plan(units)
    return Job(plan, Dataset(Path(folder), plan.manifest), (SiSDR(),), store, 1, "float32", "cpu", "")


def _plan_step(units: int, folder: str) -> None:
    job = _job(units, folder)
    tracks = len(job.plan.tracks)
    for system in job.plan.systems:
        assert len(missing_units(system, job)) == CHUNKS * (tracks - tracks // 2)


def _submit_step(units: int, folder: str) -> None:
    """Submission, without the time of sbatch itself."""
    job = _job(units, folder)
    for n, shard in enumerate(pack(job, to_separate(job), SHARD_SECONDS, 1.0, 1)):
        with (Path(folder) / f"{n}.pkl").open("wb") as file:
            cloudpickle.dump(Worker(shard), file)


def _status_step(units: int, folder: str) -> None:
    submissions = Submissions(Store(folder).refresh()).refresh()
    running = {each.job: site.Active(each.name, "RUNNING", "None", "n1") for each in submissions.all.values()}
    states = submissions.states(running)
    assert len(states) == len(running) > 0


def _aggregate_step(units: int, folder: str) -> None:
    store = Store(folder).refresh()
    table = make_table(TABLE, _plan(units), {"si_sdr": SiSDR()}, store, provenance("cpu"))
    assert all(row.tracks == table.songs // 2 for row in table.rows)


STEPS: dict[str, Callable[[int, str], None]] = {
    "plan": _plan_step,
    "submit": _submit_step,
    "status": _status_step,
    "aggregate": _aggregate_step,
}


def _peak() -> float:
    """The peak memory of this process in MiB (``getrusage`` would include its parent's at the fork)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _plan(units: int) -> Plan:
    tracks = min(TRACKS, units // CHUNKS)
    entries = tuple(
        Track(f"Track{n:05}", CHUNKS * 262_144, {stem: Stem(digest([n, stem]), ()) for stem in STEMS})
        for n in range(tracks)
    )
    systems = [
        SystemSpec(
            f"simulated-{n}",
            f"Simulated {n}",
            digest(n),
            "{}",
            OmegaConf.create({"_target_": "baselines.bounds.Mixture"}),
        )
        for n in range(units // (tracks * CHUNKS))
    ]
    return make_plan(DatasetManifest("simulated", "test", SAMPLE_RATE, entries), Protocol("msdm"), systems, seed=0)


def _simulate(units: int, folder: str) -> None:
    """Fill a store as if every unit had been submitted, and the first half of the tracks separated and scored."""
    plan = _plan(units)
    store = Store(folder)
    run = store.record_run(provenance("cpu"))
    dice = np.random.default_rng(0)
    windows = CHUNKS * 262_144 // (2 * SAMPLE_RATE) - 1
    outputs: list[Output] = []
    scores: list[Record] = []
    half = [track.name for track in plan.tracks[: len(plan.tracks) // 2]]
    for system, track in itertools.product(plan.systems, half):
        units_of_track = plan.units[system.id, track]
        for unit in units_of_track:
            outputs.append(Output(unit.id, (unit.id,) * len(STEMS), 0.5, 4_194_304, "cpu", run))
            store.outputs[unit.id] = outputs[-1]
        values = dice.normal(10, 5, (len(STEMS), windows)).round(4).tolist()
        column = {"values": values, "undefined": {}}
        key = score_key(SiSDR(), units_of_track, store)
        scores.append({"key": key, "run": run, "outputs": [], "columns": {"msdm": column, "active": column}})
        if len(outputs) >= SEGMENT:
            store.record_outputs(outputs)
            store.record_scores(scores)
            outputs, scores = [], []
    store.record_outputs(outputs)
    store.record_scores(scores)
    ids = [unit.id for system in plan.systems for unit in plan.of_system(system)]
    shards = [tuple(ids[n : n + 60]) for n in range(0, len(ids), 60)]
    Submissions(store).record(Submitted(f"1_{n}", "simulated", "log", shard) for n, shard in enumerate(shards))
    store.compact()


if __name__ == "__main__":
    if sys.argv[2] == "simulate":
        _simulate(int(sys.argv[1]), sys.argv[3])
    else:
        _main(int(sys.argv[1]), sys.argv[2])
