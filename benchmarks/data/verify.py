"""Is the data what it claims to be? Reads and hashes every file again, and lists every problem, not just the first."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.data.dataset import Dataset, crop_to_shortest, require_mono, track_folders
from benchmarks.data.manifest import SILENT_DB, DatasetManifest, Track
from benchmarks.data.msdm_layout import misnamed
from benchmarks.device import cores
from benchmarks.identity import short
from benchmarks.notices import progress
from gmsdi import STEMS, audio
from gmsdi.errors import BadInputError

ACTIVE_DB = -60
"""dBFS; a stem is active in a second whose RMS is at least this."""

CLIP_LEVEL = 0.999
"""Full scale, less a few steps of 16 bits."""

CLIP_RUN = 3
"""So many equal samples in a row, at ``CLIP_LEVEL`` or above, count as clipped.

A mere peak over full scale does not: prepared stems are float32 sums, which hold it unharmed. Clipping leaves a flat top.
"""


@dataclass(frozen=True)
class Problem:
    """Something wrong: where it is, and in a few words what it is and what to do about it."""

    where: Path
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True)
class Summary:
    """One split in figures.

    ``present`` counts the tracks that have each stem (the others are silent there); ``active`` is the share of seconds in which
    0, 1, 2, 3 and 4 stems are active.
    """

    title: str
    tracks: int
    hours: float
    present: dict[str, int]
    active: tuple[float, ...]
    missing: int  # sources that should be there and have no file
    digest: str


@dataclass(frozen=True)
class Report:
    """What ``verify`` found."""

    summaries: tuple[Summary, ...]
    problems: tuple[Problem, ...]


def verify(splits: Sequence[Dataset]) -> Report:
    """Check splits against their manifests, and against each other. What is wrong is in the report; nothing is raised."""
    empty = [split for split in splits if not split.manifest.tracks]
    problems = [Problem(split.folder, "no tracks; check data=… and split=…") for split in empty]
    problems += _run([partial(_against_manifest, split, track) for split in splits for track in split.manifest.tracks])
    problems += _shared_audio(splits)
    return Report(tuple(summarize(split.manifest) for split in splits), tuple(problems))


def of_sources(differences: Iterable[tuple[Path, str]]) -> list[Problem]:
    """What differs between a prepared split and the sources that it was made from, as problems."""
    return [Problem(where, f"{what}; `gmsdi data prepare` takes it in") for where, what in differences]


def inspect_folder(folder: Path, rate: int) -> list[Problem]:
    """Every problem of a folder in MSDM's layout without a manifest; most often it is too damaged to make one."""
    try:
        tracks = track_folders(folder)
    except BadInputError as error:
        return [_problem(folder, error)]
    return _run([partial(_without_manifest, track, rate) for track in tracks])


def summarize(manifest: DatasetManifest) -> Summary:
    """The figures of a split, from its manifest alone."""
    seconds = Counter(
        sum(level >= ACTIVE_DB for level in levels)
        for track in manifest.tracks
        for levels in zip(*(stem.levels for stem in track.stems.values()), strict=True)
    )
    return Summary(
        title=f"{manifest.title} {manifest.split}",
        tracks=len(manifest.tracks),
        hours=sum(track.frames for track in manifest.tracks) / manifest.rate / 3600,
        present={stem: sum(stem in track.stems for track in manifest.tracks) for stem in STEMS},
        active=tuple(seconds[count] / max(seconds.total(), 1) for count in range(len(STEMS) + 1)),
        missing=sum(len(track.missing) for track in manifest.tracks),
        digest=manifest.digest,
    )


def print_report(report: Report, console: Console) -> None:
    """Print a column of figures for each split, then one line for each problem."""
    splits = report.summaries
    table = Table("", *(split.title for split in splits))
    table.add_row("songs", *(str(split.tracks) for split in splits))
    table.add_row("hours", *(f"{split.hours:.2f}" for split in splits))
    for stem in STEMS:
        table.add_row(f"songs with {stem}", *(str(split.present[stem]) for split in splits))
    for count in range(len(STEMS) + 1):
        table.add_row(f"seconds with {count} active", *(f"{split.active[count]:.1%}" for split in splits))
    table.add_row("sources without a file", *(str(split.missing) for split in splits))
    table.add_row("digest", *(short(split.digest) for split in splits))
    console.print(table)
    console.print(f"A stem is active in a second of {ACTIVE_DB} dBFS RMS or more.")
    for problem in report.problems:
        console.print(str(problem), markup=False, highlight=False, soft_wrap=True)
    console.print(f"problems: {len(report.problems)}")


def _run(checks: Sequence[Callable[[], list[Problem]]]) -> list[Problem]:
    """What all checks find, in their order. Threads are enough: reading, hashing and NumPy release the interpreter's lock."""
    problems = []
    with progress("verifying", len(checks)) as advance, ThreadPoolExecutor(cores()) as pool:
        for found in pool.map(lambda check: check(), checks):
            problems += found
            advance()
    return problems


def _against_manifest(split: Dataset, track: Track) -> list[Problem]:
    """Everything wrong with a track's files, by themselves and against the manifest."""
    folder = split.folder / track.name
    stems, problems = _read(folder, split.manifest.rate)
    gone = [f"{stem}.wav" for stem in track.stems if not (folder / f"{stem}.wav").exists()]
    if gone:
        problems.append(Problem(folder, f"{', '.join(gone)} gone; restore it, or prepare the dataset again"))
    for stem, samples in stems.items():
        path = folder / f"{stem}.wav"
        if stem not in track.stems:
            problems.append(Problem(path, "not in the manifest; remove it, or prepare the dataset again"))
        elif audio.sha256(samples[:, : track.frames]) != track.stems[stem].sha256:
            what = "its samples are not those of the manifest; restore the file, or prepare the dataset again"
            problems.append(Problem(path, what))
    return problems


def _without_manifest(folder: Path, rate: int) -> list[Problem]:
    """Everything wrong with a track's files by themselves; a folder without any is a problem, too."""
    stems, problems = _read(folder, rate)
    problems += [Problem(file, what) for file, what in misnamed(folder)]
    if not stems and not problems:
        problems.append(Problem(folder, f"holds none of {', '.join(f'{stem}.wav' for stem in STEMS)}; remove it"))
    return problems


def _read(folder: Path, rate: int) -> tuple[dict[str, audio.Samples], list[Problem]]:
    """The usable stems ``[1, samples]`` of a track folder, and everything wrong with its files by themselves."""
    stems: dict[str, audio.Samples] = {}
    problems = []
    for stem in STEMS:
        path = folder / f"{stem}.wav"
        if not path.exists():
            continue
        try:
            samples, file_rate = audio.read(path)
            require_mono(samples, path)
        except BadInputError as error:
            problems.append(_problem(path, error))
            continue
        if file_rate != rate:
            problems.append(Problem(path, f"{file_rate} Hz where {rate} Hz is due; resample it"))
            continue
        if (at := _clipped_at(samples)) is not None:
            problems.append(Problem(path, f"clipped, first at {at / rate:.3f} s; render it again at a lower level"))
        stems[stem] = samples
    try:
        if stems:
            crop_to_shortest(stems, rate, folder)
    except BadInputError as error:
        problems.append(_problem(folder, error))
    return stems, problems


def _clipped_at(samples: audio.Samples) -> int | None:
    """The first sample of the first flat top in ``[1, samples]``, if there is one."""
    loud = np.flatnonzero(np.abs(samples[0]) >= CLIP_LEVEL)
    starts = loud[loud <= samples.shape[1] - CLIP_RUN]
    runs = samples[0][starts[:, None] + np.arange(CLIP_RUN)]
    flat = starts[(runs == runs[:, :1]).all(axis=1)]
    return int(flat[0]) if flat.size else None


def _shared_audio(splits: Sequence[Dataset]) -> list[Problem]:
    """Tracks that share a stem with an earlier track, of the same split or another; silence does not count."""
    problems = []
    owner: dict[str, Path] = {}
    for split in splits:
        for track in split.manifest.tracks:
            folder = split.folder / track.name
            shared = defaultdict(list)
            for name, stem in track.stems.items():
                if max(stem.levels) > SILENT_DB:
                    shared[owner.setdefault(stem.sha256, folder)].append(name)
            problems += [
                Problem(folder, f"the same {', '.join(names)} as {other}; leave one of the two tracks out")
                for other, names in shared.items()
                if other != folder
            ]
    return problems


def _problem(path: Path, error: BadInputError) -> Problem:
    """An error as a problem, without the ``path`` that its message begins with."""
    return Problem(path, str(error).removeprefix(f"{path}: "))
