"""The figures, from files and stores that the command line wrote: what is drawn, what is left out, and what is refused."""

import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from benchmarks import cli
from benchmarks.figures import canvas, evaluations, spectrograms
from gmsdi import SAMPLE_RATE, STEMS
from gmsdi.errors import BadInputError
from gmsdi.system import Batch, Separator

CHUNK = SAMPLE_RATE
TRACKS = ("Track0", "Track1")
ON = {
    "dataset": "MiniSlakh validation",
    "digest": "d" * 64,
    "protocol": "protocol quick: the middle one",
    "metric": "sisdri|win:4s|v:1",
    "decided by": "active",
}


class Steady(Separator):
    """The mixture with noise that gets less with the number of ``steps``, which take time."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def separate(self, batch: Batch) -> torch.Tensor:
        time.sleep(len(batch.seeds) * 0.02 * self.steps**0.5)
        generator = torch.Generator().manual_seed(batch.seeds[0])
        return batch.mixtures[:, None] + torch.randn(len(batch.seeds), 4, CHUNK, generator=generator) / 100 / self.steps


@pytest.fixture
def suite(tmp_path, noise, write_track):
    """The overrides of a tiny dataset with a test and a validation split, and of a store."""
    for split in ("test", "validation"):
        for t, track in enumerate(TRACKS):
            stems = {stem: noise(10 * t + k, 3 * CHUNK) for k, stem in enumerate(STEMS)}
            write_track(tmp_path / "data" / split / track, stems)
    return [
        "dataset=msdm_layout",
        "dataset.title=Tiny",
        f"data={tmp_path / 'data'}",
        f"cache={tmp_path / 'cache'}",
        f"store={tmp_path / 'store'}",
        f"out={tmp_path / 'tuned'}",
        f"protocol.chunk={CHUNK}",
        "metrics.si_sdri.window=1.0",
        "metrics.si_sdri.hop=0.5",
        "device=cpu",
    ]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn."""
    figures = []

    @contextmanager
    def kept(*given):
        with canvas_figure(*given) as figure:
            figures.append(figure)
            yield figure

    canvas_figure = canvas.figure
    monkeypatch.setattr(canvas, "figure", kept)
    return figures


def require_picture(path):
    with Image.open(path) as picture:
        assert picture.format == "PNG" and min(picture.size) > 300
        assert len(set(picture.convert("L").tobytes())) > 10
    assert path.stat().st_size < 300_000


# Quality against cost


def tuned(path, rows, **on):
    """A file as ``gmsdi tune`` writes it: ``rows`` are (overrides, value)."""
    content = [
        {
            "row": f"x {' '.join(overrides)}",
            "overrides": overrides,
            "all": value,
            "interval": [None, None] if value is None else [value - 2.0, value + 1.0],
            "songs": "1/2" if value is None else "2/2",
            "seconds": 0.5 * len(overrides),
        }
        for overrides, value in rows
    ]
    path.write_text(yaml.safe_dump({"on": {**ON, **on}, "rows": content}))
    return path


def test_a_file_of_tune_becomes_a_figure(suite, tmp_path, drawn):
    system = ["system=[]", "+systems.x.label=X", "+systems.x.separator._target_=test_figures.Steady"]
    steps = "sampling.msdm.dirac.sigmas.steps"
    sweep = [f"+systems.x.separator.steps=${{{steps}}}", f"{steps}=1,4,16", "tuned=steady", "metric=[si_sdri]"]
    assert cli.main(["tune", *suite, *system, *sweep]) == 0
    file = tmp_path / "tuned" / "steady.yaml"
    assert canvas.command(evaluations.main, [str(tmp_path / "out.png"), f"Steady one@2={file}"]) == 0
    require_picture(tmp_path / "out.png")
    (figure,) = drawn
    rows = yaml.safe_load(file.read_text())["rows"]
    by_calls, by_seconds = figure.axes
    for axes, costs in ((by_calls, [2, 8, 32]), (by_seconds, [row["seconds"] for row in rows])):
        (line,) = axes.get_lines()[:1]
        np.testing.assert_allclose(np.asarray(line.get_xdata(), float), costs)
        np.testing.assert_allclose(np.asarray(line.get_ydata(), float), [row["all"] for row in rows])
    assert figure.get_suptitle() == "SI-SDRi against cost — Tiny validation"
    assert "all whole chunks of 1.00 s" in by_calls.get_title(loc="left")


def test_evaluations_are_the_product_of_what_was_swept_and_the_factor(tmp_path):
    rows = [
        (["sampling.msdm.dirac.sigmas.steps=20", "sampling.msdm.dirac.sampler.resamples=2"], 9.0),
        (["sampling.msdm.dirac.sigmas.steps=5", "sampling.msdm.dirac.sampler.churn=3"], 5.0),
        (["systems.m.separator.samples=2", "systems.m.separator.steps=8"], 7.0),
    ]
    curve = evaluations.read(f"MSDM, Dirac@3={tuned(tmp_path / 'a=b@c.yaml', rows)}")
    assert curve.label == "MSDM, Dirac"
    assert curve.points == (
        evaluations.Point(15, 1.0, 5.0, 3.0, 6.0),
        evaluations.Point(48, 1.0, 7.0, 5.0, 8.0),
        evaluations.Point(120, 1.0, 9.0, 7.0, 10.0),
    )


def test_an_evaluation_may_be_added(tmp_path):
    rows = [(["sampling.demucs-gibbs.steps=0"], 9.0), (["sampling.demucs-gibbs.steps=8"], 9.5)]
    curve = evaluations.read(f"Demucs + Gibbs@1+1={tuned(tmp_path / 'gibbs.yaml', rows)}")
    assert curve.label == "Demucs + Gibbs"
    assert [point.calls for point in curve.points] == [1, 9]


def test_a_row_that_lacks_songs_is_left_out_with_a_line(tmp_path, capsys):
    file = tuned(tmp_path / "a.yaml", [(["x.steps=1"], 1.0), (["x.steps=2"], None)])
    assert [point.calls for point in evaluations.read(f"A={file}").points] == [1]
    assert "x x.steps=2 was measured on 1/2 songs; left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "on", "said"),
    [
        ([(["x.guidance=2"], 1.0)], {}, "names none of steps, resamples, samples"),
        ([(["x.steps=2", "x.churn=0"], 1.0), (["x.steps=2", "x.churn=1"], 1.0)], {}, "two rows take 2 calls"),
        ([(["x.steps=2"], 1.0)], {"metric": "sdr|v:1"}, "is not SI-SDRi"),
    ],
)
def test_what_is_no_sweep_of_steps_is_refused(rows, on, said, tmp_path):
    with pytest.raises(BadInputError, match=said):
        evaluations.read(f"A={tuned(tmp_path / 'a.yaml', rows, **on)}")


@pytest.mark.parametrize(
    "word",
    ["a.yaml", "=a.yaml", "A=", "A@=a.yaml", "A@two=a.yaml", "A@0=a.yaml", "A@1+=a.yaml", "A=gone.yaml", "A=list.yaml"],
)
def test_words_that_are_no_method_are_refused(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tuned(Path("a.yaml"), [(["x.steps=2"], 1.0)])
    Path("list.yaml").write_text("[1, 2]")
    with pytest.raises(BadInputError):
        evaluations.read(word)


def test_methods_that_were_measured_on_other_data_are_not_drawn_together(tmp_path, capsys):
    files = [tuned(tmp_path / f"{digest}.yaml", [(["x.steps=2"], 1.0)], digest=digest) for digest in ("one", "another")]
    out = tmp_path / "out.png"
    assert canvas.command(evaluations.main, [str(out), f"A={files[0]}", f"B={files[1]}"]) == 3
    assert "A and B were measured with another digest" in capsys.readouterr().err
    assert not out.exists()


def test_many_methods_can_be_told_apart(tmp_path, drawn):
    words = []
    for n in range(8):
        rows = [([f"x.steps={steps}"], 10 - n - 10 / steps) for steps in (5, 10, 20, 40, 80)]
        words.append(f"Weakly Supervised Method {n}={tuned(tmp_path / f'{n}.yaml', rows)}")
    evaluations.main([str(tmp_path / "out.png"), *words])
    require_picture(tmp_path / "out.png")
    lines = drawn[0].axes[0].get_lines()
    looks = {
        (line.get_marker(), line.get_color()) for line in lines if len(line.get_xdata()) and line.get_linestyle() == "-"
    }
    assert len(looks) == 8
    assert len({line.get_xdata()[0] for line in lines}) >= 8  # intervals stand beside each other
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == [word.partition("=")[0] for word in words]


# Spectrograms


def test_a_song_is_drawn_from_the_store(suite, tmp_path, drawn, capsys):
    assert cli.main(["run", *suite, "system=[mixture,oracle-irm]"]) == 0
    out = tmp_path / "out.png"
    show = partial(canvas.command, spectrograms.main)
    assert show([str(out), "Track1", *suite, "system=[mixture,silence,oracle-irm]"]) == 0
    require_picture(out)
    assert "Silence: no audio of Track1 in" in capsys.readouterr().err
    (figure,) = drawn
    assert figure.get_suptitle() == "Track1, 1.0 to 2.0 s — Tiny test"
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown[:5]] == [*STEMS, "mixture"]
    assert [axes.get_title() for axes in shown[5:9]] == ["SI-SDRi 0.00 dB"] * 4  # the mixture itself
    gains = [float(axes.get_title().split()[1]) for axes in shown[9:]]
    assert len(gains) == 4 and min(gains) > 3  # the oracle
    assert {axes.images[0].get_clim() for axes in shown} == {(-spectrograms.RANGE, 0)}
    mixture, estimate = (axes.images[0].get_array() for axes in shown[4:6])
    assert mixture.max() == 0
    # a band is a sum of positive float32, one a frequency, in an order that depends on the CPU: each sum is off by a rounding a term,
    # and what an FFT is off by, about log2 of the window in roundings, is less than that again
    roundings = 2 * (spectrograms.WINDOW // 2 + 1) * np.finfo(np.float32).eps
    np.testing.assert_allclose(estimate, mixture, rtol=0, atol=10 / np.log(10) * roundings)  # dB


def test_songs_and_stores_that_are_not_there_are_told(suite, tmp_path, capsys):
    show = partial(canvas.command, spectrograms.main)
    assert show([str(tmp_path / "out.png"), "Track7", *suite, "system=[mixture]"]) == 4
    assert "unknown track 'Track7'; did you mean Track" in capsys.readouterr().err
    assert show([str(tmp_path / "out.png"), "Track1", *suite, "system=[mixture]"]) == 2
    assert "holds no audio of Track1; run `gmsdi run`" in capsys.readouterr().err
    assert show([str(tmp_path / "out.png")]) == 4
    assert not (tmp_path / "out.png").exists()


def test_a_tone_is_in_its_band_and_its_level_is_in_db():
    seconds = np.arange(CHUNK) / SAMPLE_RATE
    tones = np.stack([level * np.sin(2 * np.pi * 3000 * seconds) for level in (0.5, 0.05)]).astype(np.float32)
    loud, quiet = spectrograms.spectrograms(tones, SAMPLE_RATE)  # [BANDS, COLUMNS] each
    band = round(spectrograms.mel(3000) / spectrograms.mel(SAMPLE_RATE / 2) * (spectrograms.BANDS + 1)) - 1
    assert set(loud[:, 5:-5].argmax(axis=0)) == {band}
    np.testing.assert_allclose(loud[band] - quiet[band], 20, atol=1e-3)


def test_noise_is_as_loud_in_all_bands():
    noise = np.random.default_rng(0).standard_normal((1, 10 * SAMPLE_RATE)).astype(np.float32)
    levels = spectrograms.spectrograms(noise, SAMPLE_RATE)[0]  # [BANDS, COLUMNS]
    assert np.ptp(10 * np.log10((10 ** (levels / 10)).mean(axis=1))) < 2


def test_gains_are_those_of_the_whole_excerpt(noise):
    stems = np.concatenate([noise(k, CHUNK) for k in range(4)])
    stems[2] = 0
    mixture = stems.sum(axis=0)
    error = noise(9, CHUNK)[0]
    error -= stems[0] * (error @ stems[0]) / (stems[0] @ stems[0])
    error *= 0.1 * np.linalg.norm(stems[0]) / np.linalg.norm(error)  # 20 dB below
    estimates = np.stack([3 * (stems[0] + error), mixture, mixture, np.zeros_like(mixture)])
    found = spectrograms.gains(estimates, stems, SAMPLE_RATE)
    assert found[1:3] == ("SI-SDRi 0.00 dB", "SI-SDRi undef.")
    others = mixture - stems[0] * (mixture @ stems[0]) / (stems[0] @ stems[0])
    alone = 10 * np.log10(((mixture - others) ** 2).sum() / (others**2).sum())
    assert float(found[0].split()[1]) == pytest.approx(20 - alone, abs=0.02)
    assert spectrograms.gains(estimates, np.eye(4, CHUNK, dtype=np.float32) * 0, SAMPLE_RATE) == ("SI-SDRi undef.",) * 4
