"""Write a split in MSDM's layout, several tracks in parallel; a killed run goes on where it stopped."""

import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

from benchmarks.data.dataset import Dataset, crop_to_shortest
from benchmarks.data.manifest import DatasetManifest, Track, describe_stem, track_from_json
from benchmarks.device import cores
from benchmarks.identity import canonical
from benchmarks.notices import progress, say
from gmsdi import SAMPLE_RATE, audio
from gmsdi.errors import BadInputError, GmsdiError

SIDECAR = "track.json"
"""The track's line of the manifest, written last into its folder."""

Stems = dict[str, audio.Samples]
Tags = dict[str, tuple[str, ...]]
Reader = Callable[[Path], tuple[Stems, Tags, tuple[str, ...]]]
"""Reads a source track: its stems ``[1, samples]`` at ``SAMPLE_RATE``, the tags of each stem, and the sources without a file."""


def prepare_split(sources: Sequence[Path], read: Reader, folder: Path, title: str, workers: int = 0) -> Dataset:
    """Prepare every source track into ``folder`` (named after the split) and write the manifest beside it.

    Tracks that are there already are kept. A track that cannot be read does not stop the others; all such tracks are
    reported, and no manifest is written (``BadInputError``), so a split is never measured with tracks missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [source for source in sources if not (folder / source.name / SIDECAR).exists()]
    failures: list[str] = []
    with (
        progress(f"preparing {title} {folder.name}", len(missing)) as advance,
        ProcessPoolExecutor(workers or cores(), mp_context=get_context("spawn")) as pool,
    ):
        for done in as_completed([pool.submit(_prepare_track, source, read, folder) for source in missing]):
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
    tracks = tuple(track_from_json(json.loads((folder / source.name / SIDECAR).read_text())) for source in sources)
    manifest = DatasetManifest(title, folder.name, SAMPLE_RATE, tracks)
    manifest.write(folder.with_suffix(".jsonl"))
    return Dataset(folder, manifest)


def _prepare_track(source: Path, read: Reader, folder: Path) -> None:
    """Prepare one track; the folder appears complete or not at all."""
    stems, tags, missing = read(source)
    stems = crop_to_shortest(stems, SAMPLE_RATE, source)
    track = Track(
        name=source.name,
        frames=next(iter(stems.values())).shape[1],
        stems={stem: describe_stem(samples, SAMPLE_RATE, tags[stem]) for stem, samples in stems.items()},
        missing=missing,
    )
    temporary = folder / f".{source.name}.{uuid.uuid4().hex}.tmp"
    temporary.mkdir()
    try:
        for stem, samples in stems.items():
            audio.write(temporary / f"{stem}.wav", samples, SAMPLE_RATE)
        with audio.atomic(temporary / SIDECAR) as sidecar:
            sidecar.write_text(canonical(asdict(track)) + "\n")
        try:
            temporary.rename(folder / source.name)
        except OSError:
            if not (folder / source.name / SIDECAR).exists():  # another process has prepared it meanwhile
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
