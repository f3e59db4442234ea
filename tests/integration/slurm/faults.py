"""Measures what faults cost: ``python tests/integration/slurm/faults.py [TIMES]``.

Each fault hits a run of two jobs on a private cluster when a quarter of its units is done. The units sleep, so the seconds are those
spent on noticing, queueing and starting again, not on computing. What it printed is in results/reference/bench/slurm-faults.txt.
"""

import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # what pytest does for the tests

import numpy as np
from cluster import Cluster, install
from slurmruns import FAULTS, UNITS, Fault, Outcome, SlurmSuite, endure
from tinyruns import CHUNK, CHUNKS, TRACKS, Suite, results

from gmsdi import SAMPLE_RATE, STEMS, audio


def main(times: int) -> None:
    if reason := install():
        sys.exit(reason)
    cluster = Cluster()
    try:
        cluster.start()
        print(
            f"{platform.platform()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}, "
            f"{cluster.ask('sbatch', '--version').strip()}; "
            f"two nodes on one machine; {UNITS} units of 0.4 s in 2 jobs; {times} runs of each"
        )
        print(
            f"{'fault':<32}{'injected':>9}{'units lost':>12}{'finished twice':>16}{'begun again':>13}{'extra seconds':>15}"
        )
        calm = [_run(cluster) for _ in range(times)]
        usual = statistics.median(each.seconds for each in calm)
        print(_line("none", calm, usual), flush=True)
        for name, fault in FAULTS.items():
            print(_line(name, [_run(cluster, fault) for _ in range(times)], usual), flush=True)
        print(
            f"median of an undisturbed run: {usual:.1f} s; extra seconds are medians over that, and the most in brackets"
        )
    finally:
        cluster.stop()


def _run(cluster: Cluster, *faults: Fault) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        suite = _suite(cluster, Path(folder))
        assert suite.run(Path(folder) / "local")[0] == 0
        outcome = endure(cluster, suite, Path(folder) / "store", faults)
        assert outcome.code == 0, outcome.said
        assert results(Path(folder) / "store") == results(Path(folder) / "local")
        cluster.clear()
    return outcome


def _suite(cluster: Cluster, folder: Path) -> SlurmSuite:
    dice = np.random.default_rng(0)
    for name in TRACKS:
        (folder / "data" / "test" / name).mkdir(parents=True)
        for stem in STEMS:
            samples = dice.normal(0, 0.05, (1, CHUNKS * CHUNK)).astype(np.float32)
            audio.write(folder / "data" / "test" / name / f"{stem}.wav", samples, SAMPLE_RATE)
    return SlurmSuite.on(cluster, Suite(folder))


def _line(name: str, outcomes: list[Outcome], usual: float) -> str:
    lost, twice, again = (sum(getattr(each, what) for each in outcomes) for what in ("lost", "twice", "again"))
    extra = [each.seconds - usual for each in outcomes]
    seconds = f"{statistics.median(extra):.1f} ({max(extra):.1f})"
    return f"{name:<32}{len(outcomes):>9}{lost:>12}{twice:>16}{again:>13}{seconds:>15}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
