"""(SI-)SDR against MSDM's loop, closed forms, museval, and every way to hand in an array."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.metrics.bsseval import BSSEval
from benchmarks.metrics.si_sdr import SILENT, SiSDR
from benchmarks.perf.literal import literal
from gmsdi import audio
from gmsdi.errors import BadInputError

RATE = 2000
SECONDS = 11  # five windows of 4 s: the last holds 3 s
METRICS = {
    "SI-SDRi": SiSDR(),
    "SI-SDR": SiSDR(improvement=False),
    "SDRi": SiSDR(scale_invariant=False),
    "SDR": SiSDR(scale_invariant=False, improvement=False),
}


def noise(*shape: int, seed: int = 0, level: float = 0.1) -> audio.Samples:
    return (level * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def parameters(metric: SiSDR) -> dict[str, float]:
    return {field.name: getattr(metric, field.name) for field in fields(metric)}


def assert_literal(
    metric: SiSDR, estimates: np.ndarray, references: np.ndarray, dtype: torch.dtype = torch.float32, atol: float = 1e-4
) -> None:
    found = metric(estimates, references, RATE)
    for column, expected in literal(estimates, references, RATE, **parameters(metric), dtype=dtype).items():
        assert found[column].values.shape == expected.shape
        np.testing.assert_allclose(found[column].values, expected, rtol=0, atol=atol)


@pytest.fixture
def references() -> audio.Samples:
    """Four stems of different loudness."""
    return noise(4, SECONDS * RATE) * np.float32([[1], [0.5], [2], [0.1]])


# MSDM's loop


ESTIMATES = {
    "good": lambda s: s + noise(*s.shape, seed=1, level=1e-3),
    "noisy": lambda s: s + noise(*s.shape, seed=1),
    "poor": lambda s: 0.01 * s + noise(*s.shape, seed=1),
    "inverted": lambda s: -s + noise(*s.shape, seed=1),
    "perfect": lambda s: s,
    "quieter": lambda s: 0.25 * s,
    "louder": lambda s: 2 * s,
    "silence": np.zeros_like,
    "mixture": lambda s: np.repeat(audio.mixture(s)[None], 4, axis=0),
    "stems in another order": lambda s: np.roll(s, 1, axis=0) + 0.1 * s,
}


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize("estimate", ESTIMATES.values(), ids=ESTIMATES)
def test_equals_the_literal_loop(metric: SiSDR, estimate, references: audio.Samples) -> None:
    assert_literal(metric, estimate(references), references)


@pytest.mark.parametrize("gain", [0.3, 7.0])
def test_equals_the_loop_without_its_rounding_for_a_scaled_copy(gain: float, references: audio.Samples) -> None:
    """Over 90 dB roundings are as loud as eps: of α in the loop's float32, tenths of a dB; of ‖αs − p‖² here, hundredths at most."""
    estimates = np.float32(gain) * references
    assert_literal(SiSDR(), estimates, references, torch.float64, atol=1e-2)
    assert_literal(SiSDR(), estimates, references, torch.float32, atol=0.5)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_equals_the_literal_loop_around_silences(metric: SiSDR, references: audio.Samples) -> None:
    references[0, : 5 * RATE] = 0  # silent in the first window, half silent in the second
    references[1, 3 * RATE :] *= 1e-6  # silent for the protocol, not for the digits
    references[2] = 0  # a stem that is missing
    assert_literal(metric, references + noise(*references.shape, seed=1, level=0.01), references)


@pytest.mark.parametrize(
    ("window", "hop"),
    [(4.0, 4.0), (4.0, 1.5), (1.0, 0.37), (0.7, 0.0005)],
    ids=["no overlap", "3/8", "37 %", "1 sample"],
)
def test_equals_the_literal_loop_for_other_windows(window: float, hop: float, references: audio.Samples) -> None:
    references = references[:, : round(window * RATE) + 50]
    assert_literal(SiSDR(window=window, hop=hop), references + noise(*references.shape, seed=1), references)


@pytest.mark.parametrize("samples", [1, 10, 11, 19, 20, 21, 29, 30, 31, 40])
def test_equals_the_literal_loop_to_the_last_sample(samples: int, references: audio.Samples) -> None:
    """Windows of 20 samples every 10: a track of 10 has no window, one of 11 has one of 11 samples, one of 31 a third of 11."""
    references = references[:, :samples]
    metric = SiSDR(window=20 / RATE, hop=10 / RATE)
    estimates = references + noise(*references.shape, seed=1)
    assert_literal(metric, estimates, references)
    assert metric(estimates, references, RATE)["msdm"].values.shape[1] == max(0, -(-(samples - 10) // 10))


@settings(max_examples=40, deadline=None)
@given(
    samples=st.integers(1, 700),
    window=st.integers(1, 200),
    hop=st.integers(1, 200),
    silences=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 700), st.integers(0, 700)), max_size=8),
    estimate=st.sampled_from(list(ESTIMATES)),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_literal_loop_whatever_the_lengths_and_silences(
    samples: int, window: int, hop: int, silences: list[tuple[int, int, int]], estimate: str, seed: int
) -> None:
    references = noise(4, samples, seed=seed)
    for stem, start, length in silences:
        references[stem, start : start + length] = 0
    metric = SiSDR(window=max(window, hop) / RATE, hop=hop / RATE)
    assert_literal(metric, ESTIMATES[estimate](references), references, torch.float64, atol=1e-5)


# Closed forms


def orthogonal(frames: int = 4 * RATE) -> tuple[np.ndarray, np.ndarray]:
    """A sine and a cosine over whole periods: orthogonal, and equally loud."""
    phase = 2 * np.pi * 50 * np.arange(frames) / RATE
    return np.sin(phase), np.cos(phase)


def one_window(metric: SiSDR, estimate: np.ndarray, reference: np.ndarray) -> float:
    """The value of one estimate of one stem, in one window that a second stem makes count."""
    other = noise(*reference.shape, seed=9)
    return float(metric(np.stack([estimate, other]), np.stack([reference, other]), RATE)["msdm"].values[0, 0])


@pytest.mark.parametrize("leak", [1e-2, 0.1, 1.0, 10.0])
def test_an_orthogonal_error_has_the_closed_form(leak: float) -> None:
    sine, cosine = orthogonal()
    for name in ("SI-SDR", "SDR"):
        assert one_window(METRICS[name], sine + leak * cosine, sine) == pytest.approx(-20 * np.log10(leak), abs=1e-3)


def test_orthogonalised_noise_has_the_closed_form() -> None:
    source, error = np.random.default_rng(0).standard_normal((2, 4 * RATE))
    error -= (error @ source) / (source @ source) * source
    expected = 10 * np.log10((source @ source) / (0.25 * error @ error))
    assert one_window(METRICS["SI-SDR"], source + 0.5 * error, source) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("gain", "leak"), [(0.5, 0.1), (2.0, 0.1), (-1.0, 0.3), (0.9, 0.01)])
def test_sdr_pays_for_the_gain_and_si_sdr_does_not(gain: float, leak: float) -> None:
    sine, cosine = orthogonal()
    estimate = gain * sine + leak * cosine
    error = (gain - 1) ** 2 + leak**2
    assert one_window(METRICS["SI-SDR"], estimate, sine) == pytest.approx(20 * np.log10(abs(gain) / leak), abs=1e-3)
    assert one_window(METRICS["SDR"], estimate, sine) == pytest.approx(-10 * np.log10(error), abs=1e-3)


@pytest.mark.parametrize("gain", [1e-2, 0.5, 3.0, -20.0])
def test_si_sdr_ignores_the_scale_of_the_estimate(gain: float, references: audio.Samples) -> None:
    """Up to eps, which is 1e-8 beside an error of 1e-2² · 0.1² · 8000 samples · 1e-2 = 1e-4: 4e-4 dB."""
    estimates = references + noise(*references.shape, seed=1)
    metric = METRICS["SI-SDRi"]
    before, after = (metric(scale * estimates, references, RATE)["msdm"].values for scale in (1, np.float32(gain)))
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-3)


def test_the_mixture_improves_on_itself_by_exactly_nothing(references: audio.Samples) -> None:
    references[1, : 5 * RATE] = references[2] = 0
    estimates = np.repeat(audio.mixture(references)[None], 4, axis=0)
    for name in ("SI-SDRi", "SDRi"):
        values = METRICS[name](estimates, references, RATE)["msdm"].values
        np.testing.assert_array_equal(values, np.zeros((4, 5)))


@pytest.mark.parametrize(("rms", "paid"), [(1e-2, 20.0), (1e-3, 40.0), (0.0, 109.5)])
def test_what_msdm_pays_for_suppressing_a_silent_stem(rms: float, paid: float) -> None:
    """10 log10 of ‖m‖² / ‖p‖² for a mixture m at -20 dBFS; for p = 0 of ‖m‖² / eps = 88200 · 0.01 / 1e-8."""
    references = noise(4, 88_200, level=0.1 / np.sqrt(2))
    references[2:] = 0
    estimates = references + noise(*references.shape, seed=1, level=rms)
    scores = SiSDR()(estimates, references, 22_050)
    np.testing.assert_allclose(scores["msdm"].values[2:], paid, atol=0.2)
    assert (scores["active"].reasons[2:] == SILENT).all()


def test_active_leaves_a_window_out_for_the_silent_stem_only(references: audio.Samples) -> None:
    references[0, : 5 * RATE] = 0
    scores = SiSDR()(references + noise(*references.shape, seed=1), references, RATE)
    silent = np.zeros((4, 5), dtype=bool)
    silent[0, 0] = True
    np.testing.assert_array_equal(scores["active"].reasons, np.where(silent, SILENT, ""))
    np.testing.assert_array_equal(scores["active"].values[~silent], scores["msdm"].values[~silent])


def test_a_window_with_one_active_stem_does_not_count(references: audio.Samples) -> None:
    references[1:, : 5 * RATE] = 0
    assert SiSDR()(references, references, RATE)["msdm"].values.shape == (4, 4)


# Other implementations


def test_equals_the_textbook_formula_in_double_precision(references: audio.Samples) -> None:
    """Le Roux et al.'s equations, no eps, on one window."""
    s = references[:, : 4 * RATE].astype(np.float64)
    p = (s + noise(*s.shape, seed=1)).astype(np.float32).astype(np.float64)
    m = audio.mixture(references[:, : 4 * RATE]).astype(np.float64)

    def si_sdr(estimate: np.ndarray, source: np.ndarray) -> float:
        target = (estimate @ source) / (source @ source) * source
        return 10 * np.log10((target @ target) / ((target - estimate) @ (target - estimate)))

    expected = [si_sdr(p[k], s[k]) - si_sdr(m, s[k]) for k in range(4)]
    np.testing.assert_allclose(SiSDR()(p, s, RATE)["msdm"].values[:, 0], expected, rtol=0, atol=1e-5)


def test_sdr_is_that_of_museval(references: audio.Samples) -> None:
    """BSSEval v4 forgives no filter in its SDR, so it is the plain one."""
    estimates = references + noise(*references.shape, seed=1)
    found = SiSDR(scale_invariant=False, improvement=False, hop=4.0)(estimates, references, RATE)["msdm"].values
    museval = BSSEval(window=4.0, hop=4.0, filters=1, dither=0.0)(estimates, references, RATE)["SDR"].values
    np.testing.assert_allclose(found[:, : museval.shape[1]], museval, rtol=0, atol=1e-5)


def test_si_sdr_is_the_sar_of_museval_with_one_tap(references: audio.Samples) -> None:
    """A filter of one tap is α, and where there is one source everything that α does not explain is artefact."""
    estimates = references + noise(*references.shape, seed=1)
    found = SiSDR(improvement=False, window=SECONDS, hop=SECONDS)(estimates, references, RATE)["msdm"].values[:, 0]
    from museval.metrics import bss_eval

    window = SECONDS * RATE
    pairs = [(references[k : k + 1].astype(float), estimates[k : k + 1].astype(float)) for k in range(4)]
    sar = [bss_eval(reference, estimate, window, window, filters_len=1)[3].item() for reference, estimate in pairs]
    np.testing.assert_allclose(found, sar, rtol=0, atol=1e-5)


# The same samples, however they are handed in


@pytest.fixture
def estimates(references: audio.Samples) -> audio.Samples:
    return references + noise(*references.shape, seed=1)


def layouts(samples: audio.Samples, folder: Path, name: str) -> dict[str, np.ndarray]:
    np.save(folder / f"{name}.npy", samples)
    wide = np.zeros((4, 2 * samples.shape[1] + 1), dtype=np.float32)
    wide[:, 1::2] = samples
    return {
        "fortran": np.asfortranarray(samples),
        "mapped": np.load(folder / f"{name}.npy", mmap_mode="r"),
        "strided": wide[:, 1::2],
        "double": samples.astype(np.float64),
        "big-endian": samples.astype(">f4"),
    }


def test_the_memory_layout_changes_no_bit(tmp_path: Path, estimates: audio.Samples, references: audio.Samples) -> None:
    expected = SiSDR()(estimates, references, RATE)["active"].values
    given_in = layouts(estimates, tmp_path, "estimates"), layouts(references, tmp_path, "references")
    for (layout, p), s in zip(given_in[0].items(), given_in[1].values(), strict=True):
        np.testing.assert_array_equal(SiSDR()(p, s, RATE)["active"].values, expected, err_msg=layout)


def test_stems_may_be_a_list_of_files_mapped_into_memory(tmp_path: Path, references: audio.Samples) -> None:
    mapped = []
    for k, stem in enumerate(references):
        audio.write(tmp_path / f"{k}.wav", stem[None], RATE)
        mapped.append(audio.read(tmp_path / f"{k}.wav")[0][0])
    estimates = 0.5 * np.roll(references, 1, axis=0) + references
    expected = SiSDR()(estimates, references, RATE)["msdm"].values
    np.testing.assert_array_equal(SiSDR()(list(estimates), mapped, RATE)["msdm"].values, expected)


def test_threads_change_no_bit(estimates: audio.Samples, references: audio.Samples) -> None:
    expected = SiSDR()(estimates, references, RATE)["msdm"].values
    with ThreadPoolExecutor(8) as pool:
        for scores in pool.map(lambda _: SiSDR()(estimates, references, RATE), range(32)):
            np.testing.assert_array_equal(scores["msdm"].values, expected)


def test_the_inputs_are_left_alone(estimates: audio.Samples, references: audio.Samples) -> None:
    before = estimates.copy(), references.copy()
    SiSDR()(estimates, references, RATE)
    np.testing.assert_array_equal(estimates, before[0])
    np.testing.assert_array_equal(references, before[1])


# Signature and parameters


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_the_signature_names_every_parameter(metric: SiSDR) -> None:
    """Any change of a parameter, however small, shows in the signature of every column."""
    for name, value in parameters(metric).items():
        for other in [not value] if isinstance(value, bool) else [value * 0.75, value * (1 - 1e-9)]:
            changed = replace(metric, **{"hop": metric.window * 0.5, name: other})
            same = replace(metric, hop=metric.window * 0.5)
            assert not set(changed.columns.values()) & set(same.columns.values()), name


def test_the_signature_of_the_papers_metric() -> None:
    """Stored scores are found by it: a change of these words orphans them."""
    assert SiSDR().columns == {
        "msdm": "sisdri|win:4s|hop:2s|silence:1.5e-05|eps:1e-08|v:1|silent:scored|agg:window-mean",
        "active": "sisdri|win:4s|hop:2s|silence:1.5e-05|eps:1e-08|v:1|silent:skipped|agg:window-mean",
    }


@pytest.mark.parametrize(("stems", "samples"), [(3, SECONDS * RATE), (4, SECONDS * RATE - 1)])
def test_estimates_must_be_as_many_and_as_long_as_references(
    stems: int, samples: int, references: audio.Samples
) -> None:
    for one, other in ((references, references[:stems, :samples]), (references[:stems, :samples], references)):
        with pytest.raises(ValueError, match="differ"):
            SiSDR()(one, other, RATE)


@pytest.mark.parametrize(("window", "hop"), [(4.0, 0.0), (4.0, -1.0), (1.0, 2.0)])
def test_a_hop_must_be_positive_and_no_longer_than_the_window(window: float, hop: float) -> None:
    with pytest.raises(BadInputError, match="hop"):
        SiSDR(window=window, hop=hop)
