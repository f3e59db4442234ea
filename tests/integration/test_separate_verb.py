"""``gmsdi separate`` on real files: stems that lie under the song, and one line for everything that can be wrong with one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from systems import Slow

from benchmarks import cli
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.song import CHUNK
from gmsdi.system import Batch

MIXTURE = ["system=mixture", "device=cpu"]


class Faulty(Slow):
    """Raises what it is told to for a song that is called ``bad``."""

    ERRORS = (RuntimeError("it broke"), KeyboardInterrupt(), OSError(28, "disk full"))

    def __init__(self, error: int) -> None:
        super().__init__()
        self.error = self.ERRORS[error]

    @classmethod
    def identify(cls, **arguments: Any) -> dict[str, Any]:
        return {}

    def separate(self, batch: Batch) -> torch.Tensor:
        if "bad" in batch.tracks:
            raise self.error
        return super().separate(batch)


class Large(Slow):
    """Has memory for two chunks at a time."""

    def separate(self, batch: Batch) -> torch.Tensor:
        if len(batch.seeds) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")
        return super().separate(batch)


def system(name: str, **arguments: object) -> list[str]:
    given = [f"separator.{key}={value}" for key, value in arguments.items()]
    return ["system=[]", *(f"+systems.x.{entry}" for entry in ["label=X", f"separator._target_={name}", *given])]


@pytest.fixture
def song(tmp_path: Path, noise: Callable[..., audio.Samples]) -> Path:
    """Three quarters of a second of quiet noise."""
    audio.write(tmp_path / "song.wav", noise(0, 16_000), SAMPLE_RATE)
    return tmp_path / "song.wav"


@pytest.fixture
def separate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str], list[str]]]:
    """``separate(*words)``: the exit code of ``gmsdi separate`` into tmp_path/out, the files that it printed, and the errors."""

    def run(*words: object) -> tuple[int, list[str], list[str]]:
        capsys.readouterr()
        code = cli.main(["separate", *map(str, words), f"out={tmp_path / 'out'}"])
        said = capsys.readouterr()
        return code, said.out.splitlines(), [line for line in said.err.splitlines() if line.startswith("error: ")]

    return run


def stems(folder: Path) -> tuple[audio.Samples, int]:
    """The stems ``[K, T]`` in a folder that holds nothing else, and their rate."""
    assert {path.name for path in folder.iterdir()} == {f"{stem}.wav" for stem in STEMS}
    found = [audio.read(folder / f"{stem}.wav") for stem in STEMS]
    (rate,) = {rate for _, rate in found}
    return np.concatenate([samples for samples, _ in found]), rate


# Songs


def test_a_stereo_song_at_48_khz_becomes_stems_that_lie_under_it(tmp_path, separate) -> None:
    seconds = np.arange(15 * 48_000 + 7) / 48_000  # two chunks
    waves = [0.2 * np.sin(2 * np.pi * hertz * seconds) * np.hanning(len(seconds)) for hertz in (440, 5000)]
    stereo = np.stack(waves).astype(np.float32)
    audio.write(tmp_path / "My song [live].flac", stereo, 48_000, "PCM_24")
    code, printed, errors = separate(tmp_path / "My song [live].flac", *MIXTURE)
    folder = tmp_path / "out" / "My song [live]"
    assert (code, printed, errors) == (0, [str(folder / f"{stem}.wav") for stem in STEMS], [])
    estimates, rate = stems(folder)
    assert rate == 48_000
    np.testing.assert_allclose(estimates, np.repeat(stereo.mean(axis=0)[None], 4, axis=0), rtol=0, atol=1e-4)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_silence_comes_out_of_silence(tmp_path, separate) -> None:
    audio.write(tmp_path / "rest.wav", np.zeros((2, 100), np.float32), 44_100)
    assert separate(tmp_path / "rest.wav", *MIXTURE)[0] == 0
    np.testing.assert_array_equal(stems(tmp_path / "out" / "rest")[0], np.zeros((4, 100)))


def test_the_same_song_and_seed_give_the_same_bytes(tmp_path, separate, noise) -> None:
    audio.write(tmp_path / "song.wav", noise(0, 2 * CHUNK), SAMPLE_RATE)
    found = []
    for words in (["batch_size=1"], ["batch_size=8"], ["seed=1"]):
        assert separate(tmp_path / "song.wav", *system("systems.Slow"), *words)[0] == 0
        found.append([(tmp_path / "out" / "song" / f"{stem}.wav").read_bytes() for stem in STEMS])
        shutil.rmtree(tmp_path / "out")
    assert found[0] == found[1] != found[2]


def test_a_file_whose_name_reads_like_an_override_can_be_separated(song, separate, monkeypatch) -> None:
    monkeypatch.chdir(song.parent)
    song.rename("seed=7.wav")
    assert separate("seed=7.wav", *MIXTURE)[0] == 4
    assert separate("./seed=7.wav", *MIXTURE)[0] == 0
    assert stems(song.parent / "out" / "seed=7")[0].shape == (4, 16_000)


def test_without_out_the_stems_go_to_a_folder_of_results(song, monkeypatch) -> None:
    monkeypatch.chdir(song.parent)
    assert cli.main(["separate", "song.wav", *MIXTURE]) == 0
    stems(Path("results/separated/song"))


# Songs that cannot be had


def test_what_is_wrong_with_a_song_is_one_line_and_the_others_are_done(tmp_path, song, separate, noise) -> None:
    samples = noise(1)
    samples[0, 100] = np.nan
    audio.write(tmp_path / "nan.wav", samples, SAMPLE_RATE)
    (tmp_path / "short.wav").write_bytes(song.read_bytes()[:-4])
    (tmp_path / "text.flac").write_text("no music")
    (tmp_path / "folder.wav").mkdir()
    shutil.copy(song, tmp_path / "old.wav")
    (tmp_path / "out" / "old").mkdir(parents=True)
    files = [
        tmp_path / f"{name}" for name in ("nan.wav", "short.wav", "text.flac", "folder.wav", "none.wav", "old.wav")
    ]
    code, printed, errors = separate(*files, song, *MIXTURE)
    assert (code, len(printed)) == (4, 4)
    assert stems(tmp_path / "out" / "song")[0].shape == (4, 16_000)
    for file, what in zip(files, ("NaN", "truncated", "decoded", "folder", "no such", "exists already"), strict=True):
        assert len([line for line in errors if line.startswith(f"error: {file}: ") and what in line]) == 1
    assert errors[-1] == "error: 6 of 7 songs failed, see above; mend the input" and len(errors) == 7
    assert not any((tmp_path / "out" / "old").iterdir())


def test_two_songs_for_one_folder_are_refused_before_either_is_separated(tmp_path, song, separate) -> None:
    other = tmp_path / "other" / "song.flac"
    code, _, errors = separate(song, other, *MIXTURE)
    assert (code, len(errors)) == (4, 1)
    assert str(song) in errors[0] and str(other) in errors[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "system=NAME"),
        (["system=[]"], "not by 0 (none)"),
        (["system=[mixture,silence]"], "not by 2 (mixture, silence)"),
        (["system=oracle-irm"], "oracle"),
        (system("gmsdi.ensemble.Mean", of="mixture", samples=2), "does not separate songs by itself"),
        (system("nowhere.Nothing"), "nowhere"),
        (["system=folder"], "estimates=DIR"),
        (["system=mixtur"], "did you mean mixture"),
        (["system=mixture", "batch_size=0"], "batch_size=0"),
        (["system=mixture", "sede=1"], "did you mean seed"),
        (["system=mixture", "device=tpu9"], "device=tpu9"),
    ],
)
def test_what_cannot_separate_a_song_is_refused(tmp_path, song, separate, words, said) -> None:
    code, printed, errors = separate(song, *words)
    assert (code, printed, len(errors)) == (4, [], 1)
    assert said in errors[0]
    assert not (tmp_path / "out").exists()


def test_there_must_be_a_file(separate) -> None:
    assert separate(*MIXTURE) == (4, [], ["error: there is nothing to separate: give at least one FILE"])


def test_a_system_that_has_nothing_of_a_song_says_so(tmp_path, song, separate, noise, write_track) -> None:
    write_track(tmp_path / "estimates" / "another", {stem: noise(k) for k, stem in enumerate(STEMS)})
    code, _, errors = separate(song, "system=folder", f"estimates={tmp_path / 'estimates'}")
    assert code == 4
    assert errors[0] == f"error: {song}: the system has nothing of a song song"


def test_a_place_that_cannot_be_written_to_is_refused_before_anything_is_computed(tmp_path, song, separate) -> None:
    (tmp_path / "out").write_text("in the way")
    log = tmp_path / "log"
    code, _, errors = separate(song, *system("systems.Slow", log=log))
    assert (code, len(errors)) == (4, 1)
    assert f"{tmp_path / 'out'}: cannot be written to" in errors[0]
    assert not log.exists()


def test_a_batch_that_is_too_large_can_be_made_smaller(tmp_path, separate, noise) -> None:
    song = tmp_path / "song.wav"
    audio.write(song, noise(0, 2 * CHUNK), SAMPLE_RATE)  # three chunks
    words = [song, *system("test_separate_verb.Large"), "device=cpu", "batch_size=8"]
    code, _, errors = separate(*words)
    assert code == 4
    assert errors[0] == f"error: {song}: cpu has no memory for 8 chunks at a time; give a smaller batch_size=…"
    assert separate(*words[:-1], "batch_size=2")[0] == 0


# What is no fault of a song


@pytest.mark.parametrize(
    ("error", "code", "said", "done"),
    [
        (0, 70, ["bad.wav: RuntimeError: it broke", "defect"], ["last", "song"]),
        (1, 130, ["interrupted"], ["song"]),
        (2, 4, ["disk full; what was finished is kept"], ["song"]),
    ],
)
def test_what_was_finished_is_kept_and_nothing_half_done(tmp_path, song, separate, error, code, said, done) -> None:
    for name in ("bad.wav", "last.wav"):
        shutil.copy(song, tmp_path / name)
    files = [song, tmp_path / "bad.wav", tmp_path / "last.wav"]
    found, _, errors = separate(*files, *system("test_separate_verb.Faulty", error=error), "device=cpu")
    assert found == code
    assert len(errors) == len(said) and all(part in line for part, line in zip(said, errors, strict=True))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == done
    for name in done:
        stems(tmp_path / "out" / name)
