"""What planning costs: N units of one system, half of them done, against a simulated store.

Run as ``python -m benchmarks.perf.planning N`` it prints seconds and peak memory of one size, in a process of its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from omegaconf import OmegaConf

from benchmarks.data.dataset import Dataset
from benchmarks.data.manifest import DatasetManifest, Stem, Track
from benchmarks.identity import digest
from benchmarks.journal import Record
from benchmarks.launch import Job, missing_units
from benchmarks.metrics.si_sdr import SiSDR
from benchmarks.plan import Plan, Protocol, make_plan
from benchmarks.score import score_key
from benchmarks.spec import SystemSpec
from benchmarks.store import Output, Store
from gmsdi import SAMPLE_RATE, STEMS

CHUNKS = 20
"""Chunks of a track, about what a song of Slakh2100 has."""

SEGMENT = 1_000
"""Records in one file of the simulated store."""


def measure(units: int) -> tuple[float, float, float]:
    """Plan ``units`` units in a fresh process: seconds, peak MiB, and seconds of making the simulated store."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.perf.planning", str(units)], capture_output=True, text=True, check=True
    )
    return tuple(json.loads(done.stdout))


def _main(units: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        manifest = _manifest(units // CHUNKS)
        began = time.perf_counter()
        # by a process of its own, so that the peak memory below is that of planning
        subprocess.run([sys.executable, "-m", "benchmarks.perf.planning", str(units), folder], check=True)
        simulated = time.perf_counter() - began
        began = time.perf_counter()
        store = Store(folder).refresh()
        plan = _plan(manifest)
        job = Job(plan, Dataset(Path(folder), manifest), (SiSDR(),), store, 1, "float32", "cpu", "")
        missing = missing_units(plan.systems[0], job)
        seconds = time.perf_counter() - began
        assert len(missing) == CHUNKS * (len(manifest.tracks) - len(manifest.tracks) // 2)
        peak = _peak()
        print(json.dumps([seconds, peak, simulated]))


def _peak() -> float:
    """The most memory that this process had, in MiB (``getrusage`` would count what its parent had when it was forked)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _manifest(tracks: int) -> DatasetManifest:
    entries = tuple(
        Track(f"Track{n:07}", CHUNKS * 262_144, {stem: Stem(digest([n, stem]), ()) for stem in STEMS})
        for n in range(tracks)
    )
    return DatasetManifest("simulated", "test", SAMPLE_RATE, entries)


def _plan(manifest: DatasetManifest) -> Plan:
    system = SystemSpec("simulated", "Simulated", digest("simulated"), "{}", OmegaConf.create({}))
    return make_plan(manifest, Protocol("msdm"), [system], seed=0)


def _simulate(units: int, folder: str) -> None:
    """Fill a store as if the first half of the tracks had been separated and scored."""
    plan = _plan(_manifest(units // CHUNKS))
    store = Store(folder)
    outputs: list[Output] = []
    scores: list[Record] = []
    for track in plan.manifest.tracks[: len(plan.manifest.tracks) // 2]:
        units_of_track = plan.units[plan.systems[0].id, track.name]
        for unit in units_of_track:
            outputs.append(Output(unit.id, (unit.id,) * len(STEMS), 0.5, 4_194_304, "cpu", "run"))
            store.outputs[unit.id] = outputs[-1]
        scores.append({"key": score_key(SiSDR(), units_of_track, store), "columns": {}})
        if len(outputs) >= SEGMENT:
            store.record_outputs(outputs)
            store.record_scores(scores)
            outputs, scores = [], []
    store.record_outputs(outputs)
    store.record_scores(scores)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _simulate(int(sys.argv[1]), sys.argv[2])
    else:
        _main(int(sys.argv[1]))
