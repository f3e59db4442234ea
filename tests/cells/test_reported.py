"""The published figures are consistent with each other, so no digit was mistyped on the way here."""

from typing import Any

import pytest
import yaml

from benchmarks.cells.reported import REPORTED
from gmsdi import STEMS

SEPARATION = yaml.safe_load((REPORTED / "separation.yaml").read_text())
ROWS: dict[str, dict[str, Any]] = {row["label"]: row for row in SEPARATION["rows"]}


@pytest.mark.parametrize("label", ROWS)
def test_all_is_the_mean_of_the_stems(label: str) -> None:
    """Five figures rounded to 0.01 dB, each by 0.005 dB at most."""
    row = ROWS[label]
    assert row["all"] == pytest.approx(sum(row[stem] for stem in STEMS) / len(STEMS), abs=0.0101)


def test_the_ensemble_takes_the_better_of_separator_and_extractor_for_each_stem() -> None:
    better = {stem: max(ROWS[f"GMSDI {half}"][stem] for half in ("Separator", "Extractor")) for stem in STEMS}
    assert {stem: ROWS["GMSDI Ensemble"][stem] for stem in STEMS} == better


@pytest.mark.parametrize("label", ROWS)
def test_a_row_says_where_it_is_from_and_how_it_is_known(label: str) -> None:
    assert "ICASSP 2024" in ROWS[label]["citation"] and ROWS[label]["known"]


def test_the_rows_are_those_of_the_paper() -> None:
    assert len(ROWS) == len(SEPARATION["rows"]) == 6
    assert (SEPARATION["dataset"], SEPARATION["split"]) == ("Slakh2100", "test")
