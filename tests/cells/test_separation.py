"""From a real store to a table: every cell is what MSDM's loop gives on the wavs themselves."""

import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from benchmarks import cli, config
from benchmarks.cells.found import scores_of
from benchmarks.cells.reported import NOT_REPORTED
from benchmarks.cells.separation import headline, make_table
from benchmarks.data.dataset import read_stems
from benchmarks.perf.literal import literal
from benchmarks.run.configured import described, job_of
from benchmarks.run.score import from_json
from benchmarks.store.journal import Journal
from benchmarks.store.provenance import provenance
from benchmarks.store.store import Store
from benchmarks.tables.table import COLUMNS, MeasuredRow, Table
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError

CHUNK = 11_025
WINDOW, HOP = 0.2, 0.1
TRACKS = {"Track00001": 27_000, "Track00002": 12_000, "Track00003": 34_000, "Track00004": 9_000}
"""Two chunks, one, three; and a track that is too short for any."""
SCORED = list(TRACKS)[:3]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of noise, estimates of it, and a store in which everything is done."""
    folder = tmp_path_factory.mktemp("aggregate")
    for t, (track, frames) in enumerate(TRACKS.items()):
        rng = np.random.default_rng(t)
        stems = rng.normal(0, 0.05, (len(STEMS), frames)).astype(np.float32)
        if track == "Track00001":
            stems[0, 4_000:20_000] = 0
        for k, stem in enumerate(STEMS):
            for kind, error in (("data/test", 0.0), ("estimates", 0.02)):
                (folder / kind / track).mkdir(parents=True, exist_ok=True)
                estimate = stems[k] + rng.normal(0, error, frames).astype(np.float32)
                if (kind, track, stem) != ("data/test", "Track00002", "piano"):  # which is a missing stem
                    audio.write(folder / kind / track / f"{stem}.wav", estimate[None], SAMPLE_RATE)
    assert cli.main(["run", *overrides(folder)]) == 0
    return folder


def overrides(home: Path, *others: str) -> list[str]:
    """The command line of these tests; ``others`` come last and win."""
    return [
        "dataset=msdm_layout",
        f"data={home / 'data'}",
        f"cache={home / 'cache'}",
        f"store={home / 'store'}",
        f"out={home / 'out'}",
        f"estimates={home / 'estimates'}",
        "system=[mixture,folder]",
        f"protocol.chunk={CHUNK}",
        f"++metrics.si_sdri.window={WINDOW}",
        f"++metrics.si_sdri.hop={HOP}",
        "device=cpu",
        *others,
    ]


@pytest.fixture
def made(home: Path) -> Callable[..., Table]:
    """``made(*overrides)``: the table of the store, or of another one."""

    def make(*others: str) -> Table:
        settings: DictConfig = config.load(overrides(home, *others))
        job = job_of(settings, Store(settings.store).refresh())
        metrics = dict(zip(settings.metrics, job.metrics, strict=True))
        return make_table(described(settings), job.plan, metrics, job.store, provenance("cpu", job.modules))

    return make


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    """A copy of the store, to be spoilt."""
    return shutil.copytree(home / "store", tmp_path / "store")


def row(table: Table, name: str) -> MeasuredRow:
    return next(row for row in table.rows if row.name == name)


def spoil(home: Path, folder: Path) -> list[str]:
    """Overrides with estimates that lack a stem of one track, and a store of their own."""
    shutil.copytree(home / "estimates", folder / "estimates")
    (folder / "estimates" / "Track00002" / "drums.wav").unlink()
    return [f"estimates={folder / 'estimates'}", f"store={folder / 'store'}"]


# Cells


def test_every_cell_is_that_of_the_literal_loop(home: Path, made: Callable[..., Table]) -> None:
    windows: dict[str, list[np.ndarray]] = {"msdm": [], "active": []}
    for track in SCORED:
        frames = TRACKS[track] // CHUNK * CHUNK
        stems = read_stems(home / "data" / "test" / track, SAMPLE_RATE)
        references = np.concatenate([stems.get(stem, np.zeros((1, TRACKS[track]), np.float32)) for stem in STEMS])
        estimates = np.concatenate([audio.read(home / "estimates" / track / f"{stem}.wav")[0] for stem in STEMS])
        scores = literal(estimates[:, :frames], references[:, :frames], SAMPLE_RATE, window=WINDOW, hop=HOP)
        for column, values in scores.items():
            windows[column].append(values)
    for cells, column in zip(row(made(), "folder").cells, ("msdm", "active"), strict=True):
        values = np.concatenate(windows[column], axis=1)  # [K, W]
        stems = np.nanmean(values, axis=1)
        np.testing.assert_allclose([cell.value for cell in cells], [*stems, stems.mean()], rtol=0, atol=1e-4)
        counts = np.isfinite(values).sum(axis=1)
        assert [cell.windows for cell in cells] == [*counts, counts.sum()]


def test_three_songs_have_no_interval_and_a_p_that_can_be_no_smaller(made: Callable[..., Table]) -> None:
    """p can be no smaller than 2 / 2³ on the mean, and four times that after Holm's correction."""
    for cells in row(made(), "folder").cells:
        assert all(cell.low is cell.high is None for cell in cells)
        assert cells[-1].p == 0.25
        assert {cell.p for cell in cells[:-1]} <= {0.75, 1.0}


def test_the_baseline_is_not_tested_against_itself(made: Callable[..., Table]) -> None:
    assert all(cell.p is None for cells in row(made(), "mixture").cells for cell in cells)


def test_every_column_of_every_group_has_a_cell(made: Callable[..., Table]) -> None:
    table = made()
    assert [len(cells) for measured in table.rows for cells in measured.cells] == [len(COLUMNS)] * 4
    assert {group.signature.split("|silent:")[1] for group in table.groups} == {
        "scored|agg:window-mean",
        "skipped|agg:window-mean",
    }


def test_a_row_lists_the_units_behind_it(made: Callable[..., Table], home: Path) -> None:
    units = [unit for measured in made().rows for unit in measured.units]
    assert len(units) == len(set(units)) == 2 * 6
    assert set(units) == Store(home / "store").refresh().outputs.keys()


def test_a_short_track_is_left_out_and_that_is_said(made: Callable[..., Table]) -> None:
    table = made()
    assert (table.songs, table.partial) == (3, False)
    assert "too few whole chunks: 1 of 4 songs" in " ".join(table.caption)


def test_a_table_is_the_same_each_time(made: Callable[..., Table]) -> None:
    assert made() == made()


PAPERS = ("metrics.si_sdri.window=4.0", "metrics.si_sdri.hop=2.0")


@pytest.mark.parametrize(
    "override",
    ["metrics.si_sdri.improvement=false", "metrics.si_sdri.scale_invariant=false", "metrics.si_sdri.eps=1e-9"],
)
def test_figures_of_another_measure_are_not_put_beside_ours_and_the_title_says_what_was_computed(
    made: Callable[..., Table], override: str
) -> None:
    table = made("reported=separation", *PAPERS, override)
    assert table.reported is None and NOT_REPORTED in table.caption
    title = {"improvement": "SI-SDR in dB", "scale_invariant": "SDRi in dB", "eps": "SI-SDRi in dB"}[
        override.split(".")[2].split("=")[0]
    ]
    assert table.title == f"Source separation, {title}"


def test_the_figures_of_the_literature_stand_under_the_metric_that_they_were_measured_by(
    made: Callable[..., Table],
) -> None:
    table = made("reported=separation", *PAPERS)
    assert table.reported is not None and len(table.reported.rows) == 6
    assert all("|silent:scored|" in table.groups[published.group].signature for published in table.reported.rows)


def test_a_metric_that_the_table_does_not_show_changes_nothing(made: Callable[..., Table]) -> None:
    """It is not scored here, so it must not make the row look unfinished."""
    assert made("metric=[si_sdri,sdr]") == made()


def test_a_table_needs_its_metric(made: Callable[..., Table]) -> None:
    with pytest.raises(BadInputError, match=r"metric=\[si_sdri\]"):
        made("metric=[sdr]", f"~metrics.si_sdri.window={WINDOW}", f"~metrics.si_sdri.hop={HOP}", "~metrics.si_sdri")


BEST = (
    "+systems.best={label: Best, family: bounds, "
    "separator: {_target_: gmsdi.ensemble.BestPerStem, members: [mixture, folder, silence]}}"
)


def test_the_papers_ensemble_is_in_each_column_the_best_of_its_members(
    home: Path, made: Callable[..., Table], copy: Path
) -> None:
    settings = [f"store={copy}", "system=[mixture,folder,silence]"]
    assert cli.main(["run", *overrides(home, *settings)]) == 0
    table = made(*settings, BEST)
    found, members = row(table, "best"), [row(table, name) for name in ("mixture", "folder", "silence")]
    for g, cells in enumerate(found.cells):
        stems = [max(member.cells[g][c].value for member in members) for c in range(len(STEMS))]
        assert [cell.value for cell in cells[:-1]] == stems
        assert cells[-1].value == pytest.approx(np.mean(stems), abs=1e-12)
    assert set(found.scores) == {key for member in members for key in member.scores}
    assert set(found.units) == {unit for member in members for unit in member.units}
    assert not any(cell.best for cells in found.cells for cell in cells)  # it looks at the scores that it is judged by
    assert not table.partial
    assert cli.main(["run", *overrides(home, *settings, BEST)]) == 0  # there is nothing to compute of it


# What is asked for


def test_literature_of_other_data_is_shown_where_it_is_asked_for_alone(made: Callable[..., Table]) -> None:
    assert made().reported is None
    assert made("reported=auto", *PAPERS).reported == made("reported=separation", *PAPERS).reported is not None
    with pytest.raises(BadInputError, match=r"reported=seperation: there is no .*; did you mean separation"):
        made("reported=seperation")


@pytest.mark.parametrize("dataset", ["minislakh", "slakh2100"])
def test_literature_is_shown_below_the_data_that_it_is_of_and_their_small_sister(dataset: str) -> None:
    assert described(config.load([f"dataset={dataset}"]))["reported"] == "separation"
    assert described(config.load([f"dataset={dataset}", "reported=null"]))["reported"] is None
    assert described(config.load([f"dataset={dataset}", "table=bsseval"]))["reported"] is None


def test_the_baseline_of_the_command_line_takes_the_place_of_the_tables(made: Callable[..., Table]) -> None:
    usual, other = made(), made("baseline=folder")
    assert (usual.baseline, other.baseline) == ("mixture", "folder")
    assert all(cell.p is None for cells in row(other, "folder").cells for cell in cells)
    ps = [
        [cell.p for cells in row(table, name).cells for cell in cells]
        for table, name in ((usual, "folder"), (other, "mixture"))
    ]
    assert ps[0] == ps[1] and all(ps[0])  # the test is symmetric


def test_an_unknown_baseline_is_refused_before_anything_is_run(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("run", "table"):
        assert cli.main([verb, *overrides(home, "baseline=mixtures")]) == 4
        error = capsys.readouterr().err
        assert "baseline=mixtures: none of system=[mixture,folder]; did you mean mixture" in error
        assert "Traceback" not in error


def test_the_floor_is_tested_one_sided_by_an_enumeration_of_all_swaps(
    home: Path, tmp_path: Path, made: Callable[..., Table]
) -> None:
    """Of three songs: the share of the 2³ swaps that separate the two rows by as much as they do, in that direction."""
    arguments = [f"store={tmp_path / 'store'}", "system=[mixture,silence,folder]"]
    assert cli.main(["run", *overrides(home, *arguments)]) == 0
    table = made(*arguments)
    assert table.floor == "silence"
    assert all(cell.p_floor is None for cells in row(table, "silence").cells for cell in cells)
    job = job_of(config.load(overrides(home, *arguments)), Store(tmp_path / "store").refresh())
    named = {system.name: system for system in job.plan.systems}
    metric = {"si_sdri": job.metrics[0]}
    for g, column in enumerate(("msdm", "active")):
        windows = {
            name: [
                np.array(
                    from_json(
                        scores_of(named[name], job.plan, metric, job.store)["si_sdri"][track]["columns"][column]
                    ).values
                )
                for track in SCORED
            ]
            for name in ("silence", "folder", "mixture")
        }  # [K, W] of each song
        for name in ("folder", "mixture"):
            gaps = []
            for swaps in itertools.product((False, True), repeat=len(SCORED)):
                ours, theirs = (
                    np.concatenate(
                        [windows["silence" if swap != turned else name][t] for t, swap in enumerate(swaps)], axis=1
                    )
                    for turned in (False, True)
                )
                means = [np.nanmean(side, axis=1) for side in (ours, theirs)]
                gaps.append([*(means[0] - means[1]), means[0].mean() - means[1].mean()])
            share = np.mean(np.array(gaps) >= np.array(gaps[0]) - 1e-9, axis=0)  # [K + 1]
            found = [cell.p_floor for cell in row(table, name).cells[g]]
            assert found[-1] == pytest.approx(share[-1])
            ordered = np.maximum.accumulate(np.minimum(1, np.sort(share[:-1]) * (4, 3, 2, 1)))
            assert sorted(found[:-1]) == pytest.approx(list(ordered))


# What is missing


def test_a_failed_track_is_missing_from_its_row_only(
    home: Path, tmp_path: Path, made: Callable[..., Table], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = spoil(home, tmp_path)
    assert cli.main(["run", *overrides(home, *arguments)]) == 4
    assert "no estimate of drums" in capsys.readouterr().err
    table = made(*arguments)
    found = row(table, "folder")
    assert (found.tracks, found.expected, row(table, "mixture").tracks) == (2, 3, 3)
    assert {cell.tracks for cells in found.cells for cell in cells} == {2}
    assert table.partial and all(cell.partial for cells in found.cells for cell in cells)
    assert len(found.units) == 5
    assert len(found.notes) == 1 and "1 of 6 excerpts failed" in found.notes[0] and "drums" in found.notes[0]


def test_the_verb_table_refuses_a_partial_table_unless_allowed(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = spoil(home, tmp_path)
    cli.main(["run", *overrides(home, *arguments)])
    assert cli.main(["table", *overrides(home, *arguments)]) == 2
    assert "lack songs" in capsys.readouterr().err
    assert cli.main(["table", *overrides(home, *arguments, "allow_partial=true")]) == 0
    assert cli.main(["table", *overrides(home)]) == 0


def test_an_output_without_its_record_is_not_there(copy: Path, made: Callable[..., Table]) -> None:
    shutil.rmtree(copy / "outputs")
    table = made(f"store={copy}")
    for measured in table.rows:
        assert (measured.tracks, measured.units) == (0, ())
        for cells in measured.cells:
            assert {(cell.value, cell.reason) for cell in cells} == {(None, "nothing is scored yet")}
    assert table.partial


def test_work_of_other_code_is_said_to_be(copy: Path, made: Callable[..., Table]) -> None:
    store = Store(copy).refresh()
    elsewhere = provenance("cpu", ["baselines.bounds", "benchmarks.metrics.si_sdr"])
    elsewhere["code"] |= {
        "baselines.bounds": "f" * 64,
        "benchmarks.metrics.si_sdr": "0" * 64,
        "benchmarks.cells.stats": "1" * 64,
    }
    run = store.record_run(elsewhere)
    mixture = set(row(made(), "mixture").units)
    store.record_outputs([replace(output, run=run) for unit, output in store.outputs.items() if unit in mixture])
    store.record_scores([score | {"run": run} for score in store.scores.values() if set(score["units"]) <= mixture])
    table = made(f"store={copy}")
    remedy = "than this; store=DIR makes it anew"
    assert row(table, "mixture").notes == (
        f"made by other code of baselines.bounds {remedy}",
        f"scored by other code of benchmarks.metrics.si_sdr {remedy}",
        f"counted by other code of benchmarks.cells.stats {remedy}",
    )
    assert row(table, "folder").notes == ()


def test_a_stem_that_no_track_has_is_undefined_for_a_reason(
    tmp_path: Path, home: Path, made: Callable[..., Table]
) -> None:
    """Track00002 has no piano: on its own, piano and the mean are undefined in ``active``, and only there."""
    shutil.copytree(home / "data" / "test" / "Track00002", tmp_path / "data" / "test" / "Track00002")
    arguments = [f"data={tmp_path / 'data'}", f"store={tmp_path / 'store'}", "system=[mixture]"]
    assert cli.main(["run", *overrides(home, *arguments)]) == 0
    msdm, active = made(*arguments).rows[0].cells
    assert all(cell.value == 0.0 for cell in msdm)
    assert [cell.value for cell in active] == [0.0, 0.0, 0.0, None, None]
    assert active[3].reason == active[4].reason == "reference is silent"


def test_the_headline_of_a_row_has_the_means_that_the_table_shows(home: Path, made: Callable[..., Table]) -> None:
    settings = config.load(overrides(home))
    job = job_of(settings, Store(settings.store).refresh())
    for system, row in zip(job.plan.systems, made().rows, strict=True):
        msdm, active = (group[-1].value for group in row.cells)
        assert headline(system, job) == f"{row.name}: msdm {msdm:.2f} dB, active {active:.2f} dB, mean of the stems"
    assert headline(job.plan.systems[0], replace(job, store=Store(home / "none"))) == ""


# A number that cannot be wrong about itself


def test_a_score_that_was_edited_is_never_shown(home: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten dB more for the mixture."""
    (segment, *_) = sorted((copy / "scores").glob("*.jsonl"))
    segment.write_text(segment.read_text().replace("[0.0,", "[10.0,", 1))
    assert cli.main(["table", *overrides(home, f"store={copy}")]) == 2
    assert f"{segment}: damaged, line 1 is not what was written" in capsys.readouterr().err


def test_the_digest_of_a_result_is_that_of_its_excerpts_outputs_and_signatures(
    home: Path, tmp_path: Path, made: Callable[..., Table]
) -> None:
    """Another store, made in other batches, has the same; another metric, song or output another."""
    before = made()
    assert len(before.run_digest) == 64
    assert cli.main(["run", *overrides(home, f"store={tmp_path / 'again'}", "batch_size=1")]) == 0
    assert made(f"store={tmp_path / 'again'}").run_digest == before.run_digest
    assert made("systems.folder.label=Other").run_digest == before.run_digest
    other = {
        made("metrics.si_sdri.eps=1e-7").run_digest,
        made("system=[mixture]").run_digest,
        made("seed=1").run_digest,
    }
    assert len(other | {before.run_digest}) == 4
    outputs = Journal(tmp_path / "again" / "outputs")
    record = next(record for record in outputs.refresh() if record["unit"] == row(before, "folder").units[0])
    outputs.append([{**record, "files": ["0" * 64] * 4}])
    assert made(f"store={tmp_path / 'again'}").run_digest != before.run_digest


def test_a_row_names_its_runs_and_a_table_its_seed(home: Path, made: Callable[..., Table]) -> None:
    table = made()
    known = {path.stem for path in (home / "store" / "runs").iterdir()}
    assert all(measured.runs and set(measured.runs) <= known for measured in table.rows)
    assert (table.seed, made("seed=7").seed) == (0, 7)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("versions", {"torch": "1.0"}),
        ("machine", {"processor": "another"}),
        ("machine", {"bfloat16": None}),
        ("machine", {"instructions": "AVX2"}),
    ],
)
def test_a_row_that_was_made_on_different_machines_says_so(
    copy: Path, made: Callable[..., Table], part: str, change: dict[str, str | None]
) -> None:
    store = Store(copy).refresh()
    before = store.run(next(iter(store.outputs.values())).run)
    ((key, value),) = change.items()
    value = value if value is not None else not before[part][key]
    run = store.record_run({**before, part: {**before[part], key: value}})
    mixture = row(made(), "mixture").units
    store.record_outputs([replace(store.outputs[mixture[0]], run=run)])
    table = made(f"store={copy}")
    (note,) = row(table, "mixture").notes
    assert note.startswith("made on ") and " and on " in note
    assert row(table, "folder").notes == ()


def test_an_invalidated_unit_takes_its_song_out_of_the_table_and_is_counted(
    home: Path, copy: Path, made: Callable[..., Table], capsys: pytest.CaptureFixture[str]
) -> None:
    unit = row(made(), "folder").units[0]
    store = f"store={copy}"
    assert cli.main(["invalidate", unit[:9], "reason=bad memory", "author=Ann", store]) == 0
    found = row(made(store), "folder")
    assert (found.tracks, found.expected, found.invalidated, unit in found.units) == (2, 3, 1, False)
    assert any(note.startswith("1 of 3 songs invalidated: bad memory (Ann, 2") for note in found.notes)
    assert (row(made(store), "mixture").tracks, made(store).partial) == (3, True)
    files = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert cli.main(["run", *overrides(home, store)]) == 0  # nothing is made again
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == files
    capsys.readouterr()
    assert cli.main(["table", *overrides(home, store, f"out={copy}")]) == 2
    assert "2/3, 1 invalidated" in (copy / "separation.md").read_text()
    assert cli.main(["invalidate", unit, "reason=it was not", "undo=true", store]) == 0
    assert row(made(store), "folder") == row(made(), "folder")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["0123456", "reason=x"], "is shorter than 8 digits"),
        (["zzzzzzzzz", "reason=x"], "fits 0 units"),
        (["0123456789"], 'give units and reason="…"'),
        (["0123456789", "reason= "], 'give units and reason="…"'),
        (["0123456789", "resaon=x"], "did you mean reason?"),
        (["0123456789", "reason=x", "undo=maybe"], "true or false"),
    ],
)
def test_what_cannot_be_invalidated_is_one_line(
    copy: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["invalidate", *words, f"store={copy}"]) == 4
    assert said in capsys.readouterr().err


def test_two_rows_of_one_label_are_refused(made: Callable[..., Table]) -> None:
    with pytest.raises(BadInputError, match="two systems are called 'Same'; give one another name"):
        made("systems.mixture.label=Same", "systems.folder.label=Same")
