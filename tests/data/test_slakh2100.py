"""Slakh2100 as it is downloaded becomes MSDM's layout: the right sources, the right samples, and again after an interruption."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks.data.dataset import Dataset
from benchmarks.data.manifest import DatasetManifest
from benchmarks.data.minislakh import render_split
from benchmarks.data.msdm_layout import MsdmLayout
from benchmarks.data.slakh2100 import Slakh2100, read_track, without_duplicates
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError

Noise = Callable[..., audio.Samples]

RATE = 44_100
FRAMES = RATE // 5


@dataclass(frozen=True)
class Source:
    """One source of a raw track: ``samples [channels, samples]``, None if its file is missing."""

    inst_class: str
    samples: audio.Samples | None
    rendered: bool = True


def write_raw(folder: Path, sources: Mapping[str, Source], midi: bytes = b"") -> Path:
    """Write a raw track with the fields of Slakh2100's own metadata; its MIDI is its own unless given."""
    (folder / "stems").mkdir(parents=True, exist_ok=True)
    for name, source in sources.items():
        if source.samples is not None:
            audio.write(folder / "stems" / f"{name}.flac", source.samples, RATE, subtype="PCM_24")
    metadata = {
        "UUID": "1a81ae092884234f3264e2f45927f00a",
        "audio_dir": "stems",
        "lmd_midi_dir": "lmd_matched/O/O/H/TROOHTB128F931F9DF/1a81ae092884234f3264e2f45927f00a.mid",
        "midi_dir": "MIDI",
        "normalization_factor": -13.0,
        "normalized": True,
        "overall_gain": 0.18270259567062658,
        "stems": {name: describe(name, source) for name, source in sources.items()},
        "target_peak": -1.0,
    }
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    (folder / "all_src.mid").write_bytes(midi or b"MThd" + str(folder).encode())
    return folder


def describe(name: str, source: Source) -> dict[str, object]:
    drums = source.inst_class == "Drums"
    return {
        "audio_rendered": source.rendered,
        "inst_class": source.inst_class,
        "integrated_loudness": -12.8,
        "is_drum": drums,
        "midi_program_name": "Drums" if drums else f"{source.inst_class} of {name}",
        "midi_saved": True,
        "plugin_name": "elektrik_guitar.nkm",
        "program_num": 128 if drums else 30,
    }


def sine(frames: int = RATE) -> audio.Samples:
    """1 kHz, its peak at −6 dBFS."""
    return (10 ** (-6 / 20) * np.sin(2 * np.pi * 1000 / RATE * np.arange(frames))).astype(np.float32)[None]


def plateau(level: float) -> audio.Samples:
    """A second at ``level``, faded in and out so that resampling does not ring."""
    fade = np.hanning(RATE // 2)
    return (level * np.concatenate([fade[: RATE // 4], np.ones(RATE // 2), fade[RATE // 4 :]])).astype(np.float32)[None]


@pytest.fixture
def raw(tmp_path: Path, noise: Noise) -> Path:
    """A test split of three short tracks of two stems."""
    for number in (1, 2, 3):
        sources = {"S00": Source("Bass", noise(number, FRAMES)), "S01": Source("Drums", noise(-number % 9, FRAMES))}
        write_raw(tmp_path / "raw" / "test" / f"Track{number:05}", sources)
    return tmp_path / "raw"


def prepare(raw: Path, prepared: Path) -> Dataset:
    return Slakh2100("Slakh2100", raw, prepared, workers=1).split("test")


# Which sources, and what becomes of them


def test_sources_of_a_class_are_summed_and_other_classes_are_left_out(tmp_path: Path, noise: Noise) -> None:
    sources = {
        "S00": Source("Guitar", noise(0, FRAMES)),
        "S01": Source("Strings", noise(1, FRAMES)),
        "S02": Source("Bass", noise(2, FRAMES)),
        "S03": Source("Guitar", noise(3, FRAMES)),
        "S04": Source("Drums", noise(4, FRAMES)),
        "S05": Source("Piano", noise(5, FRAMES)),
        "S06": Source("Chromatic Percussion", noise(6, FRAMES)),
        "S07": Source("Guitar", noise(7, FRAMES)),
    }
    found = read_track(write_raw(tmp_path / "a", sources))
    stems, tags = found.stems, found.tags
    expected = {
        "bass": noise(2, FRAMES),
        "drums": noise(4, FRAMES),
        "guitar": noise(0, FRAMES) + noise(3, FRAMES) + noise(7, FRAMES),
        "piano": noise(5, FRAMES),
    }
    assert stems.keys() == expected.keys()
    for stem, samples in expected.items():
        assert (stems[stem].shape, stems[stem].dtype) == ((1, FRAMES // 2), np.float32)
        np.testing.assert_allclose(stems[stem], audio.resample(samples, RATE, SAMPLE_RATE), atol=1e-6)
    assert tags["guitar"] == ("Guitar of S00", "Guitar of S03", "Guitar of S07")
    assert tags["drums"] == ("Drums",)


def test_a_source_that_was_not_rendered_is_skipped(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], noise: Noise
) -> None:
    sources = {
        "S00": Source("Bass", noise(0, FRAMES)),
        "S01": Source("Bass", noise(1, FRAMES), rendered=False),
        "S02": Source("Piano", None, rendered=False),
    }
    found = read_track(write_raw(tmp_path / "a", sources))
    stems, tags = found.stems, found.tags
    np.testing.assert_allclose(stems["bass"], audio.resample(noise(0, FRAMES), RATE, SAMPLE_RATE), atol=1e-6)
    assert (set(stems), tags) == ({"bass"}, {"bass": ("Bass of S00",)})
    assert capfd.readouterr().err == ""


def test_a_rendered_source_without_a_file_is_silence_with_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], noise: Noise
) -> None:
    sources = {"S00": Source("Bass", noise(0, FRAMES)), "S01": Source("Piano", None), "S02": Source("Bass", None)}
    found = read_track(write_raw(tmp_path / "a", sources))
    stems, missing = found.stems, found.missing
    np.testing.assert_allclose(stems["bass"], audio.resample(noise(0, FRAMES), RATE, SAMPLE_RATE), atol=1e-6)
    assert set(stems) == {"bass"}
    assert missing == ("S01", "S02")
    first, second = capfd.readouterr().err.splitlines()
    assert first.startswith(f"warning: {tmp_path}/a/stems/S01.flac: piano")
    assert second.startswith(f"warning: {tmp_path}/a/stems/S02.flac: bass")


def test_a_source_that_ends_early_ends_in_silence(tmp_path: Path, noise: Noise) -> None:
    sources = {"S00": Source("Piano", noise(0, FRAMES)), "S01": Source("Piano", noise(1, FRAMES - 2000))}
    stems = read_track(write_raw(tmp_path / "a", sources)).stems
    alone = audio.resample(noise(0, FRAMES), RATE, SAMPLE_RATE)
    np.testing.assert_allclose(stems["piano"][:, -900:], alone[:, -900:], atol=1e-6)
    assert np.abs(stems["piano"] - alone).max() > 0.01


def test_a_sine_keeps_its_pitch_and_level_and_a_sum_over_full_scale_is_not_clipped(tmp_path: Path) -> None:
    sources = {
        "S00": Source("Bass", sine()),
        "S01": Source("Guitar", plateau(0.75)),
        "S02": Source("Guitar", plateau(0.75)),
    }
    write_raw(tmp_path / "raw" / "test" / "Track00001", sources)
    split = prepare(tmp_path / "raw", tmp_path / "prepared")
    stems = split.stems(split.manifest.tracks[0], verify=True)

    inner = stems[STEMS.index("bass"), 1000:-1050].astype(np.float64)  # 20 000 samples, where the filter does not ring
    phase = np.exp(2j * np.pi * 1000 / SAMPLE_RATE * np.arange(1000, SAMPLE_RATE - 1050))
    basis = np.stack([phase.real, phase.imag], axis=1)
    fit = np.linalg.lstsq(basis, inner, rcond=None)[0]
    assert abs(20 * np.log10(np.hypot(*fit)) + 6) < 0.01
    assert np.abs(basis @ fit - inner).max() < 1e-5

    assert stems[STEMS.index("guitar")].max() == pytest.approx(1.5, abs=1e-4)
    _, rate = audio.read(tmp_path / "prepared" / "test" / "Track00001" / "guitar.wav")
    assert rate == SAMPLE_RATE


# Duplicates


def test_of_tracks_with_the_same_midi_one_stays(tmp_path: Path) -> None:
    midis = {
        "test": {"Track01876": b"A", "Track01877": b"B", "Track01878": b"B"},
        "validation": {"Track01501": b"A", "Track01502": b"C"},
        "train": {"Track00001": b"B", "Track00002": b"C", "Track00003": b"D", "Track00004": b"E", "Track00005": b"D"},
        "omitted": {"Track00000": b"E"},
    }
    for split, tracks in midis.items():
        for name, midi in tracks.items():
            write_raw(tmp_path / split / name, {}, midi)
    for name in ("Track00006", "Track00007"):
        write_raw(tmp_path / "train" / name, {})
        (tmp_path / "train" / name / "all_src.mid").unlink()
    kept = {
        split: [track.name for track in without_duplicates(tmp_path, split)]
        for split in ("test", "validation", "train")
    }
    assert kept == {
        "test": ["Track01876", "Track01877"],
        "validation": ["Track01502"],
        "train": ["Track00003", "Track00004", "Track00006", "Track00007"],
    }


def test_a_split_can_be_had_without_the_others(tmp_path: Path) -> None:
    write_raw(tmp_path / "test" / "Track01876", {})
    (tmp_path / "train").mkdir()
    assert without_duplicates(tmp_path, "test") == [tmp_path / "test" / "Track01876"]


@pytest.mark.parametrize("name", ["omitted", "tset"])
def test_omitted_is_no_split(raw: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(raw / "test", raw / "omitted")
    with pytest.raises(BadInputError, match=f"split={name}: .* choose one of test, validation, train"):
        Slakh2100("Slakh2100", raw, tmp_path / "prepared").split(name)
    assert not (tmp_path / "prepared").exists()


# Preparing, and preparing again


def test_the_same_songs_have_the_same_digest_wherever_they_lie(raw: Path, tmp_path: Path) -> None:
    write_raw(raw / "omitted" / "Track00004", {})
    (raw / "omitted" / "Track00004" / "metadata.yaml").write_text("never to be read")
    split = prepare(raw, tmp_path / "prepared")
    assert [track.name for track in split.manifest.tracks] == ["Track00001", "Track00002", "Track00003"]
    assert DatasetManifest.read(tmp_path / "prepared" / "test.jsonl") == split.manifest
    raw.rename(tmp_path / "moved")
    again = prepare(tmp_path / "moved", tmp_path / "elsewhere")
    assert again.folder != split.folder
    assert again.manifest == split.manifest
    for path in split.folder.rglob("*.wav"):
        assert path.read_bytes() == (again.folder / path.relative_to(split.folder)).read_bytes()
    assert (
        Slakh2100("Slakh2100", None, tmp_path / "prepared").split("test") == split
    )  # the raw data is not needed again


def test_a_killed_run_goes_on_where_it_stopped(raw: Path, tmp_path: Path) -> None:
    split = prepare(raw, tmp_path / "prepared")
    lost, *kept = sorted(split.folder.iterdir())
    assert [folder.name for folder in kept] == ["Track00002", "Track00003"]
    (tmp_path / "prepared" / "test.jsonl").unlink()
    leftover = lost.rename(lost.with_name(f".{lost.name}.0123.tmp"))
    os.truncate(leftover / "bass.wav", 1000)
    before = [
        (path, path.stat().st_ino, path.stat().st_mtime_ns) for folder in kept for path in [folder, *folder.iterdir()]
    ]

    again = prepare(raw, tmp_path / "prepared")
    assert [(path, path.stat().st_ino, path.stat().st_mtime_ns) for path, _, _ in before] == before
    assert again.manifest == split.manifest
    for track in again.manifest.tracks:
        again.stems(track, verify=True)


def test_a_bad_track_stops_no_other_and_leaves_no_manifest(
    raw: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second, _ = sorted((raw / "test").iterdir())
    metadata = (first / "metadata.yaml").read_text()
    (first / "metadata.yaml").write_text("stems: [")
    whole = (second / "stems" / "S01.flac").read_bytes()
    (second / "stems" / "S01.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match="2 of 3 tracks of Slakh2100 test cannot be prepared"):
        prepare(raw, tmp_path / "prepared")
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert any(str(first / "metadata.yaml") in line for line in errors)
    assert any(str(second / "stems" / "S01.flac") in line for line in errors)
    assert [path.name for path in (tmp_path / "prepared").rglob("*") if path.suffix not in (".wav", ".txt")] == [
        "test",
        "Track00003",
        "track.json",
    ]

    (first / "metadata.yaml").write_text(metadata)
    (second / "stems" / "S01.flac").write_bytes(whole)
    assert len(prepare(raw, tmp_path / "prepared").manifest.tracks) == 3


# Tracks that cannot be read


def refused(folder: Path, message: str) -> None:
    """Assert that the raw track is refused in one line that begins with its path and says ``message``."""
    with pytest.raises(BadInputError, match=message) as caught:
        read_track(folder)
    assert str(caught.value).startswith(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"stems: [",
        b"a: b\n  c: {\nd",
        b"[]",
        b"just a text",
        b"\xff\xfe\xfd",
        b"stems: []",
        b"stems: {S00: Bass}",
        b"stems: {S00: {audio_rendered: true, midi_program_name: Bass}}",
        b"stems: {S00: {inst_class: Bass, midi_program_name: Bass}}",
        b"stems: {S00: {inst_class: Bass, audio_rendered: true}}",
    ],
)
def test_bad_metadata(raw: Path, content: bytes) -> None:
    folder = raw / "test" / "Track00001"
    (folder / "metadata.yaml").write_bytes(content)
    refused(folder, r"metadata\.yaml: not Slakh2100 metadata \(.*\); copy it again")


def test_no_metadata(raw: Path) -> None:
    (raw / "test" / "Track00001" / "metadata.yaml").unlink()
    refused(raw / "test" / "Track00001", r"metadata\.yaml: missing")


def test_a_stereo_source(tmp_path: Path, noise: Noise) -> None:
    folder = write_raw(tmp_path / "a", {"S00": Source("Bass", noise(0, FRAMES).reshape(3, -1)[:2])})
    refused(folder, r"stems/S00\.flac: 2 channels where mono is due")


def test_a_track_without_any_of_the_four_classes(tmp_path: Path, noise: Noise) -> None:
    refused(write_raw(tmp_path / "a", {"S00": Source("Organ", noise(0, FRAMES))}), "none of Bass, Drums, Guitar, Piano")


@pytest.mark.parametrize(("raw_data", "message"), [(None, "needs data=FOLDER"), ("nowhere", "no track folders here")])
def test_no_raw_data(tmp_path: Path, raw_data: str | None, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        Slakh2100("Slakh2100", raw_data and tmp_path / raw_data, tmp_path / "prepared").split("test")


# From MIDI to the prepared split


def test_the_stems_of_minislakh_sum_to_its_mixture(tmp_path: Path) -> None:
    render_split(tmp_path / "raw", "test", songs=2, seed=0, workers=2)
    split = Slakh2100("MiniSlakh", tmp_path / "raw", tmp_path / "prepared", workers=2).split("test")
    assert len(split.manifest.tracks) == 2
    for track in split.manifest.tracks:
        mixture = audio.resample(*audio.read(tmp_path / "raw" / "test" / track.name / "mix.flac"), SAMPLE_RATE)
        # The raw sum is exact and resampling is linear: what remains is float32's rounding (2^-24 at full scale) of
        # some six resampled sources and of their sums, a thirtieth of a step of the 16 bits that the files have.
        np.testing.assert_allclose(audio.mixture(split.stems(track, verify=True)), mixture[0], atol=1e-6)
        assert np.abs(mixture).max() > 0.5


def test_what_was_prepared_from_one_copy_is_not_taken_for_another(raw: Path, tmp_path: Path) -> None:
    prepare(raw, tmp_path / "prepared")
    raw.rename(tmp_path / "redux")
    with pytest.raises(BadInputError, match=r"prepared from .*raw, not from .*redux"):
        prepare(tmp_path / "redux", tmp_path / "prepared")


def test_sources_without_a_file_are_counted_in_the_manifest(raw: Path, tmp_path: Path) -> None:
    (raw / "test" / "Track00002" / "stems" / "S01.flac").unlink()
    prepare(raw, tmp_path / "prepared")
    tracks = prepare(raw, tmp_path / "prepared").manifest.tracks  # as it is read back
    assert [track.missing for track in tracks] == [(), ("S01",), ()]


# What was prepared follows its source


def test_a_source_that_changes_is_prepared_again_and_no_other(
    raw: Path, tmp_path: Path, noise: Noise, capsys: pytest.CaptureFixture[str]
) -> None:
    before = prepare(raw, tmp_path / "prepared")
    times = {
        track.name: (before.folder / track.name / "track.json").stat().st_mtime_ns for track in before.manifest.tracks
    }
    audio.write(raw / "test" / "Track00002" / "stems" / "S00.flac", noise(7, FRAMES), RATE, subtype="PCM_24")
    after = prepare(raw, tmp_path / "prepared")
    assert "1 tracks are not what their source is now; prepared again" in capsys.readouterr().err
    one, other = ({track.name: track.identity for track in split.manifest.tracks} for split in (before, after))
    assert {name for name in one if one[name] != other[name]} == {"Track00002"}
    now = {name: (after.folder / name / "track.json").stat().st_mtime_ns for name in times}
    assert {name for name in times if now[name] != times[name]} == {"Track00002"}
    assert prepare(raw, tmp_path / "fresh").manifest.digest == after.manifest.digest


def test_songs_that_come_and_go_in_the_source_do_so_in_what_is_prepared(
    raw: Path, tmp_path: Path, noise: Noise
) -> None:
    prepare(raw, tmp_path / "prepared")
    write_raw(raw / "test" / "Track00009", {"S00": Source("Bass", noise(5, FRAMES))})
    shutil.rmtree(raw / "test" / "Track00001")
    found = prepare(raw, tmp_path / "prepared")
    assert [track.name for track in found.manifest.tracks] == ["Track00002", "Track00003", "Track00009"]
    assert not (found.folder / "Track00001").exists()


def test_a_half_unpacked_archive_is_not_kept_for_good(tmp_path: Path, noise: Noise) -> None:
    late = {"S00": Source("Bass", noise(0, FRAMES)), "S01": Source("Drums", noise(1, FRAMES))}
    folder = write_raw(tmp_path / "raw" / "test" / "Track00001", {**late, "S01": Source("Drums", None)})
    half = prepare(tmp_path / "raw", tmp_path / "prepared").manifest.tracks
    assert half[0].missing == ("S01",) and "drums" not in half[0].stems
    write_raw(folder, late)
    write_raw(tmp_path / "raw" / "test" / "Track00002", late, midi=b"MThd of another")
    whole = prepare(tmp_path / "raw", tmp_path / "prepared").manifest.tracks
    assert len(whole) == 2 and whole[0].missing == () and "drums" in whole[0].stems


def test_without_data_the_prepared_copy_stands_and_data_that_are_gone_are_an_error(raw: Path, tmp_path: Path) -> None:
    before = prepare(raw, tmp_path / "prepared").manifest
    assert Slakh2100("Slakh2100", None, tmp_path / "prepared").split("test").manifest == before
    shutil.rmtree(raw)
    with pytest.raises(BadInputError, match="no track folders here; check data="):
        prepare(raw, tmp_path / "prepared")


def test_verify_finds_a_source_of_the_same_size_and_time_but_other_content(
    raw: Path, tmp_path: Path, noise: Noise
) -> None:
    dataset = prepare(raw, tmp_path / "prepared")
    source = Slakh2100("Slakh2100", raw, tmp_path / "prepared", workers=1)
    assert list(source.differences(dataset)) == []
    path = raw / "test" / "Track00003" / "metadata.yaml"
    status = path.stat()
    path.write_text(path.read_text().replace("Bass", "Bsas", 1))  # no class that is read any more
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert source.split("test").manifest.digest == dataset.manifest.digest  # a look at sizes and times cannot tell
    assert [(where.name, what) for where, what in source.differences(dataset)] == [
        ("Track00003", "gives other stems than the prepared ones")
    ]
    assert Slakh2100("Slakh2100", None, tmp_path / "prepared").differences(dataset) is None


def test_minislakh_is_never_called_slakh2100(tmp_path: Path) -> None:
    """It lies in the same layout, and says in its metadata what it is; a prepared copy says so, too."""
    render_split(tmp_path / "raw", "test", songs=1, seed=1, workers=1)
    found = prepare(tmp_path / "raw", tmp_path / "prepared").manifest
    assert (found.origin, found.title) == ("MiniSlakh", "MiniSlakh (read as Slakh2100)")
    assert prepare(tmp_path / "raw", tmp_path / "prepared").manifest.title == found.title
    copied = MsdmLayout("Slakh2100", tmp_path / "prepared", tmp_path / "cache").split("test").manifest
    assert copied.title == found.title and copied.digest == found.digest
