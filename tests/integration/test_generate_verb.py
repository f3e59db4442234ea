"""``gmsdi generate`` with the small model that ships, in a few steps."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cli
from gmsdi import SAMPLE_RATE, audio

FEW = ["generation.gmsdi-projected.sigmas.steps=10", "generation.bf16=false", "seconds=0.4", "device=cpu"]
ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def read(folder: Path) -> dict[str, audio.Samples]:
    found = {path.stem: audio.read(path) for path in folder.iterdir()}
    assert {rate for _, rate in found.values()} == {SAMPLE_RATE}
    return {name: samples for name, (samples, _) in found.items()}


def test_stems_and_their_mix_are_written_and_a_seed_is_a_piece_of_music(tmp_path: Path) -> None:
    for name, more in {"a": ["n=3"], "b": ["n=3", "batch_size=1"], "c": ["n=1", "seed=1"]}.items():
        assert cli.main(["generate", "prompt=bass, drums", *FEW, *more, f"out={tmp_path / name}"]) == 0
    found = read(tmp_path / "a" / "001")
    assert set(found) == {"bass", "drums", "mix"}
    assert found["mix"].shape == (1, round(0.4 * SAMPLE_RATE))
    np.testing.assert_allclose(found["mix"], found["bass"] + found["drums"], atol=1e-6)
    again = read(tmp_path / "b" / "001")
    np.testing.assert_allclose(again["mix"], found["mix"], atol=0.02 * np.abs(found["mix"]).max())
    assert not np.allclose(read(tmp_path / "a" / "000")["mix"], found["mix"], atol=0.01)
    assert not np.allclose(read(tmp_path / "c" / "000")["mix"], read(tmp_path / "a" / "000")["mix"], atol=0.01)


def test_stems_that_are_given_are_part_of_the_mix_as_they_are(
    tmp_path: Path, noise: Callable[..., audio.Samples]
) -> None:
    (tmp_path / "given").mkdir()
    audio.write(tmp_path / "given" / "guitar.wav", noise(0, 10_000), SAMPLE_RATE)
    given = ["prompt=bass", f"given={tmp_path / 'given'}", *FEW]
    assert cli.main(["generate", *given, f"out={tmp_path / 'out'}"]) == 0
    found = read(tmp_path / "out" / "000")
    assert set(found) == {"bass", "guitar", "mix"}
    np.testing.assert_allclose(found["guitar"], noise(0, 10_000)[:, : found["guitar"].shape[1]], atol=1e-6)
    np.testing.assert_allclose(found["mix"], found["bass"] + found["guitar"], atol=1e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["prompt=bas"], "'bas' is no stem; did you mean bass"),
        (["prompt="], "nothing to generate"),
        (["n=0"], "nothing to generate"),
        (["given=nowhere"], "nowhere: holds no STEM.wav"),
        (["seed=x"], "seed"),
        (["weights.gmsdi=gone.safetensors"], "gone.safetensors: no such checkpoint"),
        (["generation.gmsdi.gidance=2"], "generation.gmsdi.guidance"),
        (["seconds=nan"], "seconds=nan: give a number"),
        (["generation.gmsdi-projected.sampler.renoise=2"], "renoise from 0 to 1"),
        (["generation.gmsdi-projected.sigmas.steps=0"], "one step at least"),
        (["generation.gmsdi-projected.coupling.trusted=0"], "trusted is 0; it must be above 0"),
    ],
)
def test_what_cannot_be_generated_is_one_line(
    tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["generate", *FEW, f"out={tmp_path / 'out'}", *words]) == 4
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_given_stems_that_do_not_fit_and_finished_work_are_refused(
    tmp_path: Path, noise: Callable[..., audio.Samples], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "given").mkdir()
    audio.write(tmp_path / "given" / "bass.wav", noise(0, 3_000), SAMPLE_RATE)
    given = [*FEW, f"given={tmp_path / 'given'}", f"out={tmp_path / 'out'}"]
    assert cli.main(["generate", "prompt=drums", *given]) == 4
    assert "0.14 s are too short" in capsys.readouterr().err
    assert cli.main(["generate", "prompt=bass, drums", *given]) == 4
    assert "take bass out of prompt" in capsys.readouterr().err
    (tmp_path / "out" / "000").mkdir(parents=True)
    assert cli.main(["generate", "prompt=drums", *FEW, f"out={tmp_path / 'out'}"]) == 4
    assert "exists already" in capsys.readouterr().err
