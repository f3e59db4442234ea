"""Write a split in MSDM's layout, several tracks in parallel; a killed run goes on where it stopped.

A prepared track remembers the fingerprint of the files that it was made from: names, sizes and times. When those have changed it is
prepared again.
"""

import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.data.dataset import Dataset, crop_to_shortest
from benchmarks.data.manifest import DatasetManifest, Track, describe_stem, track_from_json
from benchmarks.device import cores
from benchmarks.identity import canonical, digest
from benchmarks.notices import progress, say
from gmsdi import SAMPLE_RATE, audio
from gmsdi.errors import BadInputError, GmsdiError

SIDECAR = "track.json"
"""The track's line of the manifest, its origin and the fingerprint of its source; written last into its folder."""

Stems = dict[str, audio.Samples]
Tags = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class SourceTrack:
    """A track as its source has it: stems ``[1, samples]`` at ``SAMPLE_RATE``, their tags, the sources without a file, and what the
    source says that it is, if it does.
    """

    stems: Stems
    tags: Tags
    missing: tuple[str, ...] = ()
    origin: str = ""


Reader = Callable[[Path], SourceTrack]
Fingerprint = Callable[[Path], str]
"""Tells one state of a source track from another, without reading its audio."""


def fingerprint(files: Iterable[Path], root: Path) -> str:
    """Names below ``root``, sizes and times of files; one that is not there counts as such."""
    return digest([[str(file.relative_to(root)), *_size_and_time(file)] for file in files])


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def prepare_split(
    sources: Sequence[Path],
    read: Reader,
    state: Fingerprint,
    folder: Path,
    title: str,
    source: str = "",
    workers: int = 0,
) -> Dataset:
    """Prepare every source track into ``folder`` (named after the split) and write the manifest beside it, with ``source`` in it.

    Tracks that are there already are kept while the ``state`` of their source is the same; tracks whose source is gone are removed. A
    track that cannot be read does not stop the others; all such tracks are reported, and no manifest is written (``BadInputError``),
    so a split is never measured with tracks missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    due = [track for track in sources if _sidecar(folder / track.name).get("source") != state(track)]
    if changed := sum(track.name in before for track in due):
        say(f"{folder}: {changed} tracks are not what their source is now; prepared again")
    if due:
        folder.with_suffix(".jsonl").unlink(missing_ok=True)  # until all is as its source is
    for gone in sorted(name for name in before if not (sources[0].parent / name).exists()):
        say(f"{folder / gone}: its source is gone; removed")
        shutil.rmtree(folder / gone)
    failures: list[str] = []
    with (
        progress(f"preparing {title} {folder.name}", len(due)) as advance,
        ProcessPoolExecutor(workers or cores(), mp_context=get_context("spawn")) as pool,
    ):
        for done in as_completed([pool.submit(_prepare_track, track, read, state, folder) for track in due]):
            try:
                done.result()
            except GmsdiError as error:
                failures.append(str(error))
            advance()
    for failure in failures:
        say(f"error: {failure}")
    if failures:
        raise BadInputError(
            f"{len(failures)} of {len(sources)} tracks of {title} {folder.name} cannot be prepared: {failures[0]}"
        )
    sidecars = [_sidecar(folder / track.name) for track in sources]
    tracks = tuple(map(track_from_json, sidecars))
    origins = sorted({str(sidecar["origin"]) for sidecar in sidecars} - {""})
    manifest = DatasetManifest(title, folder.name, SAMPLE_RATE, tracks, " and ".join(origins), source).titled(title)
    manifest.write(folder.with_suffix(".jsonl"))
    return Dataset(folder, manifest)


def differences(
    dataset: Dataset, sources: Sequence[Path], read: Reader, workers: int = 0
) -> Iterator[tuple[Path, str]]:
    """The source tracks whose content is not what the prepared ``dataset`` was made from, and what differs. Reads all of them."""
    prepared = {track.name: track for track in dataset.manifest.tracks}
    for source in sources:
        if source.name not in prepared:
            yield source, "not among the prepared tracks"
    for name in prepared.keys() - {source.name for source in sources}:
        yield dataset.folder / name, "has no source any more"
    both = [source for source in sources if source.name in prepared]
    with (
        progress("reading the sources again", len(both)) as advance,
        ProcessPoolExecutor(workers or cores(), mp_context=get_context("spawn")) as pool,
    ):
        found = {pool.submit(_describe, source, read): source for source in both}
        for done in as_completed(found):
            source = found[done]
            try:
                if done.result()[0].identity != prepared[source.name].identity:
                    yield source, "gives other stems than the prepared ones"
            except GmsdiError as error:
                yield source, str(error).removeprefix(f"{source}: ")
            advance()


def origin_of(folder: Path) -> str:
    """What the source of a prepared track said that it was; "" if it said nothing, or if the folder was not prepared here."""
    return str(_sidecar(folder).get("origin", ""))


def _sidecar(folder: Path) -> dict[str, Any]:
    """What a prepared track says of itself; empty if it was not finished, or is damaged."""
    try:
        content = json.loads((folder / SIDECAR).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _describe(source: Path, read: Reader) -> tuple[Track, SourceTrack, Stems]:
    found = read(source)
    stems = crop_to_shortest(found.stems, SAMPLE_RATE, source)
    track = Track(
        name=source.name,
        frames=next(iter(stems.values())).shape[1],
        stems={stem: describe_stem(samples, SAMPLE_RATE, found.tags[stem]) for stem, samples in stems.items()},
        missing=found.missing,
    )
    return track, found, stems


def _prepare_track(source: Path, read: Reader, state: Fingerprint, folder: Path) -> None:
    """Prepare one track; the folder appears complete or not at all."""
    before = state(source)
    track, found, stems = _describe(source, read)
    if state(source) != before:
        raise BadInputError(f"{source}: changed while it was read; run again once it is complete")
    temporary = folder / f".{source.name}.{uuid.uuid4().hex}.tmp"
    temporary.mkdir()
    try:
        for stem, samples in stems.items():
            audio.write(temporary / f"{stem}.wav", samples, SAMPLE_RATE)
        with audio.atomic(temporary / SIDECAR) as sidecar:
            sidecar.write_text(canonical({**asdict(track), "origin": found.origin, "source": before}) + "\n")
        shutil.rmtree(folder / source.name, ignore_errors=True)
        try:
            temporary.rename(folder / source.name)
        except OSError:
            if _sidecar(folder / source.name).get("source") != before:  # else another process has prepared it meanwhile
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
