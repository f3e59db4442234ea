"""``make bench``: every measurement, printed as it is made; ``python -m benchmarks.perf systems gpu`` makes the named ones alone.

The figure of planning goes to results/bench-planning.png, the numbers of a GPU to results/bench-gpu.json.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.utils import instantiate

from benchmarks import config
from benchmarks.device import cores
from benchmarks.perf import distributions, generation, gpu, networks, planning, scoring, systems
from gmsdi.errors import near

BOUNDS = ("system=[mixture,silence,oracle-irm]",)
"""Systems of the cached table: separation takes them no time."""

SIZES = (1_000, 10_000, 100_000, 1_000_000)


def main(names: Sequence[str]) -> int:
    """Measure the named parts, or all of them; returns an exit code."""
    for name in names:
        if name not in PARTS:
            print(f"error: unknown part {name!r}{near(name, list(PARTS))}", file=sys.stderr)
            return 4
    print(f"{platform.platform()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    for name in names or PARTS:
        PARTS[name]()
    return 0


def _scoring() -> None:
    dataset = instantiate(config.load([]).dataset).split("test")
    for workers in (1, cores()):
        with tempfile.TemporaryDirectory() as folder:
            found = scoring.compare(dataset, Path(folder), workers)
        print(
            f"scoring {found.songs} songs, {workers} thread(s): {found.vectorised:.3f} s, "
            f"literal loop {found.literal:.3f} s: {found.literal / found.vectorised:.1f} x; without reading the wavs "
            f"{found.vectorised_computing:.3f} s and {found.literal_computing:.3f} s: "
            f"{found.literal_computing / found.vectorised_computing:.1f} x; largest difference {found.worst:.1e} dB"
        )


def _cached_table() -> None:
    gmsdi = [sys.executable, "-m", "benchmarks.cli"]
    subprocess.run([*gmsdi, "run", *BOUNDS], check=True, capture_output=True)
    subprocess.run([*gmsdi, "table", *BOUNDS], check=True, capture_output=True)
    seconds = [_seconds([*gmsdi, "table", *BOUNDS]), _seconds([sys.executable, "-c", "import torch"])]
    print(f"cached table: {seconds[0]:.2f} s, of which importing torch {seconds[1]:.2f} s")


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def _planning() -> None:
    measured: dict[str, list[tuple[float, float]]] = {step: [] for step in planning.STEPS}
    for step, found in measured.items():
        for units in SIZES:
            seconds, peak, _ = planning.measure(units, step)
            found.append((seconds, peak))
            print(f"{step:>9} {units:>9,} units, half of them done: {seconds:6.2f} s, peak {peak:5.0f} MiB", flush=True)
    _plot(measured, Path("results/bench-planning.png"))


def _plot(measured: dict[str, list[tuple[float, float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for axis, n, label in zip(axes, (0, 1), ("seconds", "peak memory [MiB]"), strict=True):
        for step, found in measured.items():
            axis.loglog(SIZES, [each[n] for each in found], "o-", label=step)
        axis.set(xlabel="units", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.suptitle("What a job costs its head, against a simulated store that is half full")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"wrote {path}")


PARTS: dict[str, Callable[[], None]] = {
    "scoring": _scoring,
    "table": _cached_table,
    "planning": _planning,
    "systems": systems.report,
    "generation": generation.report,
    "networks": networks.report,
    "distributions": distributions.report,
    "gpu": gpu.report,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
