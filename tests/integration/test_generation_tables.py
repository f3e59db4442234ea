"""``table=subfad`` and ``table=fad`` end to end on a tiny dataset, with generators of which the numbers are known."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tinyruns import CHUNK, CHUNKS, TRACKS

from benchmarks import cli
from benchmarks.metrics.embedders import LogMel
from benchmarks.metrics.frechet import Statistics, frechet
from benchmarks.store import Store
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
    for suffix in ("md", "csv", "tex", "json", "html", "png"):
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
