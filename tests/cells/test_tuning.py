"""`gmsdi tune`: every combination is a system of its own, measured on the validation split, and the best is written down."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from baselines.bounds import Mixture
from benchmarks import cli
from benchmarks.cells import tuning
from benchmarks.store.store import Store
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError


@pytest.fixture
def overrides(tmp_path: Path) -> list[str]:
    """Noise in MSDM's layout: four songs to validate on; those of the test split are no audio at all."""
    rng = np.random.default_rng(0)
    for song in ("Track1", "Track2", "Track3", "Track4"):
        for split in ("validation", "test"):
            (tmp_path / "songs" / split / song).mkdir(parents=True)
        for level, stem in enumerate(STEMS, 1):
            noise = 0.02 * level * rng.standard_normal((1, 4 * SAMPLE_RATE), dtype=np.float32)
            audio.write(tmp_path / "songs" / "validation" / song / f"{stem}.wav", noise, SAMPLE_RATE)
            (tmp_path / "songs" / "test" / song / f"{stem}.wav").write_bytes(b"must not be read")
    places = [
        f"{key}={tmp_path / name}"
        for key, name in {"data": "songs", "store": "store", "cache": "cache", "out": "out"}.items()
    ]
    windows = ["metrics.si_sdri.window=1.0", "metrics.si_sdri.hop=0.5"]
    return ["dataset=msdm_layout", "dataset.title=Noise", *places, "protocol.chunk=22050", *windows]


class Half(Mixture):
    """Separates two stems only."""

    @classmethod
    def stems(cls, **arguments: object) -> tuple[str, ...]:
        return STEMS[:2]


MASKS = [
    "system=[oracle-irm]",
    "systems.oracle-irm.separator.window=512,2048",
    "systems.oracle-irm.separator.power=0.2,2.0",
]


def test_all_combinations_are_measured_and_the_best_is_written(overrides: list[str], tmp_path: Path) -> None:
    assert cli.main(["tune", *overrides, *MASKS, "tuned=masks"]) == 0
    found = yaml.safe_load((tmp_path / "out" / "masks.yaml").read_text())
    assert [row["row"] for row in found["rows"]] == [
        f"oracle-irm window={window} power={power}" for window in (512, 2048) for power in (0.2, 2.0)
    ]
    values = [row["all"] for row in found["rows"]]
    assert len(set(values)) == 4
    best = found["rows"][int(np.argmax(values))]
    assert found["chosen"] == {"row": best["row"], "overrides": best["overrides"]}
    assert "power=2.0" in found["chosen"]["row"]  # a flat mask separates less
    assert found["on"]["dataset"] == "Noise validation"
    assert found["by"]["command"].startswith("gmsdi tune dataset=msdm_layout")
    assert len({row["system"] for row in found["rows"]}) == 4
    assert (tmp_path / "out" / "masks.md").read_text().count("oracle-irm window=") >= 4


def test_the_chosen_overrides_make_the_chosen_system(overrides: list[str], tmp_path: Path) -> None:
    cli.main(["tune", *overrides, *MASKS, "tuned=masks"])
    found = yaml.safe_load((tmp_path / "out" / "masks.yaml").read_text())
    store = Store(tmp_path / "store").refresh()
    before = len(store.outputs)
    chosen = found["chosen"]["overrides"]
    assert cli.main(["run", *overrides, "system=[oracle-irm]", "split=validation", *chosen]) == 0
    assert len(store.refresh().outputs) == before  # it was stored like any run


def test_without_a_sweep_each_system_is_a_row_and_each_stem_has_its_best(overrides: list[str], tmp_path: Path) -> None:
    assert cli.main(["tune", *overrides, "system=[mixture,oracle-irm]"]) == 0
    found = yaml.safe_load((tmp_path / "out" / "mixture+oracle-irm.yaml").read_text())
    assert found["choice"] == dict.fromkeys(STEMS, "oracle-irm")


def test_a_row_without_all_stems_is_never_chosen(
    overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = "+systems.half={label: Half, separator: {_target_: test_tuning.Half}}"
    assert cli.main(["tune", *overrides, "system=[silence]", half, "tuned=two"]) == 0
    found = yaml.safe_load((tmp_path / "out" / "two.yaml").read_text())
    assert {found["chosen"]["row"], *found["choice"].values()} == {"silence"}
    assert cli.main(["tune", *overrides, "system=[]", half, "tuned=one"]) == 2
    assert "no combination has all stems" in capsys.readouterr().err
    assert not (tmp_path / "out" / "one.yaml").exists()


def test_test_data_are_refused(overrides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tune", *overrides, *MASKS, "split=test"]) == 4
    assert "split=test: settings are chosen on validation alone" in capsys.readouterr().err


def test_a_sweep_is_told_from_what_is_fixed() -> None:
    sweep = tuning.read_sweep(["a.b=1,2", "c=[x,y]", "d={e:1}", "f=p,q"])
    assert sweep.fixed == ("c=[x,y]", "d={e:1}", "split=validation")
    assert sweep.combinations == [("a.b=1", "f=p"), ("a.b=1", "f=q"), ("a.b=2", "f=p"), ("a.b=2", "f=q")]
    with pytest.raises(BadInputError, match="split=train"):
        tuning.read_sweep(["split=train"])


def test_a_key_that_is_new_can_be_swept() -> None:
    sweep = tuning.read_sweep(["+sampling.new=1,2", "seed=3"])
    assert sweep.swept == (("+sampling.new=1", "+sampling.new=2"),)


def test_keys_that_end_alike_are_told_apart() -> None:
    keys = [f"generation.gmsdi.coupling.{side}.factor=1,4" for side in ("gamma_sources", "gamma_mixture")]
    _, rows = tuning.compose(tuning.read_sweep(["table=subfad-tune", *keys]))
    assert list(rows) == [
        f"gmsdi-generator gamma_sources.factor={sources} gamma_mixture.factor={mixture}"
        for sources in (1, 4)
        for mixture in (1, 4)
    ]
