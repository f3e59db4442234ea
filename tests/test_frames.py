"""Frames of a real run: what pandas makes of windows and songs is what the table says, and a wrong source is named in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import cli
from benchmarks.cells.stats import TrackStatistics
from benchmarks.frames import Results, results
from benchmarks.identity import canonical, digest, short
from benchmarks.metrics.bsseval import BSSEval
from benchmarks.metrics.si_sdr import SILENT, SiSDR
from benchmarks.run.score import from_json
from benchmarks.store.journal import Journal
from benchmarks.store.store import Store
from gmsdi import STEMS
from gmsdi.errors import BadInputError, IntegrityError

CHUNK = 11_025
TRACKS = {"Track00001": 34_000, "Track00002": 12_000, "Track00003": 23_000}
"""Three chunks, one, two."""
SYSTEMS = ["mixture", "silence", "folder"]
FACTS = ["name", "label", "system", "column", "signature", "song", "given"]
LINE = ["name", "signature", "song", "stem"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, write_track: Callable[..., Path]) -> Path:
    """Songs of noise, in some windows of which a stem is silent; estimates that are silent, too; and both tables of their scores."""
    folder = tmp_path_factory.mktemp("frames")
    for t, (track, frames) in enumerate(TRACKS.items()):
        rng = np.random.default_rng(t)
        stems = rng.normal(0, 0.05, (len(STEMS), frames)).astype(np.float32)
        stems[t, : frames // 2] = 0
        stems[3] *= t > 0  # Track00001 has no piano
        for kind, written in (("data/test", stems), ("estimates", np.zeros_like(stems))):
            write_track(folder / kind / track, dict(zip(STEMS, written[:, None], strict=True)))
    for verb in ("run", "table"):
        assert cli.main([verb, *overrides(folder, *SI_SDRI)]) == 0
        assert cli.main([verb, "table=bsseval", *overrides(folder, *BSSEVAL)]) == 0
    return folder


SI_SDRI = ("metric=[si_sdri,sdr]", "metrics.si_sdri.window=0.2", "metrics.si_sdri.hop=0.1")
BSSEVAL = ("metric=[bsseval]", "metrics.bsseval.window=0.25", "metrics.bsseval.hop=0.25", "metrics.bsseval.filters=8")


def overrides(home: Path, *others: str) -> list[str]:
    return [
        "dataset=msdm_layout",
        f"data={home / 'data'}",
        f"cache={home / 'cache'}",
        f"store={home / 'store'}",
        f"out={home}",
        f"estimates={home / 'estimates'}",
        f"system=[{','.join(SYSTEMS)}]",
        f"protocol.chunk={CHUNK}",
        "device=cpu",
        *others,
    ]


@pytest.fixture(scope="module", params=["separation", "bsseval"])
def found(request: pytest.FixtureRequest, home: Path) -> Results:
    """Of a table whose cells are means of windows, and of one whose cells are medians of songs."""
    return results(home / f"{request.param}.json", store=home / "store")


CELL = ["name", "signature", "stem"]


def measured(found: Results, of: str = "value") -> dict:
    """The table's own cells by name, signature and column."""
    cells = found.cells[found.cells["kind"] == "measured"]
    return dict(zip(zip(cells["name"], cells["signature"], cells["column"], strict=True), cells[of], strict=True))


def with_all(stems: pd.Series) -> dict:
    """Cells of the stems, and the mean of them as a table has it: undefined if one is."""
    wide = stems.unstack("stem")
    together = {(*row, "all"): value for row, value in wide.mean(axis=1, skipna=False).items()}
    return stems.to_dict() | together


def same(found: dict, expected: dict) -> None:
    """Sums of some tens of numbers, of some tens of dB, in another order: some 1e3 roundings of 1e2, 2e-16 each."""
    assert found.keys() == expected.keys() and len(found) > 0
    np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), rtol=0, atol=1e-10)


# What the numbers are


def test_the_cells_are_the_json(home: Path, found: Results) -> None:
    content = json.loads((home / f"{found.table.name}.json").read_text())
    values = [cell["value"] for row in content["rows"] for cells in row["cells"] for cell in cells]
    ours = found.cells[found.cells["kind"] == "measured"]
    assert ours["value"].replace({np.nan: None}).tolist() == values
    assert ours["units"].map(list).tolist() == [r["units"] for r in content["rows"] for c in r["cells"] for _ in c]


def test_means_of_windows_are_the_cells(home: Path) -> None:
    found = results(home / "separation.json", store=home / "store")
    same(with_all(found.windows.groupby(CELL)["value"].mean()), measured(found))


def test_songs_weighted_by_their_windows_are_the_cells(home: Path) -> None:
    found = results(home / "separation.json", store=home / "store")
    sums = found.songs.assign(total=found.songs["value"] * found.songs["windows"]).groupby(CELL)
    same(with_all(sums["total"].sum() / sums["windows"].sum()), measured(found))


def test_medians_of_songs_are_the_cells(home: Path) -> None:
    found = results(home / "bsseval.json", store=home / "store")
    medians = found.windows.groupby([*CELL, "song"])["value"].median()
    same(medians.to_dict(), found.songs.set_index([*CELL, "song"])["value"].to_dict())
    same(with_all(medians.groupby(CELL).median()), measured(found))


def test_windows_of_the_cells_are_those_that_are_defined(found: Results) -> None:
    counts = found.songs.groupby(CELL)["windows"].sum().to_dict()
    cells = measured(found, "windows")
    assert counts == {key: count for key, count in cells.items() if key[2] != "all"} and sum(counts.values()) > 0
    assert sum(counts.values()) == sum(count for key, count in cells.items() if key[2] == "all")


def test_songs_are_the_statistics_of_tracks(home: Path, found: Results) -> None:
    store = Store(home / "store").refresh()
    metric = SiSDR if found.table.name == "separation" else BSSEval
    for row in found.table.rows:
        for key in row.scores:
            record = store.scores[key]
            for column, content in record["columns"].items():
                tracks = TrackStatistics.of([from_json(content)], metric.pooling)
                songs = found.songs[
                    (found.songs[["name", "song", "column"]] == [row.name, record["track"], column]).all(axis=1)
                ]
                assert songs["stem"].tolist() == list(STEMS)
                np.testing.assert_array_equal(songs["value"], tracks.cells()[:-1])


def test_what_is_undefined_says_why_and_nothing_else_does(found: Results) -> None:
    for frame in (found.windows, found.songs):
        assert (frame["value"].isna() == (frame["reason"] != "")).all()
    assert found.windows["value"].isna().any()
    assert (found.songs["value"].isna() == (found.songs["windows"] == 0)).all()
    if found.table.name == "separation":
        piano = found.songs.query("song == 'Track00001' and stem == 'piano' and column == 'active'")
        assert piano["reason"].tolist() == [SILENT] * len(SYSTEMS)


# What they are of


def test_systems_of_equal_outputs_have_lines_each(home: Path) -> None:
    """They are scored once by each of three metrics. All chunks of silence are equal, too, so that outputs do not tell songs apart."""
    found = results(home / "separation.json", store=home / "store")
    assert len(Store(home / "store").refresh().scores) == 2 * len(TRACKS) * 3
    silence, folder = (found.windows[found.windows["name"] == name] for name in ("silence", "folder"))
    assert silence["outputs"].tolist() == folder["outputs"].tolist()
    np.testing.assert_array_equal(silence["value"], folder["value"])
    assert set(silence["system"]) != set(folder["system"])
    assert set(folder["system"]) == set(found.cells.query("name == 'folder'")["system"])


def test_only_what_the_table_shows_is_there(home: Path, found: Results) -> None:
    """The store holds scores of ``sdr``, too, and both tables'."""
    groups = {group.signature for group in found.table.groups}
    assert set(found.windows["signature"]) == set(found.songs["signature"]) == groups
    assert set(results(home / "store").windows["signature"]) > groups


def test_a_store_alone_has_everything_under_the_names_of_its_audio(home: Path, tmp_path: Path) -> None:
    alone = results(home / "store")
    assert set(alone.windows["name"]) <= set(SYSTEMS) and "mixture" in set(alone.windows["name"])
    assert set(alone.windows["song"]) == set(TRACKS)
    store = shutil.copytree(home / "store", tmp_path / "store")
    shutil.rmtree(store / "audio")
    assert set(results(store).songs["name"]) == set(alone.songs["name"])
    shutil.rmtree(store / "systems")
    bare = results(store)
    assert set(bare.songs["name"]) == set(map(short, bare.songs["system"]))
    assert bare.songs["value"].equals(alone.songs["value"])
    with pytest.raises(BadInputError, match="a store alone has no cells"):
        _ = bare.cells


def test_two_systems_of_one_name_are_told_apart(home: Path, tmp_path: Path) -> None:
    store = shutil.copytree(home / "store", tmp_path / "store")
    for path in (store / "systems").iterdir():
        content = json.loads(path.read_text()) | {"name": "same"}
        del content["sha256"]
        path.write_text(canonical(content | {"sha256": digest(content)}))
    songs = results(store).songs
    assert songs["name"].nunique() == songs["system"].nunique() > 1
    assert all(f"same {short(system)}" == name for name, system in zip(songs["name"], songs["system"], strict=True))


def test_types_and_order(found: Results) -> None:
    last = ["run", "units", "outputs"]
    assert list(found.windows) == [*FACTS, "stem", "window", "value", "reason", *last]
    assert list(found.songs) == [*FACTS, "stem", "windows", "value", "reason", *last]
    for frame in (found.windows, found.songs):
        for name in (*FACTS, "stem", "reason", "run"):
            assert isinstance(frame[name].dtype, pd.CategoricalDtype) and frame[name].cat.categories.dtype == "str"
        assert frame["value"].dtype == np.float64
        assert all(isinstance(each, tuple) for name in ("units", "outputs") for each in frame[name])
        assert list(frame["name"].cat.categories) == [row.name for row in found.table.rows]
        assert list(frame["stem"].cat.categories) == list(STEMS)
        assert list(frame["signature"].cat.categories) == [group.signature for group in found.table.groups]
    assert (found.windows["window"].dtype, found.songs["windows"].dtype) == (np.int64, np.int64)
    assert not found.songs.duplicated(LINE).any() and not found.windows.duplicated([*LINE, "window"]).any()


def test_a_table_alone_has_cells(home: Path) -> None:
    alone = results(home / "separation.json")
    assert len(alone.cells) > 0 and "Source separation" in repr(alone)
    with pytest.raises(BadInputError, match="for songs and windows give store=DIR"):
        _ = alone.windows


# What is wrong


def refused(error: type[Exception], said: str, *source: Path) -> None:
    with pytest.raises(error, match=said) as caught:
        results(*source)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_named(home: Path, tmp_path: Path) -> None:
    refused(BadInputError, r"gone\.json: cannot be read \(No such file", tmp_path / "gone.json")
    refused(BadInputError, r"separation\.csv: not JSON", home / "separation.csv")
    refused(BadInputError, r"separation\.png: cannot be read \(no text\)", home / "separation.png")
    refused(BadInputError, "no store with scores", home / "data")
    refused(BadInputError, "no store with scores", home / "separation.json", tmp_path / "gone")
    refused(BadInputError, "give the json of a table", home / "store", home / "store")


def test_an_older_json_is_named(home: Path, tmp_path: Path) -> None:
    content = json.loads((home / "separation.json").read_text())
    (tmp_path / "old.json").write_text(json.dumps(content | {"format": content["format"] - 1}))
    refused(BadInputError, r"old\.json: a table in format \d+ where \d+ is due", tmp_path / "old.json")


def test_another_store_is_not_taken_for_the_tables(home: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    some = [record for record in Store(home / "store").refresh().scores.values() if record["track"] != "Track00002"]
    store.record_scores(some)
    refused(IntegrityError, "lacks 1 of the 3 scores behind ", home / "separation.json", store.root)


def test_scores_of_older_code_are_named(home: Path, tmp_path: Path) -> None:
    store = shutil.copytree(home / "store", tmp_path / "store")
    records = list(Journal(store / "scores").refresh())
    shutil.rmtree(store / "scores")
    Journal(store / "scores").append(
        {name: value for name, value in record.items() if name != "signatures"} for record in records
    )
    refused(IntegrityError, r"scored by older code.*remove .*store/scores and run again", store)
