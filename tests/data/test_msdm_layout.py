"""A folder in MSDM's layout: read as it is, refused in one line when it cannot be used, and never written to."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data.msdm_layout import MsdmLayout
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError, IntegrityError

Noise = Callable[..., audio.Samples]
WriteTrack = Callable[..., Path]


@pytest.fixture
def dataset(tmp_path: Path) -> MsdmLayout:
    return MsdmLayout("Ours", tmp_path / "data", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the test split lies; nothing is there yet."""
    return tmp_path / "data" / "test"


def refused(dataset: MsdmLayout, message: str) -> None:
    """Assert that the test split is refused in one line that says ``message``, and that no manifest of it is kept."""
    with pytest.raises(BadInputError, match=message) as caught:
        dataset.split("test")
    assert "\n" not in str(caught.value)
    assert not list(Path(dataset.cache).glob("**/*"))


def state(folder: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Everything below a folder: times of change and content."""
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_ctime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


# What can be read


def test_float32_is_read_to_the_last_bit(
    dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack
) -> None:
    write_track(folder / "b", {"bass": noise(0), "drums": noise(1), "guitar": noise(2), "piano": noise(3) * 30})
    write_track(folder / "a", {"bass": noise(4, 700)})
    split = dataset.split("test")
    assert (split.folder, split.manifest.title, split.manifest.split) == (folder, "Ours", "test")
    assert [(track.name, track.frames) for track in split.manifest.tracks] == [("a", 700), ("b", SAMPLE_RATE // 2)]
    expected = np.concatenate([noise(0), noise(1), noise(2), noise(3) * 30])
    np.testing.assert_array_equal(split.stems(split.manifest.tracks[1], verify=True), expected)


def test_whole_numbers_of_16_bits(dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack) -> None:
    whole = np.round(noise(0) * 2**15).astype(np.float32) / 2**15
    write_track(folder / "a", {"drums": whole}, subtype="PCM_16")
    split = dataset.split("test")
    found = split.stems(split.manifest.tracks[0], verify=True)
    np.testing.assert_array_equal(found[STEMS.index("drums")], whole[0])


def test_a_missing_stem_is_silence(dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack) -> None:
    write_track(folder / "a", {"guitar": noise(0)})
    split = dataset.split("test")
    (track,) = split.manifest.tracks
    assert set(track.stems) == {"guitar"}
    stems = split.stems(track, verify=True)
    assert (stems.shape, stems.dtype) == ((4, SAMPLE_RATE // 2), np.float32)
    assert np.abs(stems).max(axis=1).astype(bool).tolist() == [False, False, True, False]


def test_stems_that_differ_a_little_in_length_are_cropped(
    dataset: MsdmLayout, folder: Path, capfd: pytest.CaptureFixture[str], noise: Noise, write_track: WriteTrack
) -> None:
    frames = SAMPLE_RATE // 2
    write_track(folder / "a", {"bass": noise(0, frames), "drums": noise(1, frames + SAMPLE_RATE // 10)})
    split = dataset.split("test")
    warning = next(line for line in capfd.readouterr().err.splitlines() if line.startswith("warning"))
    assert "100.0 ms" in warning and "bass" in warning and str(folder / "a") in warning
    (track,) = split.manifest.tracks
    assert track.frames == frames
    np.testing.assert_array_equal(split.stems(track, verify=True)[1], noise(1, frames + SAMPLE_RATE // 10)[0, :frames])


# What cannot


def test_stems_that_differ_a_lot_in_length(
    dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack
) -> None:
    write_track(folder / "a", {"bass": noise(0, 5000), "drums": noise(1, 5001 + SAMPLE_RATE // 10)})
    refused(dataset, "test/a: drums is 0.10 s longer than bass")


def test_a_truncated_stem(dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack) -> None:
    path = write_track(folder / "a", {"bass": noise(0), "drums": noise(1)}) / "drums.wav"
    os.truncate(path, path.stat().st_size - 400)  # 100 samples: less than stems may differ in length
    refused(dataset, "a/drums.wav: truncated")


def test_a_stem_with_nan(dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack) -> None:
    samples = noise(0)
    samples[0, 2205] = np.nan
    write_track(folder / "a", {"bass": samples})
    refused(dataset, r"a/bass.wav: NaN .* 0\.100 s")


def test_a_stereo_stem(dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack) -> None:
    write_track(folder / "a", {"bass": np.concatenate([noise(0), noise(1)])})
    refused(dataset, "a/bass.wav: 2 channels where mono is due")


def test_a_stem_of_another_rate(dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack) -> None:
    write_track(folder / "a", {"bass": noise(0)}, rate=44_100)
    refused(dataset, "a/bass.wav: 44100 Hz where 22050 Hz is due")


def test_a_track_without_stems(dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack) -> None:
    write_track(folder / "a", {"bass": noise(0)})
    write_track(folder / "b", {"vocals": noise(1)})
    refused(dataset, "test/b: holds none of bass.wav, drums.wav, guitar.wav, piano.wav")


def test_an_empty_folder_and_none(dataset: MsdmLayout, folder: Path) -> None:
    refused(dataset, "no track folders here")
    folder.mkdir(parents=True)
    (folder / "notes.txt").touch()
    (folder / ".hidden").mkdir()
    refused(dataset, "no track folders here")


def test_no_folder_was_named(tmp_path: Path) -> None:
    refused(MsdmLayout("Ours", None, tmp_path / "cache"), "needs data=FOLDER")


# The index


def test_the_folder_is_indexed_once_and_never_written_to(
    dataset: MsdmLayout, folder: Path, capfd: pytest.CaptureFixture[str], noise: Noise, write_track: WriteTrack
) -> None:
    write_track(folder / "a", {"bass": noise(0), "piano": noise(1)})
    before = state(folder)
    split = dataset.split("test")
    split.stems(split.manifest.tracks[0], verify=True)
    assert "indexing" in capfd.readouterr().err
    assert dataset.split("test") == split
    assert "indexing" not in capfd.readouterr().err
    assert state(folder) == before


def test_a_changed_folder_is_indexed_again(
    dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack
) -> None:
    write_track(folder / "a", {"bass": noise(0), "drums": noise(1)})
    digests = [dataset.split("test").manifest.digest]
    write_track(folder / "a", {"bass": noise(2)})  # other samples, the same size
    digests.append(dataset.split("test").manifest.digest)
    write_track(folder / "a", {"guitar": noise(3)})
    digests.append(dataset.split("test").manifest.digest)
    (folder / "a" / "drums.wav").unlink()
    digests.append(dataset.split("test").manifest.digest)
    write_track(folder / "b", {"bass": noise(4)})
    digests.append(dataset.split("test").manifest.digest)
    assert len(set(digests)) == len(digests)
    (folder / "c").mkdir()
    with pytest.raises(BadInputError, match="test/c: holds none of"):
        dataset.split("test")


def test_the_digest_does_not_depend_on_the_place(
    dataset: MsdmLayout, folder: Path, tmp_path: Path, noise: Noise, write_track: WriteTrack
) -> None:
    write_track(folder / "a", {"bass": noise(0), "drums": noise(1)})
    shutil.copytree(folder, tmp_path / "elsewhere" / "test")
    elsewhere = MsdmLayout("Theirs", tmp_path / "elsewhere", tmp_path / "cache").split("test")
    assert elsewhere.folder == tmp_path / "elsewhere" / "test"
    assert elsewhere.manifest.digest == dataset.split("test").manifest.digest


# What changed behind the manifest's back


def test_edited_samples_are_found_when_they_are_verified(
    dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack
) -> None:
    write_track(folder / "a", {"bass": noise(0), "drums": noise(1)})
    split = dataset.split("test")
    samples = noise(1)
    samples[0, -1] += 1e-6
    audio.write(folder / "a" / "drums.wav", samples, SAMPLE_RATE)
    (track,) = split.manifest.tracks
    np.testing.assert_array_equal(split.stems(track)[1], samples[0])
    with pytest.raises(IntegrityError, match=r"a/drums\.wav: its samples are not those of the manifest"):
        split.stems(track, verify=True)


def test_a_shorter_and_a_vanished_stem_are_always_found(
    dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack
) -> None:
    write_track(folder / "a", {"bass": noise(0), "drums": noise(1)})
    split = dataset.split("test")
    (track,) = split.manifest.tracks
    write_track(folder / "a", {"bass": noise(0)[:, :-1], "drums": noise(1)[:, :-1]})
    with pytest.raises(IntegrityError, match=r"a/bass\.wav: shorter than in the manifest"):
        split.stems(track)
    (folder / "a" / "bass.wav").unlink()
    with pytest.raises(IntegrityError, match=r"test/a: bass\.wav is in the manifest but gone"):
        split.stems(track)


# Names


@pytest.mark.parametrize(
    "name", ["Piano.wav", "piano.WAV", "piano.flac", "PIANO.mp3", "pianos.wav", "paino.wav", "drum.wav", "guitars.aif"]
)
def test_what_is_almost_a_stem_is_never_taken_for_silence(
    dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack, name: str
) -> None:
    write_track(folder / "a", {"bass": noise(0)})
    (folder / "a" / name).write_bytes((folder / "a" / "bass.wav").read_bytes())
    with pytest.raises(BadInputError) as raised:
        dataset.split("test")
    stem = "drums" if "dr" in name else "guitar" if "gu" in name else "piano"
    assert str(raised.value).startswith(f"{folder / 'a' / name}: ") and f"make it {stem}.wav" in str(raised.value)


def test_a_stem_in_two_forms_is_an_error(
    dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack
) -> None:
    write_track(folder / "a", {"bass": noise(0)})
    audio.write(folder / "a" / "bass.flac", noise(1), SAMPLE_RATE, subtype="PCM_16")
    with pytest.raises(BadInputError, match=r"bass\.flac: would not be read"):
        dataset.split("test")


def test_other_files_are_left_alone(dataset: MsdmLayout, folder: Path, noise: Noise, write_track: WriteTrack) -> None:
    write_track(folder / "a", {"bass": noise(0)})
    for name in ("mix.wav", "vocals.wav", "other.flac", "bass.txt", ".drums.wav", "README"):
        (folder / "a" / name).write_bytes(b"whatever")
    assert dataset.split("test").manifest.tracks[0].stems.keys() == {"bass"}
