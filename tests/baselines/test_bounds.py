"""The systems whose scores are known beforehand, by themselves and through the whole pipeline."""

from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.bounds import IdealRatioMask, Mixture, Silence
from benchmarks import cli
from benchmarks.data.dataset import read_stems
from benchmarks.metrics.scores import Metric, WindowScores
from benchmarks.metrics.si_sdr import SiSDR
from benchmarks.run.score import from_json
from benchmarks.store.store import Store
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.system import Batch, Separator

FRAMES = SAMPLE_RATE
WINDOW, HOP = 0.2, 0.1
SI_SDRI = SiSDR(window=WINDOW, hop=HOP)
ROUNDING = 0.6 * 2 * 2 * 11 * 2**-24
"""Of float32 through a Fourier transform of 2^11 samples and back (ε log₂ N each; Higham 2002, §24.1), in each of two results.

Relative to the loudest that a mixture of ``song`` can be: four stems of three tones of 0.05.
"""


def song(seed: int, frames: int = FRAMES) -> audio.Samples:
    """Four stems ``[K, T]`` that a mask can tell apart: chords of decaying tones, each stem in a range of its own."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(frames) / SAMPLE_RATE
    stems = []
    for low in (60, 240, 960, 3840):
        tones = np.sin(2 * np.pi * rng.uniform(low, 3 * low, (3, 1)) * seconds + rng.uniform(0, 6, (3, 1))).sum(axis=0)
        stems.append(0.05 * tones * np.exp(-2 * (seconds % rng.uniform(0.2, 0.5))))
    return np.stack(stems).astype(np.float32)


def batch(*songs: audio.Samples) -> Batch:
    return Batch(
        mixtures=torch.from_numpy(np.stack([audio.mixture(stems) for stems in songs])),
        rate=SAMPLE_RATE,
        seeds=tuple(range(len(songs))),
        references=torch.from_numpy(np.stack(songs)),
    )


def score(system: Separator, stems: audio.Samples, metric: Metric = SI_SDRI) -> dict[str, WindowScores]:
    return metric(system.separate(batch(stems))[0].numpy(), stems, SAMPLE_RATE)


# Mixture and silence


def test_the_mixture_scores_exactly_nothing() -> None:
    np.testing.assert_array_equal(score(Mixture(), song(0))["msdm"].values, 0.0)


def test_silence_loses_what_the_mixture_had() -> None:
    """SI-SDRi = SI-SDR(silence) - SI-SDR(mixture), and silence is given 10 log10(eps / eps) = 0 dB."""
    had = score(Mixture(), song(0), SiSDR(improvement=False, window=WINDOW, hop=HOP))["active"].values
    np.testing.assert_allclose(score(Silence(), song(0))["active"].values, -had, rtol=0, atol=1e-6)


def test_silence_is_paid_for_a_silent_stem_in_msdm_only() -> None:
    stems = song(0)
    stems[2] = 0
    scores = score(Silence(), stems)
    assert (scores["msdm"].values[2] > 70).all() and np.isnan(scores["active"].values[2]).all()
    assert (scores["msdm"].values[[0, 1, 3]] < 40).all()


@pytest.mark.parametrize("system", [Mixture(), Silence(), IdealRatioMask()])
def test_a_batch_keeps_its_shape_and_type(system: Separator) -> None:
    stems = system.separate(batch(song(0), song(1)))
    assert (stems.shape, stems.dtype) == ((2, len(STEMS), FRAMES), torch.float32)


# The ideal ratio mask


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_ideal_mask_is_far_above_the_mixture_for_every_stem(power: float) -> None:
    assert (score(IdealRatioMask(power=power), song(0))["msdm"].values.mean(axis=1) > 15).all()


def test_the_ideal_masks_share_out_the_mixture() -> None:
    excerpts = batch(song(0), song(1))
    total = IdealRatioMask().separate(excerpts).sum(dim=1)
    torch.testing.assert_close(total, excerpts.mixtures, rtol=0, atol=ROUNDING)


def test_a_stem_alone_is_given_all_of_the_mixture() -> None:
    stems = song(0)
    stems[1:] = 0
    estimates = IdealRatioMask().separate(batch(stems))[0].numpy()
    np.testing.assert_allclose(estimates[0], stems[0], rtol=0, atol=ROUNDING)
    np.testing.assert_array_equal(estimates[1:], 0.0)


def test_equal_stems_are_given_equal_shares() -> None:
    estimates = IdealRatioMask().separate(batch(np.repeat(song(0)[:1], 4, axis=0)))[0].numpy()
    np.testing.assert_allclose(estimates, np.repeat(song(0)[:1], 4, axis=0), rtol=0, atol=ROUNDING)


def test_silence_comes_out_of_silence() -> None:
    np.testing.assert_array_equal(IdealRatioMask().separate(batch(np.zeros_like(song(0)))).numpy(), 0.0)


def test_an_excerpt_does_not_depend_on_its_batch() -> None:
    songs = [song(seed) for seed in range(5)]
    together = IdealRatioMask().separate(batch(*songs))
    for stems, expected in zip(songs, together, strict=True):
        torch.testing.assert_close(IdealRatioMask().separate(batch(stems))[0], expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("window", "frames"), [(512, FRAMES), (2048, FRAMES - 1), (2048, 11_113)])
def test_any_window_and_length_give_as_many_samples_as_there_were(window: int, frames: int) -> None:
    excerpts = batch(song(0, frames))
    estimates = IdealRatioMask(window=window).separate(excerpts)
    torch.testing.assert_close(estimates.sum(dim=1), excerpts.mixtures, rtol=0, atol=ROUNDING)


# Through the whole pipeline


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three bounds, run and scored on three songs, of which the last has a silent and a missing stem."""
    folder = tmp_path_factory.mktemp("bounds")
    for seed in range(3):
        stems = song(seed, 2 * FRAMES + 1000)
        (folder / "data" / "test" / f"Track{seed:05d}").mkdir(parents=True)
        for k, stem in enumerate(STEMS[: 3 if seed == 2 else 4]):
            quiet = np.float32(0.0 if (seed, stem) == (2, "drums") else 1.0)
            audio.write(
                folder / "data" / "test" / f"Track{seed:05d}" / f"{stem}.wav", quiet * stems[k : k + 1], SAMPLE_RATE
            )
    code = cli.main(
        [
            "run",
            "system=[mixture,silence,oracle-irm]",
            "dataset=msdm_layout",
            f"data={folder / 'data'}",
            f"cache={folder / 'cache'}",
            f"store={folder / 'store'}",
            f"protocol.chunk={FRAMES}",
            f"++metrics.si_sdri.window={WINDOW}",
            f"++metrics.si_sdri.hop={HOP}",
            "device=cpu",
        ]
    )
    assert code == 0
    return folder


def stored(home: Path, system: Separator) -> dict[str, dict[str, WindowScores]]:
    """The scores of a system by track and column, from the store."""
    store = Store(home / "store").refresh()
    found = {}
    for record in store.scores.values():
        if store.system(record["system"])["identity"]["class"].endswith(type(system).__qualname__):
            found[record["track"]] = {name: from_json(column) for name, column in record["columns"].items()}
    assert len(found) == 3
    return found


def test_the_pipeline_gives_the_mixture_exactly_nothing(home: Path) -> None:
    for columns in stored(home, Mixture()).values():
        assert columns["msdm"].values.shape == (4, 19)
        np.testing.assert_array_equal(columns["msdm"].values, 0.0)


@pytest.mark.parametrize("system", [Silence(), IdealRatioMask()])
def test_the_pipeline_gives_a_bound_what_it_has_by_itself(home: Path, system: Separator) -> None:
    for track, columns in stored(home, system).items():
        found = read_stems(home / "data" / "test" / track, SAMPLE_RATE)
        silence = np.zeros_like(found["bass"])
        stems = np.concatenate([found.get(stem, silence) for stem in STEMS])[:, : 2 * FRAMES]
        halves = system.separate(batch(stems[:, :FRAMES], stems[:, FRAMES:])).numpy()
        expected = SI_SDRI(np.concatenate(halves, axis=1), stems, SAMPLE_RATE)
        for name, scores in columns.items():
            np.testing.assert_allclose(scores.values, expected[name].values, rtol=0, atol=1e-3)


def test_the_bounds_are_in_their_order(home: Path) -> None:
    for track, oracle in stored(home, IdealRatioMask()).items():
        floor = np.nanmean(stored(home, Silence())[track]["active"].values)
        assert np.nanmean(oracle["active"].values) > max(15.0, floor + 5)
