"""Can the metrics of coherence tell right from wrong? Real stems of one song against stems of two, on the validation split.

    python -m benchmarks.figures.coherence_study OUT.md [OVERRIDE …]

Right: the given stems and the others of one excerpt. Wrong: the given stems and the others of the next song's excerpt (for the last
song, the first's). A metric belongs in a table only if the interval of its AUC lies above one half. Beats, the first idea that comes
to mind, are measured for comparison. Test data are never read.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import librosa
import mir_eval
import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from benchmarks import config
from benchmarks.cells.stats import FLIPS, TrackStatistics, holm, sign_flip
from benchmarks.cells.tuning import SPLIT
from benchmarks.data.dataset import Dataset
from benchmarks.data.minislakh.compose import compose
from benchmarks.data.minislakh.dataset import MiniSlakh
from benchmarks.data.minislakh.theory import NAMES, Key
from benchmarks.metrics.coherence import Coherence, Floats, Flux, Harmony, Onsets, Rhythm, Stems, UndefinedError
from benchmarks.notices import progress
from benchmarks.plan.units import Protocol
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError, GmsdiError

USAGE = "python -m benchmarks.figures.coherence_study OUT.md [OVERRIDE …]"

SUBSETS = tuple(subset for count in range(1, len(STEMS)) for subset in combinations(STEMS, count))
"""The stems that are swapped, in MSDM's order of sub-FAD; the others are given."""

SEED = 0
"""Of the resampling."""


@dataclass(frozen=True)
class Beats(Coherence):
    """The F-measure of both sides' beats, by librosa's tracker (Ellis 2007), at mir_eval's tolerance. Not for tables."""

    flux: Flux = Flux()  # noqa: RUF009 - frozen
    tolerance: float = 0.07  # seconds

    @property
    def signature(self) -> str:
        return f"beats|{self.flux.signature}|librosa-{version('librosa')}|tolerance:{self.tolerance:g}s|F|v:1"

    def agreement(self, one: Floats, other: Floats) -> float:
        value = mir_eval.beat.f_measure(self.beats(one), self.beats(other), f_measure_threshold=self.tolerance)
        return float(value)

    def beats(self, samples: Floats) -> Floats:
        """The times of the beats in seconds, at least one."""
        strength = self.flux(samples)
        _, found = librosa.beat.beat_track(
            onset_envelope=strength, sr=SAMPLE_RATE, hop_length=self.flux.hop, units="time"
        )
        if len(found) == 0:
            raise UndefinedError("a side has no beats")
        beats: Floats = np.asarray(found, dtype=np.float64)
        return beats


METRICS: dict[str, Coherence] = {"rhythm": Rhythm(), "onsets": Onsets(), "harmony": Harmony(), "beats": Beats()}


@dataclass(frozen=True)
class Comparison:
    """What a metric says of right and of wrong pairs, ``[songs, subsets]``; NaN in both where either is undefined."""

    right: Floats
    wrong: Floats

    @staticmethod
    def of(metric: Coherence, songs: Sequence[Stems], rate: int) -> "Comparison":
        """The comparison of a metric on excerpts of different songs, one a song."""
        found = np.full((2, len(songs), len(SUBSETS)), np.nan)
        for i, song in enumerate(songs):
            for j, subset in enumerate(SUBSETS):
                given = {stem: song[stem] for stem in STEMS if stem not in subset}
                for side, other in enumerate((song, songs[(i + 1) % len(songs)])):
                    found[side, i, j] = metric(given, {stem: other[stem] for stem in subset}, rate).value
        found[:, ~np.isfinite(found).all(axis=0)] = np.nan
        return Comparison(found[0], found[1])

    def column(self, j: int) -> "Comparison":
        """One subset of stems alone."""
        return Comparison(self.right[:, [j]], self.wrong[:, [j]])

    @property
    def pairs(self) -> int:
        """How many pairs are defined, right and wrong alike."""
        return int(np.isfinite(self.right).sum())

    @property
    def songs(self) -> int:
        """How many songs have a defined pair."""
        return int(np.isfinite(self.right).any(axis=1).sum())

    def auc(self) -> float:
        """How often a right pair scores above a wrong one of the same subset, whatever their songs; a tie counts half."""
        wins, ties, chances = self._duels()
        return float((wins.sum() + ties.sum() / 2) / chances.sum())

    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of the AUC over songs; a song brings its right and its wrong pairs."""
        wins, ties, chances = self._duels()
        draws = np.random.default_rng(SEED).integers(len(self.right), size=(FLIPS, len(self.right)))
        times = np.stack([np.bincount(draw, minlength=len(self.right)) for draw in draws]).astype(np.float64)

        def drawn(counts: Floats) -> Floats:
            total: Floats = np.einsum("ri,ij,rj->r", times, counts, times, optimize=True)
            return total

        with np.errstate(invalid="ignore"):
            values = (drawn(wins) + drawn(ties) / 2) / drawn(chances)
        low, high = np.nanquantile(values, [0.025, 0.975])
        return float(low), float(high)

    def effect(self) -> float:
        """The mean over songs of right minus wrong, divided by its standard deviation."""
        differences = np.nanmean((self.right - self.wrong)[np.isfinite(self.right).any(axis=1)], axis=1)
        return float(differences.mean() / differences.std(ddof=1))

    def p(self) -> float:
        """The p of the paired sign-flip test over songs."""
        right, wrong = (self._statistics(values) for values in (self.right, self.wrong))
        return float(sign_flip(right, wrong)[0])

    def _statistics(self, values: Floats) -> TrackStatistics:
        defined = np.isfinite(values)
        weights = defined.sum(axis=1, keepdims=True).astype(np.float64)
        return TrackStatistics(np.where(defined, values, 0).sum(axis=1, keepdims=True), weights, "window-mean")

    def _duels(self) -> tuple[Floats, Floats, Floats]:
        """Song i's right pairs against song j's wrong ones: wins, ties and number of duels, ``[songs, songs]`` each."""
        right, wrong = self.right[:, None], self.wrong[None]  # [songs, 1 or songs, subsets]
        there = np.isfinite(right) & np.isfinite(wrong)
        wins, ties, chances = ((mask & there).sum(axis=2) for mask in (right > wrong, right == wrong, there))
        return wins.astype(np.float64), ties.astype(np.float64), chances.astype(np.float64)


def excerpts(dataset: Dataset, protocol: Protocol) -> list[Stems]:
    """The first excerpt of each song that is long enough; ``BadInputError`` for fewer than two."""
    found: list[Stems] = []
    for track in dataset.manifest.tracks:
        for excerpt in protocol.excerpts(track)[:1]:
            stems = dataset.stems(track)[:, excerpt.start : excerpt.start + excerpt.length]
            found.append(dict(zip(STEMS, stems, strict=True)))
    if len(found) < 2:
        raise BadInputError(f"{dataset.manifest.title}: {len(found)} song(s) of one chunk; a wrong song needs two")
    return found


def report(cfg: DictConfig, command: str) -> str:
    """The study as a page of markdown."""
    source, protocol = instantiate(cfg.dataset), instantiate(cfg.protocol)
    dataset = source.split(SPLIT)
    songs, rate = excerpts(dataset, protocol), dataset.manifest.rate
    found = {}
    with progress("comparing right with wrong songs", len(METRICS)) as advance:
        for name, metric in METRICS.items():
            found[name] = Comparison.of(metric, songs, rate)
            advance()
    title = f"{dataset.manifest.title} {SPLIT}"
    lines = [
        f"# Do the metrics of coherence tell the right song from a wrong one? — {title}",
        "",
        "Right: given stems and the others of the same excerpt. Wrong: given stems and the others of the next song's excerpt.",
        "",
        "## All subsets of the stems",
        "",
        *_table(
            ("Metric", "songs", "pairs", "right", "wrong", "AUC", "effect", "p"),
            [_overall(*item) for item in found.items()],
        ),
        "",
        "## Each subset of the stems that was taken from the right or the wrong song: AUC (n)",
        "",
        *_table(
            ("Swapped", *found),
            list(zip(map("+".join, SUBSETS), *map(_subsets, found.values()), strict=True)),
        ),
        "",
        f"- Measured on {title}: {len(songs)} songs; {protocol.describe(rate)}. Digest of the data: `{dataset.manifest.digest}`.",
        "- AUC: how often a right pair scores above a wrong one of the same subset, with a 95 % bootstrap interval over songs; "
        "0.5 is chance.",
        "- effect: mean over songs of right less wrong, over its standard deviation. p: two-sided paired sign-flip test over songs.",
        "- A star: p < 0.05 after Holm's correction over the subsets. n: songs with both pairs defined; — where there is none.",
        "- Left out are pairs with a silent side, and for harmony those with drums alone on a side.",
        "- The metrics' parameters were chosen on songs of train and of this split, by the same comparison with other wrong songs, so "
        "these figures flatter them a little.",
        *([f"- {_likeness(source.seed, len(songs))}"] if isinstance(source, MiniSlakh) else []),
        f"- Made by `{command}`.",
        "",
        *(f"- {name}: `{metric.signature}`" for name, metric in METRICS.items()),
    ]
    return "\n".join(lines) + "\n"


def _overall(name: str, found: Comparison) -> tuple[str, ...]:
    low, high = found.interval()
    right, wrong = np.nanmean(found.right), np.nanmean(found.wrong)
    return (
        name,
        str(found.songs),
        str(found.pairs),
        f"{right:.2f}",
        f"{wrong:.2f}",
        f"{found.auc():.3f} [{low:.3f}, {high:.3f}]",
        f"{found.effect():.2f}",
        f"{found.p():.4f}",
    )


def _cell(found: Comparison, corrected: float) -> str:
    if found.pairs == 0:
        return "—"
    low, high = found.interval()
    star = " *" if corrected < 0.05 else ""
    return f"{found.auc():.2f} [{low:.2f}, {high:.2f}]{star} ({found.pairs})"


def _subsets(found: Comparison) -> list[str]:
    """A cell for each subset."""
    columns = [found.column(j) for j in range(len(SUBSETS))]
    corrected = holm(np.array([column.p() if column.pairs else np.nan for column in columns]))
    return [_cell(column, p) for column, p in zip(columns, corrected, strict=True)]


def _likeness(seed: int, count: int) -> str:
    """How much MiniSlakh's wrong songs resemble the right ones, by their scores: the more, the higher the floor."""
    songs = [compose(seed, SPLIT, index) for index in range(count)]
    pairs = list(zip(songs, [*songs[1:], songs[0]], strict=True))
    tempo = sum(abs(one.tempo / other.tempo - 1) <= 0.02 for one, other in pairs)
    groove = sum(one.groove == other.groove for one, other in pairs)
    key = sum(one.key == other.key for one, other in pairs)
    scale = sum(len(_scale(one.key) & _scale(other.key)) >= 6 for one, other in pairs)
    return (
        f"Of the {count} wrong songs {tempo} have the right one's tempo within 2 %, {groove} its groove, {key} its key, and {scale} "
        "a scale with six or seven of its seven tones."
    )


def _scale(key: str) -> set[int]:
    tonic, mode = key.split()
    return set(Key(NAMES.index(tonic), mode).scale)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of markdown, figures to the right."""
    rule = ["---", *["--:"] * (len(head) - 1)]
    return [f"| {' | '.join(line)} |" for line in (head, rule, *rows)]


def main(arguments: Sequence[str]) -> int:
    """Write the study; returns an exit code."""
    if not arguments or arguments[0].startswith("-") or "=" in arguments[0]:
        print(f"usage: {USAGE}", file=sys.stderr)
        return BadInputError.exit_code
    out, *overrides = arguments
    try:
        page = report(
            config.load(overrides), shlex.join(["python", "-m", "benchmarks.figures.coherence_study", *arguments])
        )
        with audio.atomic(Path(out)) as temporary:
            temporary.write_text(page)
    except GmsdiError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
