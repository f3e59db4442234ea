"""BSSEval against museval itself, mir_eval, closed forms, and silence of every kind."""

import subprocess
import sys
import warnings
from dataclasses import fields, replace

import numpy as np
import pytest

from benchmarks.metrics.bsseval import NOT_FINITE, SILENT_ESTIMATE, SILENT_REFERENCE, SOLO, BSSEval
from benchmarks.metrics.scores import WindowScores
from gmsdi import audio
from gmsdi.errors import BadInputError

RATE = 8000
METRICS = ("SDR", "ISR", "SIR", "SAR")  # in museval's order
BSS = BSSEval(filters=32, dither=0.0)


def noise(*shape: int, seed: int = 0) -> audio.Samples:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def museval_scores(estimates: audio.Samples, references: audio.Samples, filters: int = 32) -> np.ndarray:
    """museval called directly, [4, K, W]."""
    from museval.metrics import bss_eval

    found = bss_eval(references.astype(np.float64), estimates.astype(np.float64), RATE, RATE, filters_len=filters)
    return np.stack(found[:4])


def stacked(scores: dict[str, WindowScores]) -> np.ndarray:
    return np.stack([scores[name].values for name in METRICS])


@pytest.fixture
def references() -> audio.Samples:
    return noise(3, 4 * RATE)


@pytest.fixture
def estimates(references: audio.Samples) -> audio.Samples:
    """Each stem with a little of the next one and of noise."""
    return references + 0.3 * np.roll(references, 1, axis=0) + 0.2 * noise(*references.shape, seed=1)


def test_equals_museval(estimates: audio.Samples, references: audio.Samples) -> None:
    scores = BSSEval(dither=0.0)(estimates, references, RATE)
    np.testing.assert_array_equal(stacked(scores), museval_scores(estimates, references, filters=512))
    assert set(scores) == set(METRICS)
    assert all((score.reasons == "").all() for score in scores.values())


def test_window_and_hop_are_seconds(estimates: audio.Samples, references: audio.Samples) -> None:
    from museval.metrics import bss_eval

    found = bss_eval(references.astype(np.float64), estimates.astype(np.float64), 12000, 4000, filters_len=32)
    scores = BSSEval(window=1.5, hop=0.5, filters=32, dither=0.0)(estimates, references, RATE)
    assert scores["SDR"].values.shape == (3, 6)
    np.testing.assert_array_equal(stacked(scores), found[:4])


def test_the_inputs_are_left_alone(estimates: audio.Samples, references: audio.Samples) -> None:
    references, estimates = references.astype(np.float64), estimates.astype(np.float64)
    references[0, :RATE] = estimates[1] = 0
    before = references.copy(), estimates.copy()
    BSS(estimates, references, RATE)
    np.testing.assert_array_equal(references, before[0])
    np.testing.assert_array_equal(estimates, before[1])


def test_agrees_with_mir_eval_over_the_whole_signal(estimates: audio.Samples, references: audio.Samples) -> None:
    """mir_eval's v3 fits the filter per window, so the two definitions meet in one window that is the whole signal."""
    from mir_eval.separation import bss_eval_images

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sdr, isr, sir, sar, _ = bss_eval_images(
            references.astype(np.float64)[..., None], estimates.astype(np.float64)[..., None], compute_permutation=False
        )
    scores = BSSEval(window=4.0, hop=4.0, dither=0.0)(estimates, references, RATE)
    # Two implementations of one least-squares fit in float64: they differ by rounding only.
    np.testing.assert_allclose(stacked(scores)[..., 0], [sdr, isr, sir, sar], atol=1e-6)


@pytest.mark.parametrize("leak", [0.5, 0.1])
def test_interference_has_the_closed_form(leak: float) -> None:
    """estimate = s1 + leak·s2 of orthogonal unit noises: SIR = SDR = -20 log10(leak), no artefacts.

    A window of N = 8000 samples measures each of the two energies to a relative sqrt(2/N) = 1.6 %, 0.07 dB, so their
    ratio to 0.1 dB; the tolerance is three times that.  The sample correlation of the stems adds less.
    """
    s1, s2 = noise(2, 4 * RATE)
    scores = BSS(np.stack([s1 + leak * s2, s2]), np.stack([s1, s2]), RATE)
    expected = -20 * np.log10(leak)
    np.testing.assert_allclose(scores["SIR"].values[0], expected, atol=0.3)
    np.testing.assert_allclose(scores["SDR"].values[0], expected, atol=0.3)
    assert (scores["SAR"].values[0] > 100).all()


@pytest.mark.parametrize("level", [0.5, 0.1])
def test_artefacts_have_the_closed_form(level: float) -> None:
    """estimate = s1 + level·noise, the noise orthogonal to every reference: SDR = -20 log10(level).

    SAR compares the projection with what is left of it.  The 2 x 32 taps, fitted on 32000 samples, explain 0.2 % of the
    noise, 0.01 dB, so SAR is the same number; tolerance as above.  The SIR sees only those 0.2 %, half of them through
    the other stem: about 10 log10(32000 / 32) = 30 dB above the SDR.
    """
    references = noise(2, 4 * RATE)
    estimates = references + level * noise(2, 4 * RATE, seed=1)
    scores = BSS(estimates, references, RATE)
    expected = -20 * np.log10(level)
    np.testing.assert_allclose(scores["SDR"].values, expected, atol=0.3)
    np.testing.assert_allclose(scores["SAR"].values, expected, atol=0.3)
    np.testing.assert_allclose(np.median(scores["SIR"].values, axis=1), expected + 30, atol=3)


def test_a_forgiven_filter_costs_isr_only() -> None:
    """estimate = 0.5·s1: the gain is a filter, so the ISR and the SDR are 20 log10(2), SAR and SIR are huge."""
    references = noise(2, 4 * RATE)
    scores = BSS(0.5 * references, references, RATE)
    for name in ("ISR", "SDR"):
        np.testing.assert_allclose(scores[name].values, 20 * np.log10(2), atol=1e-6)
    for name in ("SIR", "SAR"):
        assert (scores[name].values > 100).all()


def test_a_silent_reference_leaves_the_others_scored_without_it(
    estimates: audio.Samples, references: audio.Samples
) -> None:
    references[1] = 0
    scores = BSS(estimates, references, RATE)
    np.testing.assert_array_equal(stacked(scores)[:, [0, 2]], museval_scores(estimates[[0, 2]], references[[0, 2]]))
    for score in scores.values():
        assert (score.reasons[1] == SILENT_REFERENCE).all() and np.isnan(score.values[1]).all()
        assert (score.reasons[[0, 2]] == "").all()


def test_all_references_silent(estimates: audio.Samples, references: audio.Samples) -> None:
    for score in BSS(estimates, np.zeros_like(references), RATE).values():
        assert score.values.shape == (3, 4)
        assert (score.reasons == SILENT_REFERENCE).all() and np.isnan(score.values).all()


def test_a_zero_estimate_changes_no_other_row(estimates: audio.Samples, references: audio.Samples) -> None:
    before = BSS(estimates, references, RATE)
    estimates[1] = 0
    after = BSS(estimates, references, RATE)
    np.testing.assert_array_equal(stacked(after)[:, [0, 2]], stacked(before)[:, [0, 2]])
    for score in after.values():
        assert (score.reasons[1] == SILENT_ESTIMATE).all() and np.isnan(score.values[1]).all()
        assert (score.reasons[[0, 2]] == "").all()


@pytest.mark.parametrize(("silent", "reason"), [("reference", SILENT_REFERENCE), ("estimate", SILENT_ESTIMATE)])
def test_a_silent_window_is_undefined_for_its_stem_only(
    estimates: audio.Samples, references: audio.Samples, silent: str, reason: str
) -> None:
    zeroed = references if silent == "reference" else estimates
    zeroed[1, RATE : 2 * RATE] = 0
    scores = BSS(estimates, references, RATE)
    direct = museval_scores(estimates, references)
    assert np.isnan(direct[..., 1]).all()  # museval drops the window for every stem
    np.testing.assert_array_equal(stacked(scores)[..., [0, 2, 3]], direct[..., [0, 2, 3]])
    undefined = np.zeros((3, 4), dtype=bool)
    undefined[1, 1] = True
    for score in scores.values():
        np.testing.assert_array_equal(np.isnan(score.values), undefined)
        np.testing.assert_array_equal(score.reasons, np.where(undefined, reason, ""))


@pytest.mark.parametrize("silent", ["reference", "estimate"])
def test_the_other_stems_of_a_silent_window_have_their_limit(
    estimates: audio.Samples, references: audio.Samples, silent: str
) -> None:
    """museval itself, given one sample of -200 dB in place of the silence, returns the same numbers."""
    zeroed = references if silent == "reference" else estimates
    zeroed[1, RATE : 2 * RATE] = 0
    scores = BSS(estimates, references, RATE)
    zeroed[1, RATE + 5] = 1e-10
    limit = museval_scores(estimates, references)
    np.testing.assert_allclose(stacked(scores)[:, [0, 2], 1], limit[:, [0, 2], 1], atol=1e-6)


def test_a_window_with_a_single_sounding_reference_does_not_count(
    estimates: audio.Samples, references: audio.Samples
) -> None:
    references[:2, RATE : 2 * RATE] = 0
    for score in BSS(estimates, references, RATE).values():
        assert score.reasons[:, 1].tolist() == [SILENT_REFERENCE, SILENT_REFERENCE, SOLO]
        assert (score.reasons[:, [0, 2, 3]] == "").all()


def test_a_broken_estimate_is_undefined_for_its_stem_only(estimates: audio.Samples, references: audio.Samples) -> None:
    before = BSS(estimates, references, RATE)
    estimates[1, 0] = np.nan
    after = BSS(estimates, references, RATE)
    np.testing.assert_array_equal(stacked(after)[:, [0, 2]], stacked(before)[:, [0, 2]])
    assert all((score.reasons[1] == NOT_FINITE).all() for score in after.values())


def test_references_without_a_noise_floor_have_the_closed_form(references: audio.Samples) -> None:
    """Orthogonal stems and artifacts at -10 dB, the top of the band empty in all: plain museval gives an SIR of -50 dB."""
    clean = 0.1 * without_the_top(references)
    artifacts = 0.1 * 10 ** (-10 / 20) * without_the_top(noise(*references.shape, seed=1))
    scores = BSSEval()(clean + artifacts, clean, RATE)
    np.testing.assert_allclose(scores["SDR"].values, 10, atol=0.5)
    # the filters of all stems, 1536 taps over 32000 samples, catch about a twentieth of the artifacts
    np.testing.assert_allclose(scores["SAR"].values, 10, atol=0.5)
    assert (scores["SIR"].values > 18).all()


def without_the_top(signals: audio.Samples) -> audio.Samples:
    spectra = np.fft.rfft(signals)
    spectra[:, int(0.95 * spectra.shape[1]) :] = 0
    return np.fft.irfft(spectra).astype(np.float32)


def test_shapes_must_match(estimates: audio.Samples, references: audio.Samples) -> None:
    with pytest.raises(ValueError, match="differ"):
        BSS(estimates[:2], references, RATE)


def test_the_signature_names_every_parameter() -> None:
    default = BSSEval()
    assert default.signature == (
        "bsseval|v4|win:1s|hop:1s|filters:512|dither:0.0001|silence:per-stem|sounding:2|agg:median|museval:0.4.1|v:1"
    )
    changed = {replace(default, **{f.name: 2 * getattr(default, f.name)}).signature for f in fields(default)}
    assert len(changed | {default.signature}) == len(fields(default)) + 1


@pytest.mark.parametrize("name", ["window", "hop", "filters"])
def test_a_parameter_must_be_positive(name: str) -> None:
    with pytest.raises(BadInputError, match="positive"):
        BSSEval(**{name: 0})


def test_without_ffmpeg_one_line_says_what_to_install() -> None:
    """In a process of its own, where museval has not been imported and PATH leads nowhere."""
    script = """
import numpy as np
from benchmarks.metrics.bsseval import BSSEval
from gmsdi.errors import BadInputError
try:
    import museval
except RuntimeError:
    pass
else:
    raise SystemExit("museval was importable: the test proves nothing")
try:
    BSSEval()(np.ones((1, 8000)), np.ones((1, 8000)), 8000)
except BadInputError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PATH": "/nonexistent"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n") == 1 and "apt-get install ffmpeg" in done.stdout
