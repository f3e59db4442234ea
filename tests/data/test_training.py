"""Training data: chunks by key alone, cut where something plays, and mixtures that lead to no stem."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.data.dataset import Dataset
from benchmarks.data.manifest import DatasetManifest, Track, describe_stem
from benchmarks.data.training import (
    INDEX,
    SILENT_SHARE,
    JointChunks,
    Mixtures,
    StemChunks,
    active_stems,
    batches,
    prompted_batches,
    read_chunk,
    write_mixtures,
)
from benchmarks.run.training import Joint, PromptedMixtures, Training
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError, IntegrityError
from gmsdi.text import TagEncoder
from gmsdi.train import TrainConfig

Noise = Callable[..., audio.Samples]

LENGTH = SAMPLE_RATE // 4
KEYS = [(step, item) for step in range(10) for item in range(10)]


@pytest.fixture
def dataset(tmp_path: Path, noise: Noise, write_track: Callable[..., Path]) -> Dataset:
    """Two tracks of 6.5 s. The first: bass in seconds 0 and 1, drums from 1 to 3, nothing after. The second: piano from 5 on."""
    frames = 13 * SAMPLE_RATE // 2

    def between(seed: int, first: int, end: int) -> audio.Samples:
        samples = np.zeros((1, frames), dtype=np.float32)
        stretch = slice(first * SAMPLE_RATE, end * SAMPLE_RATE)
        samples[:, stretch] = noise(seed, frames)[:, stretch]
        return samples

    songs = {"Track1": {"bass": between(0, 0, 2), "drums": between(1, 1, 4)}, "Track2": {"piano": between(2, 5, 7)}}
    tracks = []
    for name, stems in songs.items():
        write_track(tmp_path / "stems" / name, stems)
        described = {stem: describe_stem(samples, SAMPLE_RATE) for stem, samples in stems.items()}
        tracks.append(Track(name, frames, described))
    return Dataset(tmp_path / "stems", DatasetManifest("Songs", "train", SAMPLE_RATE, tuple(tracks)))


@pytest.fixture
def mixtures(dataset: Dataset, tmp_path: Path) -> Mixtures:
    write_mixtures(dataset, tmp_path / "mixtures")
    return Mixtures(tmp_path / "mixtures", LENGTH, seed=7)


# Mixtures


def test_a_mixture_is_the_sum_of_its_stems(dataset: Dataset, mixtures: Mixtures) -> None:
    for track in dataset.manifest.tracks:
        samples, rate = audio.read(mixtures.folder / track.name / "mix.wav")
        assert rate == SAMPLE_RATE
        np.testing.assert_array_equal(samples[0], audio.mixture(dataset.stems(track)))


def test_the_index_says_what_plays_in_each_second(dataset: Dataset, mixtures: Mixtures) -> None:
    header, first, second = (json.loads(line) for line in (mixtures.folder / INDEX).read_text().splitlines())
    assert header["digest"] == mixtures.digest == dataset.manifest.digest
    assert first["active"] == [["bass"], ["bass", "drums"], ["drums"], ["drums"], [], [], []]
    assert second["active"] == [[], [], [], [], [], ["piano"], ["piano"]]


def test_mixtures_do_not_need_the_stems_and_do_not_know_where_they_are(dataset: Dataset, mixtures: Mixtures) -> None:
    """With the stems deleted, training data loads; no value that the object can reach names their folder."""
    before = [mixtures[key] for key in KEYS]
    shutil.rmtree(dataset.folder)
    again = Mixtures(mixtures.folder, LENGTH, seed=7)
    for key, (chunk, prompt) in zip(KEYS, before, strict=True):
        found, said = again[key]
        torch.testing.assert_close(found, chunk, rtol=0, atol=0)
        assert said == prompt
    assert str(dataset.folder) not in "\n".join(reachable(again))
    assert sorted(path.name for path in mixtures.folder.rglob("*.*")) == [INDEX, "mix.wav", "mix.wav"]


def test_what_gmsdi_is_trained_on_leads_to_mixtures_alone(dataset: Dataset, tmp_path: Path) -> None:
    """With the stems deleted, a model trains on; nothing that its data can reach names their folder, as MSDM's does."""
    network = {"backbone": "SpectralUNet", "window": 64, "hop": 32, "widths": [8], "mapping": 8}
    material = PromptedMixtures(str(tmp_path / "mixtures"), {"encoder": "TagEncoder", "vocabulary": list(STEMS)})
    how = TrainConfig(steps=2)
    training = Training("gmsdi", material, network, how, 2048, 4, tmp_path / "run", tmp_path / "gmsdi.safetensors")
    before = material.lessons(dataset, dataset, 2048, 4, how.seed)
    joint = Joint().lessons(dataset, dataset, 2048, 4, how.seed)
    shutil.rmtree(dataset.folder)
    after = material.lessons(dataset, dataset, 2048, 4, how.seed)
    torch.testing.assert_close(after.data(0).clean, before.data(0).clean, rtol=0, atol=0)
    torch.testing.assert_close(after.data(0).embedding, before.data(0).embedding, rtol=0, atol=0)
    torch.testing.assert_close(after.validation.batch.clean, before.validation.batch.clean, rtol=0, atol=0)
    assert training.run(dataset, dataset, "cpu", ["gmsdi"]).step == 2

    assert str(dataset.folder) in "\n".join(reachable(joint))
    assert str(dataset.folder) not in "\n".join(reachable(after))
    assert str(tmp_path / "mixtures") in "\n".join(reachable(after))


def reachable(value: object) -> list[str]:
    """All texts and paths within a value, its attributes, their items, and what functions have closed over."""
    if isinstance(value, str | Path):
        return [str(value)]
    inner = list(value.items()) if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    cells = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    attributes = getattr(value, "__dict__", {}).values()
    return [text for item in [*inner, *cells, *attributes] for text in reachable(item)]


def test_chunks_are_where_something_plays(mixtures: Mixtures) -> None:
    assert {mixtures[key][0].shape for key in KEYS} == {(1, LENGTH)}
    assert {mixtures[key][1] for key in KEYS} == {"bass", "bass, drums", "drums", "piano"}


def test_a_long_chunk_is_named_after_the_seconds_whose_middle_it_holds(mixtures: Mixtures) -> None:
    long = Mixtures(mixtures.folder, 2 * SAMPLE_RATE, seed=0)
    whole, _ = audio.read(mixtures.folder / "Track1" / "mix.wav")
    playing = [{"bass"}, {"bass", "drums"}, {"drums"}, {"drums"}, set(), set()]
    seen = 0
    for key in KEYS:
        chunk, prompt = long[key]
        start = position(whole, chunk.numpy())
        if start is not None:
            middles = [second for second in range(6) if start <= (second + 0.5) * SAMPLE_RATE < start + chunk.shape[1]]
            assert set(prompt.split(", ")) - {""} == set().union(*(playing[second] for second in middles))
            seen += 1
    assert seen > 30


def position(whole: audio.Samples, chunk: audio.Samples) -> int | None:
    """Where a chunk was cut from ``whole``, by its first sample that is not silent; None if it was not."""
    offset = int(np.argmax(chunk[0] != 0))
    for at in np.flatnonzero(whole[0] == chunk[0, offset]) - offset:
        if at >= 0 and np.array_equal(whole[:, at : at + chunk.shape[1]], chunk):
            return int(at)
    return None


def test_a_chunk_depends_on_seed_and_key_alone(mixtures: Mixtures) -> None:
    forward = {key: mixtures[key][0] for key in KEYS}
    for key in reversed(KEYS):
        torch.testing.assert_close(mixtures[key][0], forward[key], rtol=0, atol=0)
    assert len({chunk.numpy().tobytes() for chunk in forward.values()}) > 80  # the ends of tracks come more than once
    other = Mixtures(mixtures.folder, LENGTH, seed=8)
    assert not any(torch.equal(other[key][0], forward[key]) for key in KEYS)


def test_a_batch_is_mixtures_and_the_embeddings_of_their_prompts(mixtures: Mixtures) -> None:
    encoder = TagEncoder()
    batch = prompted_batches(mixtures, 3, encoder)(5)
    assert batch.clean.shape == (3, 1, LENGTH)
    for item in range(3):
        chunk, prompt = mixtures[5, item]
        torch.testing.assert_close(batch.clean[item], chunk, rtol=0, atol=0)
        assert batch.embedding is not None
        torch.testing.assert_close(batch.embedding[item], encoder.encode([prompt])[0])


def test_a_prompt_is_encoded_once(mixtures: Mixtures) -> None:
    class Counting(TagEncoder):
        def encode(self, prompts: Sequence[str]) -> torch.Tensor:
            asked.extend(prompts)
            return super().encode(prompts)

    asked: list[str] = []
    data = prompted_batches(mixtures, 5, Counting())
    for step in range(10):
        data(step)
    assert sorted(asked) == sorted(set(asked)) == ["", "bass", "bass, drums", "drums", "piano"]


def test_mixtures_that_cannot_be_read_are_refused(tmp_path: Path, mixtures: Mixtures) -> None:
    with pytest.raises(BadInputError, match="write the mixtures first"):
        Mixtures(tmp_path, LENGTH)
    with pytest.raises(BadInputError, match="nothing to train on"):
        Mixtures(mixtures.folder, 7 * SAMPLE_RATE)
    index = mixtures.folder / INDEX
    index.write_text(index.read_text()[:-20])
    with pytest.raises(BadInputError, match="write the mixtures again"):
        Mixtures(mixtures.folder, LENGTH)
    for path in mixtures.folder.rglob("mix.wav"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(IntegrityError, match=r"mix\.wav: .*; prepare the data again"):
        mixtures[0, 0]


def test_a_folder_in_which_nothing_plays_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    silent = DatasetManifest("Silence", "train", SAMPLE_RATE, (Track("Track1", SAMPLE_RATE, {}),))
    (dataset.folder / "Track1" / "bass.wav").rename(tmp_path / "bass.wav")
    write_mixtures(Dataset(dataset.folder, silent), tmp_path / "silent")
    with pytest.raises(BadInputError, match="nothing to train on"):
        Mixtures(tmp_path / "silent", LENGTH)


# Stems


def test_chunks_of_a_stem_are_its_samples_and_most_are_where_it_plays(dataset: Dataset) -> None:
    chunks = StemChunks(dataset, "piano", LENGTH, seed=1)
    whole = dataset.stems(dataset.manifest.tracks[1])[3:]
    silent = 0
    for key in KEYS:
        chunk = chunks[key].numpy()
        assert chunk.shape == (1, LENGTH)
        silent += not chunk.any()
        assert not chunk.any() or position(whole, chunk) is not None
    assert 0 < silent < 3 * SILENT_SHARE * len(KEYS)


def test_a_stem_that_never_plays_is_refused(dataset: Dataset) -> None:
    with pytest.raises(BadInputError, match="guitar: nothing to train on"):
        StemChunks(dataset, "guitar", LENGTH)


def test_joint_chunks_are_all_stems_at_one_time(dataset: Dataset) -> None:
    chunks = JointChunks(dataset, LENGTH, seed=1)
    stems = [dataset.stems(track) for track in dataset.manifest.tracks]
    for key in KEYS[:30]:
        chunk = chunks[key].numpy()
        assert chunk.shape == (len(STEMS), LENGTH)
        loudest = int(chunk.std(axis=1).argmax())
        track = 1 if STEMS[loudest] == "piano" else 0
        start = position(stems[track][loudest : loudest + 1], chunk[loudest : loudest + 1])
        assert start is not None
        np.testing.assert_array_equal(chunk, stems[track][:, start : start + LENGTH])


def test_a_batch_of_stems_has_no_prompts(dataset: Dataset) -> None:
    chunks = JointChunks(dataset, LENGTH)
    batch = batches(chunks, 3)(2)
    assert batch.embedding is None
    torch.testing.assert_close(batch.clean, torch.stack([chunks[2, item] for item in range(3)]), rtol=0, atol=0)


def test_a_torch_loader_can_read_them(dataset: Dataset) -> None:
    """Any sampler of keys will do, so loading can move to workers."""
    loader = torch.utils.data.DataLoader(JointChunks(dataset, LENGTH), batch_sampler=[[(0, 0), (0, 1)], [(1, 0)]])
    assert [tuple(batch.shape) for batch in loader] == [(2, 4, LENGTH), (1, 4, LENGTH)]


def test_levels_below_the_threshold_are_silence() -> None:
    quiet, loud = (describe_stem(np.full((1, 10), level, dtype=np.float32), 10) for level in (10**-2.55, 10**-2.45))
    assert active_stems(Track("a", 10, {"bass": quiet, "piano": loud}), 10) == [["piano"]]


def test_only_what_is_asked_for_is_read(dataset: Dataset) -> None:
    path = dataset.folder / "Track1" / "bass.wav"
    whole, _ = audio.read(path)
    np.testing.assert_array_equal(read_chunk(path, 1000, 50), whole[:, 1000:1050])
    with pytest.raises(IntegrityError, match="not 50 mono samples"):
        read_chunk(path, whole.shape[1] - 10, 50)
