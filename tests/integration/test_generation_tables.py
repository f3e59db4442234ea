"""``table=subfad`` and ``table=fad`` end to end on a tiny dataset, with generators of which the numbers are known."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tinyruns import CHUNK, CHUNKS, TRACKS

from benchmarks import cli
from benchmarks.frames import results
from benchmarks.metrics.embedders import LogMel
from benchmarks.metrics.frechet import Statistics, frechet
from benchmarks.store.store import Store
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.system import Generator, Request

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 2


class Noise(Generator):
    """White noise of the item's own seed; for ``broken`` samples' worth of given bass it fails."""

    def __init__(self, level: float = 0.1, broken: float | None = None) -> None:
        self.level = level
        self.broken = broken

    @classmethod
    def lacks(cls, stems: Sequence[str], given: Sequence[str]) -> str:
        return "does not play all" if not given and len(stems) == len(STEMS) else ""

    def generate(self, request: Request) -> torch.Tensor:
        for stem in request.given.values():
            if self.broken is not None and (stem[:, 0] == self.broken).any():
                raise RuntimeError("no idea")
        return self.level * torch.stack(
            [
                torch.randn(len(request.stems), request.length, generator=torch.Generator().manual_seed(seed))
                for seed in request.seeds
            ]
        )


@pytest.fixture
def run(suite, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)

    def run(verb: str, *overrides: str, store: str = "store", out: str = "out") -> tuple[int, str, str]:
        arguments = [
            *("dataset=msdm_layout", f"data={suite.folder / 'data'}", f"cache={tmp_path / 'cache'}"),
            *("generation=mini", "weights=mini", "protocol=generation", f"protocol.chunk={SECONDS * CHUNK}"),
            *("protocol.chunks_per_track=1", f"store={tmp_path / store}", "device=cpu"),
            *([f"out={tmp_path / out}"] if verb == "table" else []),
        ]
        code = cli.main([verb, *arguments, *overrides])
        return code, *capsys.readouterr()

    return run


def noise(name: str = "noise", **arguments: object) -> list[str]:
    values = {"label": name, "generator._target_": f"{__name__}.Noise"}
    values |= {f"generator.{key}": value for key, value in arguments.items()}
    return [f"+systems.{name}.{key}={value}" for key, value in values.items()]


SUBFAD = ["table=subfad", "system=[real-stems,no-stems,weak-msdm-generator]"]


def rows(folder: Path, name: str) -> dict[str, dict]:
    content = json.loads((folder / f"{name}.json").read_text())
    return {row["name"]: row for row in content["rows"]}


def test_the_table_of_accompaniment(run, tmp_path):
    assert CHUNKS >= 2 * SECONDS
    assert run("run", *SUBFAD, *noise())[0] == 0
    code, out, _ = run("table", *SUBFAD, *noise())
    assert code == 0
    assert "has no joint model" in out and "does not play all" in out
    for suffix in ("md", "csv", "tex", "json", "html", "svg", "png"):
        assert (tmp_path / "out" / f"subfad.{suffix}").stat().st_size > 0
    found = rows(tmp_path / "out", "subfad")
    one, two, three = found["noise"]["cells"][:3]
    assert [len(cells) for cells in found["noise"]["cells"][:3]] == [4, 6, 4]
    assert all(cell["value"] > 0 and cell["tracks"] == len(TRACKS) for cells in (one, two, three) for cell in cells)
    assert found["noise"]["cells"][-1][0]["reason"] == "does not play all"
    assert found["weak-msdm-generator"]["cells"][0][0]["value"] is None
    assert found["no-stems"]["cells"][2][0]["value"] > found["no-stems"]["cells"][0][0]["value"]


def test_a_cell_is_the_distance_of_the_mixes(run, tmp_path, suite):
    assert run("run", *SUBFAD[:1], "system=[no-stems]")[0] == 0
    assert run("table", *SUBFAD[:1], "system=[no-stems]")[0] == 0
    real, generated = [], []
    for track in TRACKS:
        stems = [audio.read(suite.folder / "data" / "test" / track / f"{stem}.wav")[0][0] for stem in STEMS]
        whole = len(stems[0]) // (SECONDS * CHUNK)
        start = whole // 2 * SECONDS * CHUNK
        cut = [stem[start : start + SECONDS * CHUNK] for stem in stems]
        real.append(LogMel().embed(sum(cut), SAMPLE_RATE).numpy())
        generated.append(LogMel().embed(sum(cut[1:]), SAMPLE_RATE).numpy())
    expected = frechet(*(sum(map(Statistics.of, each[1:]), Statistics.of(each[0])) for each in (real, generated)))
    cell = rows(tmp_path / "out", "subfad")["no-stems"]["cells"][0][0]
    assert cell["value"] == pytest.approx(expected, rel=1e-4)


def test_frames_have_what_is_a_number_for_each_excerpt(run, tmp_path):
    """A cell of rhythm and overlap is the mean over its tasks of the means over songs; distances are in the cells alone."""
    task = [SUBFAD[0], "system=[real-stems,no-stems]", "protocol.chunks_per_track=2", f"protocol.chunk={CHUNK}"]
    assert run("run", *task)[0] == 0 and run("table", *task)[0] == 0
    found = results(tmp_path / "out" / "subfad.json", store=tmp_path / "store")
    songs, cells = found.songs, found.cells
    assert set(songs["column"]) == {"rhythm", "harmony", "overlap"} and set(songs["given"]) > {"", "drums guitar piano"}
    of_songs = found.windows.groupby(["name", "column", "stem", "given", "song"])["value"].mean()
    again = songs.set_index(["name", "column", "stem", "given", "song"])["value"].reindex(of_songs.index)
    np.testing.assert_allclose(again, of_songs, rtol=0, atol=1e-12)
    means, compared = songs.groupby(["name", "column", "stem"])["value"].mean(), 0
    for quantity in ("rhythm", "overlap"):
        (signature,) = set(songs.loc[songs["column"] == quantity, "signature"])
        ours = cells[cells["signature"] == f"{signature} mean-over-songs"]
        tasks = {"one": ["B", "D", "G", "P"], "three": ["BDG", "BDP", "BGP", "DGP"]}
        for cell in ours[ours["column"].isin(list(tasks)) & ours["value"].notna()].itertuples():
            assert np.mean([means[cell.name, quantity, stem] for stem in tasks[cell.column]]) == pytest.approx(
                cell.value
            )
            compared += 1
    assert compared >= 4


def test_batches_do_not_matter_and_what_is_done_is_not_done_again(run, tmp_path):
    task = ["table=fad", "system=[]", *noise()]
    assert run("run", *task, "batch_size=1", store="a")[0] == 0
    assert run("run", *task, "batch_size=5", store="b")[0] == 0
    one, other = (Store(tmp_path / name).refresh() for name in "ab")
    assert one.scores.keys() == other.scores.keys() and len(one.outputs) == 4 * len(TRACKS)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a" / "embeddings").rglob("*.npy")}
    code, _, err = run("run", *task, store="a")
    assert code == 0 and "generating" not in err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a" / "embeddings").rglob("*.npy")} == before


def test_an_excerpt_that_fails_is_missing_from_its_cell_and_is_seen(run, tmp_path, suite):
    bass = audio.read(suite.folder / "data" / "test" / TRACKS[0] / "bass.wav")[0][0]
    start = len(bass) // (SECONDS * CHUNK) // 2 * SECONDS * CHUNK
    task = ["table=subfad", "system=[]", *noise(broken=float(bass[start]))]
    code, _, err = run("run", *task)
    assert code == 2 and "no idea" in err
    code, out, err = run("table", *task)
    assert code == 2 and "some cells lack songs" in err
    assert f"{len(TRACKS) - 1}/{len(TRACKS)}" in out
    cells = rows(tmp_path / "out", "subfad")["noise"]["cells"]
    assert cells[0][0]["tracks"] == len(TRACKS)  # of bass, which is not given there
    assert cells[0][1]["tracks"] == len(TRACKS) - 1


def test_generators_and_separators_do_not_mix(run):
    code, _, err = run("run", "table=subfad", "system=[mixture]")
    assert code == 4 and "system mixture: needs a label and a generator" in err
    code, _, err = run("run", "table=separation", "system=[no-stems]")
    assert code == 4 and "system no-stems: needs a label and a separator" in err


def test_stems_that_are_copied_have_no_distance(run, tmp_path):
    task = ["table=subfad", "system=[own-stems,no-stems]"]
    assert run("run", *task)[0] == 0 and run("table", *task)[0] == 0
    for cells in rows(tmp_path / "out", "subfad")["own-stems"]["cells"][:3]:
        assert [cell["value"] for cell in cells] == pytest.approx([0] * len(cells), abs=1e-9)


@pytest.mark.parametrize("keep_audio", ["flac", "false"])
def test_audio_may_be_dropped_once_it_is_scored(run, tmp_path, keep_audio):
    task = ["table=fad", "system=[no-stems]", f"keep_audio={keep_audio}"]
    assert run("run", *task)[0] == 0
    assert not list((tmp_path / "store" / "audio").glob("*/*"))
    assert bool(list(tmp_path.glob("store/flac/*/*/*.flac"))) == (keep_audio == "flac")
    assert run("table", *task)[0] == 0
    code, _, err = run("run", *task)
    assert code == 0 and "generating" not in err


@pytest.mark.parametrize("keep_audio", ["float32", "false"])
def test_embeddings_that_are_gone_are_made_again_and_damaged_ones_are_seen(run, tmp_path, keep_audio):
    task = ["table=fad", "system=[no-stems]", f"keep_audio={keep_audio}"]
    assert run("run", *task)[0] == 0 and run("table", *task)[0] == 0
    before = rows(tmp_path / "out", "fad")
    files = sorted((tmp_path / "store" / "embeddings").rglob("*.npy"))
    content = np.load(files[0])
    np.save(files[0], content + 1)
    code, _, err = run("table", *task)
    assert code == 2 and f"{files[0]}: changed since it was written; remove it and run again" in err
    files[0].write_bytes(b"")
    code, _, err = run("table", *task)
    assert code == 2 and "gone or damaged" in err
    files[0].unlink()
    assert run("run", *task)[0] == 0 and run("table", *task)[0] == 0
    assert np.array_equal(np.load(files[0]), content)
    assert rows(tmp_path / "out", "fad")["no-stems"]["cells"] == before["no-stems"]["cells"]


def test_rows_are_compared_on_the_same_resamples(run, tmp_path):
    """Noise of two levels: the louder is further from the real stems, by more than either interval leaves open."""
    task = ["table=fad", "system=[]", *noise("soft", level=0.1), *noise("loud", level=0.5)]
    compare = ["table.baseline=soft", "table.contrast.row=loud", "table.contrast.against=soft"]
    assert run("run", *task)[0] == 0
    code, out, _ = run("table", *task, *compare)
    assert code == 0
    found = rows(tmp_path / "out", "fad")
    assert all(cell["p"] is None for cell in found["soft"]["cells"][-1])
    values = {name: found[name]["cells"][-1][-1] for name in ("soft", "loud")}
    assert found["loud"]["cells"][-1][-1]["p"] < 0.01
    less = values["loud"]["value"] - values["soft"]["value"]
    assert f"FAD, all, loud less soft: {less:+.2f}" in " ".join(out.split())


def test_excerpts_that_are_too_short_for_the_embedder_are_refused_before_any_work(run, tmp_path):
    code, _, err = run("run", "table=subfad", "system=[no-stems]", "protocol.chunk=16384")
    assert code == 4 and "0.74 s are too short for metric=embedding, which needs 0.98 s" in err
    assert not any((tmp_path / "store").rglob("*.wav"))


def test_a_metric_of_the_other_kind_is_refused_before_any_work(run, tmp_path):
    code, _, err = run("run", "table=subfad", "system=[no-stems]", "metric=[si_sdri]")
    assert code == 4 and "metric=si_sdri is for separation" in err
    code, _, err = run("run", "table=separation", "system=[mixture]", "metric=[embedding]")
    assert code == 4 and "metric=embedding is for generation" in err
    assert not (tmp_path / "store" / "outputs").exists()


def test_workers_of_shards_read_the_songs_that_are_borrowed_from(run, tmp_path, suite):
    """In a process of its own, for its workers are forked from one that is set up once."""
    task = ["table=fad", "system=[wrong-song,no-stems]"]
    assert run("run", *task)[0] == 0
    overrides = [
        *("dataset=msdm_layout", f"data={suite.folder / 'data'}", f"cache={tmp_path / 'cache'}"),
        *("generation=mini", "weights=mini", "protocol=generation", f"protocol.chunk={SECONDS * CHUNK}"),
        *("protocol.chunks_per_track=1", f"store={tmp_path / 'shards'}", "device=cpu", "launcher=processes"),
    ]
    subprocess.run([sys.executable, "-m", "benchmarks.cli", "run", *overrides, *task], check=True, cwd=ROOT)
    one, other = (Store(tmp_path / name).refresh() for name in ("store", "shards"))
    assert len(one.outputs) == 8 * len(TRACKS)
    assert {unit: output.files for unit, output in one.outputs.items()} == {
        unit: output.files for unit, output in other.outputs.items()
    }
    assert one.scores.keys() == other.scores.keys()
