"""A dataset split on disk in MSDM's layout: ``TrackNNNNN/{bass,drums,guitar,piano}.wav``, 22 050 Hz mono, and its manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data.manifest import DatasetManifest, Track
from benchmarks.notices import warn
from gmsdi import STEMS, audio, files
from gmsdi.errors import BadInputError, IntegrityError

LENGTH_TOLERANCE = 0.1
"""Seconds by which the stems of a track may differ in length; up to it they are cropped, beyond it reading fails."""


@dataclass(frozen=True)
class Dataset:
    """One split: the folder of its tracks, and the manifest of their content."""

    folder: Path
    manifest: DatasetManifest

    def stems(self, track: Track, verify: bool = False) -> audio.Samples:
        """The stems of a track, ``[stems, samples]``; a missing stem is silence.

        With ``verify`` the samples are hashed; ``IntegrityError`` when a hash is not the manifest's.
        """
        samples = read_stems(self.folder / track.name, self.manifest.rate)
        for stem in track.stems:
            if stem not in samples:
                raise IntegrityError(
                    f"{self.folder / track.name}: {stem}.wav is in the manifest but gone; run `gmsdi data verify`"
                )
        stacked = np.zeros((len(STEMS), track.frames), dtype=np.float32)
        for k, stem in enumerate(STEMS):
            if stem in track.stems:
                if samples[stem].shape[1] < track.frames:
                    raise IntegrityError(f"{self.folder / track.name}/{stem}.wav: shorter than in the manifest")
                stacked[k] = samples[stem][0, : track.frames]
                if verify and audio.sha256(stacked[k : k + 1]) != track.stems[stem].sha256:
                    raise IntegrityError(
                        f"{self.folder / track.name}/{stem}.wav: its samples are not those of the manifest; "
                        "restore the file, or prepare the dataset again"
                    )
        return stacked

    def stretch(self, track: Track, start: int, length: int) -> audio.Samples:
        """``length`` samples of a track's stems from ``start``, ``[stems, length]``.

        The whole track is verified the first time that this process reads from it, and again after a file has changed.
        ``IntegrityError`` when one changes while it is read.
        """
        folder = self.folder / track.name
        paths = {stem: folder / f"{stem}.wav" for stem in track.stems}
        seen = _states(paths, track)
        if seen not in _VERIFIED:
            self.stems(track, verify=True)
        stacked = np.zeros((len(STEMS), length), dtype=np.float32)
        for stem, path in paths.items():
            stacked[STEMS.index(stem)] = audio.read_stretch(path, start, length)[0]
        if _states(paths, track) != seen:
            raise IntegrityError(f"{folder}: changed while it was read; run again")
        _VERIFIED.add(seen)
        return stacked


States = tuple[tuple[str, files.State | None, str], ...]
"""For each stem of a track the file, its state, and the sha256 of its samples."""

_VERIFIED: set[States] = set()
"""The tracks that this process has verified."""


def _states(paths: Mapping[str, Path], track: Track) -> States:
    return tuple((str(path), files.state(path), track.stems[stem].sha256) for stem, path in paths.items())


def read_stems(folder: Path, rate: int) -> dict[str, audio.Samples]:
    """Read the stems that a track folder has, ``[1, samples]`` each, all of one length.

    Raises ``BadInputError`` for a stem that cannot be read, is not mono, has another rate, or differs in length by more than
    ``LENGTH_TOLERANCE``, and for a folder without any stem.
    """
    stems = {stem: folder / f"{stem}.wav" for stem in STEMS if (folder / f"{stem}.wav").exists()}
    if not stems:
        raise BadInputError(
            f"{folder}: holds none of {', '.join(f'{stem}.wav' for stem in STEMS)}; is it a track folder?"
        )
    samples = {}
    for stem, path in stems.items():
        samples[stem], file_rate = audio.read(path)
        require_mono(samples[stem], path)
        if file_rate != rate:
            raise BadInputError(f"{path}: {file_rate} Hz where {rate} Hz is due; resample the dataset first")
    return crop_to_shortest(samples, rate, folder)


def require_mono(samples: audio.Samples, path: Path) -> None:
    """Raise ``BadInputError`` unless ``samples`` is ``[1, samples]``."""
    if samples.shape[0] != 1:
        raise BadInputError(f"{path}: {samples.shape[0]} channels where mono is due; mix it down first")


def crop_to_shortest(stems: dict[str, audio.Samples], rate: int, folder: Path) -> dict[str, audio.Samples]:
    """Crop stems ``[1, samples]`` to one length, with a warning; ``BadInputError`` beyond ``LENGTH_TOLERANCE``."""
    lengths = {stem: samples.shape[1] for stem, samples in stems.items()}
    shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
    excess = (lengths[longest] - lengths[shortest]) / rate
    if excess == 0:
        return stems
    if excess > LENGTH_TOLERANCE:
        raise BadInputError(
            f"{folder}: {longest} is {excess:.2f} s longer than {shortest}; stems of one song must be equally long"
        )
    warn(f"{folder}: stems differ by {excess * 1000:.1f} ms in length; cropped to the shortest ({shortest})")
    return {stem: samples[:, : lengths[shortest]] for stem, samples in stems.items()}


def track_folders(folder: Path) -> list[Path]:
    """The track folders of a split in name order; ``BadInputError`` when there are none."""
    tracks = (
        sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        if folder.is_dir()
        else []
    )
    if not tracks:
        raise BadInputError(f"{folder}: no track folders here; check data=… and split=…")
    return tracks
