"""Files that are replaced while a run goes on: nothing that was made from others is kept under the identity of the plan."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import cli
from benchmarks.store.store import Store
from gmsdi import SAMPLE_RATE, STEMS, audio, files
from gmsdi.errors import BadInputError, IntegrityError
from gmsdi.system import Batch, Separator

CHUNK = SAMPLE_RATE // 2
SONGS = 3


class Replacing(Separator):
    """The mixture. On the way it gives the file ``old`` the content of the file ``new``."""

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = Path(old), Path(new)

    @classmethod
    def identify(cls, **arguments: Any) -> dict[str, Any]:
        return {}

    def separate(self, batch: Batch) -> torch.Tensor:
        if self.new.is_file():
            self.new.replace(self.old)
        return batch.mixtures[:, None].repeat(1, len(STEMS), 1)


class Gain(Separator):
    """The mixture times the number in a file, which it reads in its own way; ``late``: only when it is at work."""

    def __init__(self, weights: Path | str, late: bool = False, replaced_by: str = "") -> None:
        self.weights, self.late, self.new = Path(weights), late, Path(replaced_by or "/nowhere")
        self.gain = None if late else float(self.weights.read_text())

    @classmethod
    def identify(cls, **arguments: Any) -> dict[str, Any]:
        return {"weights": files.by_content(arguments["weights"])}

    def separate(self, batch: Batch) -> torch.Tensor:
        gain = float(self.weights.read_text()) if self.gain is None else self.gain
        if self.new.is_file():
            self.new.replace(self.weights)
        return gain * batch.mixtures[:, None].repeat(1, len(STEMS), 1)


@pytest.fixture
def run(tmp_path: Path, noise: Callable[..., audio.Samples], write_track: Callable[..., None]) -> Callable[..., int]:
    """``run(OVERRIDE, …)``: the exit code of a run on three songs, first a system that replaces a file, then ``wanted``."""
    for t in range(SONGS):
        write_track(tmp_path / "data" / "test" / f"T{t}", {stem: noise(10 * t + k) for k, stem in enumerate(STEMS)})
    (tmp_path / "weights").write_text("0.5")

    def go(*overrides: str, verb: str = "run") -> int:
        return cli.main(
            [
                *(
                    verb,
                    "dataset=msdm_layout",
                    "device=cpu",
                    f"protocol.chunk={CHUNK}",
                    "system=[]",
                    "table.baseline=wanted",
                ),
                *("metrics.si_sdri.window=0.2", "metrics.si_sdri.hop=0.1"),
                *(f"{name}={tmp_path / name}" for name in ("data", "cache", "store", "out")),
                *overrides,
            ]
        )

    return go


def system(name: str, target: str, **arguments: object) -> str:
    given = ", ".join(f"{key}: {value}" for key, value in arguments.items())
    return f"+systems.{name}={{label: {name}, separator: {{_target_: {target}, {given}}}}}"


def units_of(root: Path, name: str) -> list[str]:
    """The ids of the recorded units of a system, by its name in their sidecars."""
    store = Store(root / "store").refresh()
    sidecars = {unit: json.loads((store.audio_folder(unit) / "unit.json").read_text()) for unit in store.outputs}
    return [unit for unit, sidecar in sidecars.items() if sidecar["name"] == name]


@pytest.mark.parametrize("late", [False, True])
def test_weights_that_were_replaced_before_they_were_loaded(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], late: bool
) -> None:
    weights, new, old = tmp_path / "weights", tmp_path / "new", tmp_path / "old"
    new.write_text("0.25")
    old.write_text("0.5")
    wanted = system("wanted", "test_pins.Gain", weights=weights, late=str(late).lower())
    assert run(system("first", "test_pins.Replacing", old=weights, new=new), wanted) == 2
    said = capsys.readouterr().err
    assert f"error: wanted: {weights}: is not the file any more that the run was planned with" in said
    assert "excerpts failed" in said.splitlines()[-1]
    assert len(units_of(tmp_path, "first")) == SONGS and units_of(tmp_path, "wanted") == []
    old.replace(weights)  # put back: now it runs, and each output is half the mixture
    assert run(wanted) == 0
    store = Store(tmp_path / "store").refresh()
    halves = {unit: store.audio_folder(unit) / "bass.wav" for unit in units_of(tmp_path, "wanted")}
    peaks = sorted(abs(audio.read(path)[0]).max() for path in halves.values())
    wholes = sorted(
        abs(audio.read(store.audio_folder(unit) / "bass.wav")[0]).max() for unit in units_of(tmp_path, "first")
    )
    assert peaks == pytest.approx([whole / 2 for whole in wholes], rel=1e-6)


def test_weights_that_are_replaced_while_it_is_at_work(run: Callable[..., int], tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.write_text("0.25")
    wanted = system("wanted", "test_pins.Gain", weights=tmp_path / "weights", replaced_by=new)
    assert run(wanted, "batch_size=2") == 2
    assert units_of(tmp_path, "wanted") == []  # not even the first batch, whose gain was right: nobody can know


def test_files_that_are_replaced_by_equal_ones_after_loading_do_no_harm(
    run: Callable[..., int], tmp_path: Path
) -> None:
    new = tmp_path / "new"
    new.write_text("0.5")
    wanted = system("wanted", "test_pins.Gain", weights=tmp_path / "weights", replaced_by=new)
    assert run(wanted) == 0
    assert len(units_of(tmp_path, "wanted")) == SONGS


@pytest.mark.parametrize("launcher", ["local", "processes"])
@pytest.mark.parametrize("what", ["overwritten", "removed", "added"])
def test_estimates_that_change_in_mid_run(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, launcher: str
) -> None:
    estimates = tmp_path / "estimates"
    for t in range(SONGS - 1):
        for stem in STEMS:
            (estimates / f"T{t}").mkdir(parents=True, exist_ok=True)
            samples = audio.read(tmp_path / "data" / "test" / f"T{t}" / f"{stem}.wav")[0]
            audio.write(estimates / f"T{t}" / f"{stem}.wav", samples, SAMPLE_RATE)
    new, old = tmp_path / "new.wav", estimates / "T1" / "drums.wav"
    audio.write(new, audio.read(estimates / "T0" / "bass.wav")[0], SAMPLE_RATE)
    if what == "added":
        old = estimates / "T1" / "drums.flac"
    elif what == "removed":
        new, old = old, tmp_path / "elsewhere.wav"
    wanted = system("wanted", "baselines.folder.FolderEstimates", estimates=estimates)
    first = system("first", "test_pins.Replacing", old=old, new=new)
    more = ["launcher.workers=1"] if launcher == "processes" else []
    assert run(first, wanted, f"launcher={launcher}", *more) == (4 if what == "added" else 2)
    store = Store(tmp_path / "store").refresh()
    sidecars = [
        json.loads((store.audio_folder(unit) / "unit.json").read_text()) for unit in units_of(tmp_path, "wanted")
    ]
    assert {sidecar["track"] for sidecar in sidecars} == ({"T0"} if what == "added" else set())
    assert len(store.scores) == SONGS + len(sidecars)


def test_a_file_is_compared_as_it_is_read(tmp_path: Path) -> None:
    """Whatever the file was a moment ago: the bytes that are parsed are the bytes that are hashed."""
    path = tmp_path / "a.wav"
    audio.write(path, torch.zeros(1, 100).numpy(), SAMPLE_RATE)
    with files.noted() as pins:
        files.sha256(path)
    with files.pinned(pins):
        audio.read(path)
        audio.write(path, torch.ones(1, 100).numpy(), SAMPLE_RATE)
        with pytest.raises(IntegrityError, match="is not the file any more"):
            audio.read(path)
        audio.write(tmp_path / "b.wav", torch.ones(1, 100).numpy(), SAMPLE_RATE)
        with pytest.raises(IntegrityError, match="was not there when the run was planned"):
            audio.read(tmp_path / "b.wav")
    audio.read(path)
    with pytest.raises(IntegrityError):
        files.verify(pins)
    path.unlink()
    with pytest.raises(IntegrityError):
        files.verify(pins)


def test_links_that_lead_in_a_circle_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").symlink_to(tmp_path / "a")
    with pytest.raises(BadInputError, match="a link to a folder above it"):
        files.content(tmp_path)
