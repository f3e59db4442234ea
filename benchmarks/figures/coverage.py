"""Do the intervals of a table hold what they say, and do its tests err as rarely as they say? Simulated songs, by their number.

``python -m benchmarks.figures.coverage [FOLDER]`` writes ``coverage.csv``, ``coverage.md`` and ``coverage.png``. Each world is a way in
which songs differ. ``outliers`` is a hard one: a fifth of the songs is far off the others, which few songs cannot show.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.cells.measures import Frechet, Kernel, Measure, p_value
from benchmarks.cells.measures import interval as of_distance
from benchmarks.cells.stats import FEWEST, LEVEL, TrackStatistics, interval, sign_flip
from benchmarks.figures.canvas import command, figure
from benchmarks.notices import progress
from gmsdi import STEMS, audio

Floats = npt.NDArray[np.float64]

OUT = Path("results/reference/figures")
SEED = 20_261_127
ALPHA = 0.05
SONGS = (3, 4, 5, 6, 8, 10, 13, 20, 40)
WINDOWS = (8, 20)
"""Of a song: from the first to below the second."""

FEATURES, PIECES = 16, 5
"""Of an embedding; embeddings of a song."""

World = Callable[[np.random.Generator, tuple[int, ...]], Floats]
"""Draws songs' scores, of expectation 0, of a shape."""

WORLDS: dict[str, World] = {
    "normal": lambda random, shape: random.standard_normal(shape),
    "skewed": lambda random, shape: random.gamma(2.0, 1.0, shape) - 2.0,
    "heavy tails": lambda random, shape: random.standard_t(3, shape),
    "outliers": lambda random, shape: (
        np.where(random.random(shape) < 0.2, random.normal(20, 5, shape), random.normal(0, 3, shape)) - 4.0
    ),
}

SPREADS = {"regular": 0.0, "outliers": 1.5}
"""Worlds of embeddings: by how much the error of a fifth of the songs is larger than that of the others."""


@dataclass(frozen=True)
class Rates:
    """Of one measure in one world with so many songs: how often intervals held, and how often a test of two equals said p < 0.05."""

    measure: str
    world: str
    songs: int
    covered: float
    percentile: float | None  # how often the bootstrap's percentiles held, as a reference; None where not tried
    type_1: float
    trials: int


def scores(world: str, songs: int, trials: int, random: np.random.Generator) -> Rates:
    """SI-SDRi of four stems that share half of a song's variance; the rates are those of the mean of the stems."""
    held, percentile, rejected = 0, 0, 0
    for _ in range(trials):
        common = WORLDS[world](random, (2, songs, 1))
        means = (common + WORLDS[world](random, (2, songs, len(STEMS)))) / 2  # [systems, T, K]
        weights = random.integers(*WINDOWS, (songs, len(STEMS))).astype(float)
        one, other = (TrackStatistics(each * weights, weights, "window-mean") for each in means)
        low, high = interval(one, fewest=0)
        held += not (low[-1] > 0 or high[-1] < 0)  # an interval without a bound holds everything
        cells = resampled(one, random)
        percentile += bool(np.quantile(cells, (1 - LEVEL) / 2) <= 0 <= np.quantile(cells, (1 + LEVEL) / 2))
        rejected += bool(sign_flip(one, other)[-1] < ALPHA)
    return Rates("SI-SDRi", world, songs, held / trials, percentile / trials, rejected / trials, trials)


def resampled(tracks: TrackStatistics, random: np.random.Generator, resamples: int = 1000) -> Floats:
    """The mean of the stems on resamples of the songs."""
    draws = random.integers(len(tracks.totals), size=(resamples, len(tracks.totals)))
    stems = tracks.totals[draws].sum(axis=1) / tracks.weights[draws].sum(axis=1)
    mean: Floats = stems.mean(axis=1)
    return mean


def distances(name: str, measure: Measure, world: str, songs: int, trials: int, random: np.random.Generator) -> Rates:
    """FAD or KAD of two equal systems, whose songs share what is theirs with the real ones. An interval is of the expectation."""
    found, rejected = [], 0
    names = tuple(f"song {n}" for n in range(songs))
    for _ in range(trials):
        own = random.standard_normal((songs, 1, FEATURES))
        real = own + 0.5 * random.standard_normal((songs, PIECES, FEATURES))
        estimates = []
        for _ in range(2):
            spread = 0.7 * (1 + SPREADS[world] * (random.random((songs, 1, 1)) < 0.2))
            made = own + spread * random.standard_normal((songs, 1, FEATURES))
            made = made + 0.5 * random.standard_normal((songs, PIECES, FEATURES))
            records = [[{"real": {"at": real[n]}, "generated": {"at": made[n]}}] for n in range(songs)]
            estimate = measure(records, 1 - np.eye(songs), lambda record: record["at"])
            estimates.append(replace(estimate, tracks=names))
        found += estimates
        rejected += p_value(*estimates) < ALPHA
    expected = float(np.mean([estimate.value or 0.0 for estimate in found]))
    bounds = [of_distance(estimate, fewest=0) for estimate in found]
    held = np.mean([low is not None and high is not None and low <= expected <= high for low, high in bounds])
    return Rates(name, world, songs, float(held), None, rejected / trials, trials)


def study(trials: int, songs: Sequence[int] = SONGS) -> Iterator[Rates]:
    """All measures in all worlds; each number of songs has its own random stream."""
    measures: dict[str, Measure] = {"FAD": Frechet(), "KAD": Kernel()}
    for n in songs:
        for world in WORLDS:
            yield scores(world, n, trials, np.random.default_rng([SEED, n, len(world)]))
        for name, measure in measures.items():
            for world in SPREADS:
                yield distances(
                    name, measure, world, n, max(trials // 2, 1), np.random.default_rng([SEED, n, len(world)])
                )


def make(arguments: Sequence[str]) -> Path:
    """Simulate, and write the three files."""
    folder = Path(arguments[0]) if arguments else OUT
    count = len(SONGS) * (len(WORLDS) + 2 * len(SPREADS))
    rows = []
    with progress("simulating songs", count) as advance:
        for rates in study(1000):
            rows.append(rates)
            advance()
    table = pd.DataFrame([asdict(rates) for rates in rows])
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "coverage.csv", index=False, float_format="%.4f", lineterminator="\n")
    with audio.atomic(folder / "coverage.md") as temporary:
        temporary.write_text(_markdown(table))
    path = folder / "coverage.png"
    _draw(table, path)
    return path


def _markdown(table: pd.DataFrame) -> str:
    lines = [
        "# How often intervals hold and tests err",
        "",
        f"Simulated songs, `python -m benchmarks.figures.coverage`, seed {SEED}. Intervals say {LEVEL:.0%}, tests are at α = {ALPHA}.",
        f"Tables print intervals from {FEWEST} songs on. Percentile: the plain bootstrap, for comparison.",
        "Each rate has a standard error of √(rate · (1 − rate) / trials).",
        "",
        "| measure | songs differ | n | interval holds | percentile | type I | trials |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table.sort_values(["measure", "world", "songs"]).to_dict("records"):
        rates = [f"{row[key]:.1%}".replace("nan%", "") for key in ("covered", "percentile", "type_1")]
        lines.append(f"| {' | '.join([row['measure'], row['world'], str(row['songs']), *rates, str(row['trials'])])} |")
    return "\n".join(lines) + "\n"


def _draw(table: pd.DataFrame, path: Path) -> None:
    with figure("whitegrid", 10, 4.5, path) as made:
        for place, (column, title) in enumerate(
            (("covered", f"intervals that hold, of {LEVEL:.0%}"), ("type_1", f"tests of equals with p < {ALPHA}"))
        ):
            axes = made.add_subplot(1, 2, place + 1)
            for (measure, world), rows in table.groupby(["measure", "world"]):
                dashes = {"SI-SDRi": "-", "FAD": "--", "KAD": ":"}[str(measure)]
                axes.plot(rows.songs, rows[column], dashes, marker="o", markersize=3, label=f"{measure}, {world}")
            axes.axhline(LEVEL if column == "covered" else ALPHA, color="black", linewidth=0.8)
            axes.axvline(FEWEST, color="grey", linewidth=0.8, linestyle=":")
            axes.set(xscale="log", xlabel="songs", title=title, xticks=SONGS, xticklabels=[str(n) for n in SONGS])
            axes.minorticks_off()
            axes.set_ylim((0.6, 1.01) if column == "covered" else (0, 0.16))
        axes.legend(fontsize=7)


if __name__ == "__main__":
    sys.exit(command(make, sys.argv[1:]))
