"""``gmsdi data verify``: every kind of problem, planted in real files, is found; a clean set has none."""

import io
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks import cli
from benchmarks.data.dataset import Dataset
from benchmarks.data.msdm_layout import MsdmLayout
from benchmarks.data.verify import Report, inspect_folder, print_report, verify
from benchmarks.identity import short
from gmsdi import SAMPLE_RATE, STEMS, audio

Noise = Callable[..., audio.Samples]
WriteTrack = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path, noise: Noise, write_track: WriteTrack) -> Path:
    """A clean dataset: two tracks of four stems to train and one of two (and a silent one) to test with."""
    for number in (1, 2):
        write_track(
            tmp_path / "train" / f"Track{number}", {stem: noise(10 * number + k) for k, stem in enumerate(STEMS)}
        )
    silence = np.zeros((1, SAMPLE_RATE // 2), np.float32)
    write_track(tmp_path / "test" / "Track3", {"bass": noise(30), "drums": noise(31), "piano": silence})
    return tmp_path


def index(root: Path) -> list[Dataset]:
    layout = MsdmLayout("Songs", root, root / "cache")
    return [layout.split("train"), layout.split("test")]


def problems(splits: list[Dataset], root: Path) -> list[str]:
    """The problems as lines, with paths relative to ``root``; each is one line that also says what to do."""
    lines = [str(problem) for problem in verify(splits).problems]
    assert all("\n" not in line and ";" in line and line.startswith(str(root)) for line in lines)
    return [line.replace(f"{root}/", "") for line in lines]


def the_problem(splits: list[Dataset], root: Path) -> str:
    (line,) = problems(splits, root)
    return line


# A clean set


def test_a_clean_set_has_no_problems(root: Path) -> None:
    report = verify(index(root))
    assert report.problems == ()
    assert inspect_folder(root / "train", SAMPLE_RATE) == []


def test_the_summary_counts(root: Path, noise: Noise, write_track: WriteTrack) -> None:
    loud_then_soft = np.concatenate([noise(0, SAMPLE_RATE), noise(1, 3 * SAMPLE_RATE) / 1000], axis=1)
    write_track(root / "test" / "Track4", {"bass": loud_then_soft, "guitar": noise(5, 4 * SAMPLE_RATE)})
    splits = index(root)
    train, test = verify(splits).summaries
    assert (train.title, train.tracks, train.digest) == ("Songs train", 2, splits[0].manifest.digest)
    assert train.hours == pytest.approx(1 / 3600)
    assert train.present == {"bass": 2, "drums": 2, "guitar": 2, "piano": 2}
    assert train.active == (0, 0, 0, 0, 1)
    assert test.hours == pytest.approx(4.5 / 3600)
    assert test.present == {"bass": 2, "drums": 1, "guitar": 1, "piano": 1}
    assert test.active == (0, 3 / 5, 2 / 5, 0, 0)


def test_a_peak_over_full_scale_is_no_clipping(root: Path, noise: Noise, write_track: WriteTrack) -> None:
    write_track(root / "train" / "Track1", {"bass": noise(10) * 50})
    assert problems(index(root), root) == []


# Files that are not those of the manifest


def test_edited_samples(root: Path) -> None:
    splits = index(root)
    path = root / "train" / "Track2" / "guitar.wav"
    samples = audio.read(path)[0].copy()
    samples[0, 99] += 1e-4
    audio.write(path, samples, SAMPLE_RATE)
    assert "train/Track2/guitar.wav: its samples are not those of the manifest" in the_problem(splits, root)


def test_a_stem_that_is_gone_and_one_that_came(root: Path) -> None:
    splits = index(root)
    (root / "train" / "Track1" / "piano.wav").rename(root / "test" / "Track3" / "guitar.wav")
    gone, came = problems(splits, root)
    assert "train/Track1: piano.wav gone" in gone
    assert "test/Track3/guitar.wav: not in the manifest" in came


def test_a_track_that_is_gone(root: Path) -> None:
    splits = index(root)
    shutil.rmtree(root / "train" / "Track1")
    assert "train/Track1: bass.wav, drums.wav, guitar.wav, piano.wav gone" in the_problem(splits, root)


# Files that cannot be used, with a manifest and without


def plant(root: Path, kind: str) -> str:
    """Spoil ``train/Track1/drums.wav``; what is to be found."""
    path = root / "train" / "Track1" / "drums.wav"
    samples = audio.read(path)[0].copy()
    match kind:
        case "truncated":
            os.truncate(path, path.stat().st_size - 4)
            return "truncated, 4 of 44100 bytes"
        case "no audio":
            path.write_text("This is not audio.\n" * 9)
            return "cannot be decoded"
        case "empty":
            path.write_bytes(b"")
            return "cannot be decoded"
        case "rate":
            audio.write(path, samples, 44_100)
            return "44100 Hz where 22050 Hz is due"
        case "stereo":
            audio.write(path, np.concatenate([samples, samples]), SAMPLE_RATE)
            return "2 channels where mono is due"
        case "NaN":
            samples[0, 2205] = np.nan
            audio.write(path, samples, SAMPLE_RATE)
            return "NaN or infinite samples, the first at 0.100 s"
        case "inf":
            samples[0, 4410] = -np.inf
            audio.write(path, samples, SAMPLE_RATE)
            return "NaN or infinite samples, the first at 0.200 s"
    raise AssertionError(kind)


KINDS = ["truncated", "no audio", "empty", "rate", "stereo", "NaN", "inf"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_unusable_file_is_the_only_problem_with_a_manifest(root: Path, kind: str) -> None:
    splits = index(root)
    expected = plant(root, kind)
    assert the_problem(splits, root).startswith(f"train/Track1/drums.wav: {expected}")


@pytest.mark.parametrize("kind", KINDS)
def test_an_unusable_file_is_the_only_problem_without_a_manifest(root: Path, kind: str) -> None:
    expected = plant(root, kind)
    (problem,) = inspect_folder(root / "train", SAMPLE_RATE)
    assert problem.where == root / "train" / "Track1" / "drums.wav"
    assert problem.what.startswith(expected)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("at", [0, 5000, SAMPLE_RATE // 2 - 3])
@pytest.mark.parametrize(("run", "clipped"), [(3, True), (2, False)])
def test_a_flat_top_is_clipping(
    root: Path, sign: int, at: int, run: int, clipped: bool, noise: Noise, write_track: WriteTrack
) -> None:
    samples = noise(10)
    samples[0, at : at + run] = sign * 32767 / 32768
    write_track(root / "train" / "Track1", {"bass": samples})
    found = problems(index(root), root)
    assert found == [str(problem).replace(f"{root}/", "") for problem in inspect_folder(root / "train", SAMPLE_RATE)]
    assert len(found) == clipped
    assert all(f"Track1/bass.wav: clipped, first at {at / SAMPLE_RATE:.3f} s" in line for line in found)


def test_stems_of_different_length(root: Path, noise: Noise, write_track: WriteTrack) -> None:
    splits = index(root)
    longer = np.concatenate([noise(10), noise(0, SAMPLE_RATE // 5)], axis=1)
    write_track(root / "train" / "Track1", {"bass": longer})
    assert "train/Track1: bass is 0.20 s longer than drums" in the_problem(splits, root)
    (problem,) = inspect_folder(root / "train", SAMPLE_RATE)
    assert "bass is 0.20 s longer than drums" in problem.what


def test_every_bad_file_is_found_and_not_only_the_first(root: Path, noise: Noise, write_track: WriteTrack) -> None:
    splits = index(root)
    plant(root, "truncated")
    (root / "train" / "Track1" / "bass.wav").write_text("no audio")
    write_track(root / "train" / "Track2", {"piano": noise(22)}, rate=8000)
    (root / "test" / "Track3" / "drums.wav").write_bytes(b"")
    expected = ["train/Track1/bass.wav", "train/Track1/drums.wav", "train/Track2/piano.wav", "test/Track3/drums.wav"]
    assert [line.partition(":")[0] for line in problems(splits, root)] == expected
    found = inspect_folder(root / "train", SAMPLE_RATE) + inspect_folder(root / "test", SAMPLE_RATE)
    assert [problem.where for problem in found] == [root / path for path in expected]


# Whole folders


def test_a_track_without_stems_and_a_split_without_tracks(root: Path) -> None:
    splits = index(root)
    empty = Dataset(root / "none", replace(splits[0].manifest, tracks=()))
    assert "none: no tracks" in the_problem([empty], root)
    assert verify([empty]).summaries[0].tracks == 0
    (problem,) = inspect_folder(root / "none", SAMPLE_RATE)
    assert "no track folders here" in problem.what
    (root / "test" / "Track4").mkdir()
    (problem,) = inspect_folder(root / "test", SAMPLE_RATE)
    assert (problem.where, problem.what[:10]) == (root / "test" / "Track4", "holds none")


# The same audio twice


def test_the_same_stem_in_two_tracks_of_a_split(root: Path) -> None:
    for stem in ("bass", "piano"):
        shutil.copy(root / "train" / "Track1" / f"{stem}.wav", root / "train" / "Track2" / f"{stem}.wav")
    expected = "train/Track2: the same bass, piano as train/Track1; leave one of the two tracks out"
    assert the_problem(index(root), root) == expected


def test_the_same_stem_in_two_splits(root: Path) -> None:
    shutil.copy(root / "train" / "Track2" / "guitar.wav", root / "test" / "Track3" / "drums.wav")
    expected = "test/Track3: the same drums as train/Track2; leave one of the two tracks out"
    assert the_problem(index(root), root) == expected


def test_silence_is_nobodys(root: Path, write_track: WriteTrack) -> None:
    write_track(root / "train" / "Track1", {"piano": np.zeros((1, SAMPLE_RATE // 2), np.float32)})
    assert verify(index(root)).problems == ()


# In print


def printed(report: Report) -> str:
    stream = io.StringIO()
    print_report(report, Console(file=stream, width=80))
    return stream.getvalue()


def test_the_report_in_print(root: Path) -> None:
    splits = index(root)
    clean = printed(verify(splits))
    assert "Songs train" in clean and "Songs test" in clean and "-60 dBFS" in clean and "problems: 0" in clean
    assert all(short(split.manifest.digest) in clean for split in splits)
    expected = plant(root, "NaN")
    report = verify(splits)
    spoilt = printed(report)
    assert "problems: 1" in spoilt and expected in spoilt
    assert str(report.problems[0]) in spoilt.splitlines()


def test_paths_with_brackets_are_printed_as_they_are(tmp_path: Path, noise: Noise, write_track: WriteTrack) -> None:
    write_track(tmp_path / "test" / "[bold]Track", {"bass": np.concatenate([noise(0), noise(1)])})
    found = inspect_folder(tmp_path / "test", SAMPLE_RATE)
    assert "[bold]Track/bass.wav: 2 channels" in printed(Report((), tuple(found)))


def test_files_that_would_be_overlooked_are_problems_of_verify(
    tmp_path: Path, noise: Callable[..., audio.Samples], capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest cannot be made of such a folder; that must not end in no problems."""
    for track, names in {"a": ("bass.wav", "Piano.wav"), "b": ("bass.wav", "drums.flac", "mix.wav")}.items():
        (tmp_path / "data" / "test" / track).mkdir(parents=True)
        for n, name in enumerate(names):
            audio.write(tmp_path / "data" / "test" / track / name, noise(n), SAMPLE_RATE, "PCM_16")
    overrides = ["dataset=msdm_layout", f"data={tmp_path / 'data'}", f"cache={tmp_path / 'cache'}"]
    assert cli.main(["data", "verify", *overrides]) == 2
    said = capsys.readouterr()
    assert "problems: 2" in said.out and "a/Piano.wav" in said.out and "b/drums.flac" in said.out
