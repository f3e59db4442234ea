"""Training chunks, cut at random from a prepared split: mixtures with prompts, single stems, or all stems at once.

A model that is trained on mixtures must never see a stem. So mixtures are written to a folder of their own first, and ``Mixtures``
reads that folder alone: the stems may be on another machine, or gone.

A chunk's key is (step, item). Where it is cut depends on the seed and the key alone, so training is reproducible, and after a
crash it goes on with the chunks that were due.
"""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from benchmarks.data.dataset import Dataset
from benchmarks.data.manifest import Track
from benchmarks.identity import canonical
from benchmarks.notices import progress
from gmsdi import STEMS, audio
from gmsdi.errors import BadInputError, IntegrityError
from gmsdi.objective import Batch
from gmsdi.prompts import join
from gmsdi.text import TextEncoder

ACTIVE_DB = -50
"""dBFS from which a stem counts as playing in a second."""

SILENT_SHARE = 0.1
"""The share of a stem's chunks that are cut anywhere, so that its model hears silence too."""

INDEX = "index.jsonl"
"""In a folder of mixtures: a header, then a line a track."""

Key = tuple[int, int]
"""A chunk's step, and its item in the batch of that step."""

Second = tuple[int, int]
"""A track's index, and a second in that track."""


@dataclass(frozen=True)
class Cut:
    """A stretch of a track: its index, and its first sample."""

    track: int
    start: int


@dataclass(frozen=True)
class Cutter:
    """Where chunks of ``length`` samples are cut from tracks of ``frames`` samples."""

    frames: tuple[int, ...]
    rate: int  # Hz
    length: int
    seed: int

    def cut(self, seconds: npt.NDArray[np.int64], random: np.random.Generator) -> Cut:
        """A chunk with its middle in one of ``seconds`` ``[N, 2]``, moved where needed to stay within its track."""
        track, second = (int(value) for value in seconds[random.integers(len(seconds))])
        start = second * self.rate + int(random.integers(self.rate)) - self.length // 2
        return Cut(track, min(max(start, 0), self.frames[track] - self.length))

    def random(self, key: Key) -> np.random.Generator:
        """The random generator of a key."""
        return np.random.default_rng([self.seed, *key])

    def choose(self, seconds: Iterable[Second], what: str) -> npt.NDArray[np.int64]:
        """The seconds of the tracks that are long enough, ``[N, 2]``; ``BadInputError`` when there are none."""
        chosen = [(track, second) for track, second in seconds if self.frames[track] >= self.length]
        if not chosen:
            raise BadInputError(f"{what}: nothing to train on, no track of {self.length} samples in which it plays")
        return np.array(chosen)


# Mixtures


def write_mixtures(dataset: Dataset, folder: Path) -> None:
    """Write ``folder/TRACK/mix.wav`` for every track, and last the index: which stems play in each second."""
    manifest = dataset.manifest
    lines: list[dict] = [manifest.header]
    # after an interruption, an old index would pass for the index of the new mixtures
    (folder / INDEX).unlink(missing_ok=True)
    with progress(f"mixing {manifest.title} {manifest.split}", len(manifest.tracks)) as advance:
        for track in manifest.tracks:
            (folder / track.name).mkdir(parents=True, exist_ok=True)
            mixture = audio.mixture(dataset.stems(track))
            audio.write(folder / track.name / "mix.wav", mixture[None], manifest.rate)
            lines.append({"name": track.name, "frames": track.frames, "active": active_stems(track, manifest.rate)})
            advance()
    with audio.atomic(folder / INDEX) as temporary:
        temporary.write_text("".join(canonical(line) + "\n" for line in lines))


def active_stems(track: Track, rate: int) -> list[list[str]]:
    """The stems that play in each second of a track; the last second may be a shorter one."""
    playing = {
        stem: {second for second, level in enumerate(of.levels) if level >= ACTIVE_DB}
        for stem, of in track.stems.items()
    }
    return [
        [stem for stem in STEMS if second in playing.get(stem, ())] for second in range(math.ceil(track.frames / rate))
    ]


class Mixtures(TorchDataset[tuple[Tensor, str]]):
    """Endless chunks ``[1, length]`` of the mixtures in ``folder``, each with the prompt of what plays in it.

    Raises ``BadInputError`` for a folder without mixtures, and for one in which nothing plays.
    """

    def __init__(self, folder: Path, length: int, seed: int = 0) -> None:
        self.folder = folder
        header, tracks = _read_index(folder / INDEX)
        self.digest = header["digest"]  # of the dataset that was mixed
        self._names = [track["name"] for track in tracks]
        self._active = [track["active"] for track in tracks]
        self._cutter = Cutter(tuple(track["frames"] for track in tracks), header["rate"], length, seed)
        playing = (
            (track, second) for track, active in enumerate(self._active) for second, tags in enumerate(active) if tags
        )
        self._seconds = self._cutter.choose(playing, str(folder))

    def __getitem__(self, key: Key) -> tuple[Tensor, str]:
        cut = self._cutter.cut(self._seconds, self._cutter.random(key))
        samples = read_chunk(self.folder / self._names[cut.track] / "mix.wav", cut.start, self._cutter.length)
        return torch.from_numpy(samples), self._prompt(cut)

    def _prompt(self, cut: Cut) -> str:
        """What plays in the seconds whose middle is in the chunk; without any, in the second that holds the chunk's middle."""
        rate, end = self._cutter.rate, cut.start + self._cutter.length
        first, last = (math.ceil(sample / rate - 0.5) for sample in (cut.start, end))
        seconds = self._active[cut.track][first:last] or [self._active[cut.track][(cut.start + end) // 2 // rate]]
        return join([stem for stem in STEMS if any(stem in active for active in seconds)])


def _read_index(path: Path) -> tuple[dict, list[dict]]:
    try:
        header, *tracks = [json.loads(line) for line in path.read_text().rstrip("\n").split("\n")]
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}); write the mixtures first") from None
    except ValueError:
        raise BadInputError(f"{path}: damaged; write the mixtures again") from None
    return header, tracks


# Stems, for the models that are trained on them


class StemChunks(TorchDataset[Tensor]):
    """Chunks ``[1, length]`` of one stem, for a weak model: most are cut where it plays, ``SILENT_SHARE`` of them anywhere.

    Raises ``BadInputError`` when the stem never plays.
    """

    def __init__(self, dataset: Dataset, stem: str, length: int, seed: int = 0) -> None:
        self._dataset, self._stem = dataset, stem
        self._cutter = _cutter(dataset, length, seed)
        self._playing = self._cutter.choose(
            _seconds(dataset, lambda active: stem in active), f"{dataset.folder}: {stem}"
        )
        self._all = self._cutter.choose(_seconds(dataset, lambda _: True), str(dataset.folder))

    def __getitem__(self, key: Key) -> Tensor:
        random = self._cutter.random(key)
        seconds = self._all if random.random() < SILENT_SHARE else self._playing
        cut = self._cutter.cut(seconds, random)
        return torch.from_numpy(_read_stem(self._dataset, self._stem, cut, self._cutter.length))


class JointChunks(TorchDataset[Tensor]):
    """Chunks ``[4, length]`` of all stems in the order of ``STEMS``, for MSDM, where at least one plays."""

    def __init__(self, dataset: Dataset, length: int, seed: int = 0) -> None:
        self._dataset = dataset
        self._cutter = _cutter(dataset, length, seed)
        self._playing = self._cutter.choose(_seconds(dataset, bool), str(dataset.folder))

    def __getitem__(self, key: Key) -> Tensor:
        cut = self._cutter.cut(self._playing, self._cutter.random(key))
        stems = [_read_stem(self._dataset, stem, cut, self._cutter.length) for stem in STEMS]
        return torch.from_numpy(np.concatenate(stems))


def _cutter(dataset: Dataset, length: int, seed: int) -> Cutter:
    return Cutter(tuple(track.frames for track in dataset.manifest.tracks), dataset.manifest.rate, length, seed)


def _seconds(dataset: Dataset, wanted: Callable[[list[str]], bool]) -> Iterable[Second]:
    """The seconds of a split by what plays in them."""
    for index, track in enumerate(dataset.manifest.tracks):
        for second, active in enumerate(active_stems(track, dataset.manifest.rate)):
            if wanted(active):
                yield index, second


def _read_stem(dataset: Dataset, stem: str, cut: Cut, length: int) -> audio.Samples:
    track = dataset.manifest.tracks[cut.track]
    if stem not in track.stems:
        return np.zeros((1, length), dtype=np.float32)
    return read_chunk(dataset.folder / track.name / f"{stem}.wav", cut.start, length)


def read_chunk(path: Path, start: int, length: int) -> audio.Samples:
    """Samples ``[1, length]`` of a mono file from ``start`` on, without reading the rest. ``IntegrityError`` where that fails."""
    try:
        samples, _ = soundfile.read(path, length, start, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise IntegrityError(f"{path}: cannot be read ({error.error_string}); prepare the data again") from None
    if samples.shape != (length, 1):
        raise IntegrityError(f"{path}: not {length} mono samples from {start} on; prepare the data again")
    return np.ascontiguousarray(samples.T)


# Batches


def prompted_batches(mixtures: Mixtures, size: int, encoder: TextEncoder) -> Callable[[int], Batch]:
    """The batch of a step, as the trainer asks for it: ``size`` mixtures, and the embeddings of what plays in them.

    Embeddings are cached: prompts are few, and for a batch a T5 would take longer than the training step.
    """
    embedding = cache(lambda prompt: encoder.encode([prompt])[0])  # [L, F]
    null = encoder.encode([""])[0]

    def batch(step: int) -> Batch:
        chunks, prompts = zip(*(mixtures[step, item] for item in range(size)), strict=True)
        return Batch(torch.stack(chunks), torch.stack([embedding(prompt) for prompt in prompts]), null)

    return batch


def batches(chunks: StemChunks | JointChunks, size: int) -> Callable[[int], Batch]:
    """The batch of a step: chunks of stems, without prompts."""
    return lambda step: Batch(torch.stack([chunks[step, item] for item in range(size)]))
