"""Coherence: closed forms of clicks and chords, what must not matter, and real songs against wrong ones."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data.dataset import Dataset
from benchmarks.data.minislakh.dataset import MiniSlakh
from benchmarks.figures.coherence_study import SUBSETS, Beats, Comparison, excerpts, main
from benchmarks.metrics.coherence import Agreement, Coherence, Floats, Flux, Harmony, Onsets, Overlap, Rhythm, Stems
from benchmarks.plan.units import Protocol
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError

SECONDS = 6
METRICS = [Rhythm(), Onsets(), Harmony()]


def clicks(beat: float = 0.5, offset: float = 0.1, rate: int = SAMPLE_RATE) -> np.ndarray:
    """A decaying tone of 1 kHz on each beat."""
    samples = np.zeros(SECONDS * rate, dtype=np.float32)
    time = np.arange(rate // 10) / rate
    click = 0.5 * np.exp(-time / 0.01) * np.sin(2 * np.pi * 1000 * time)
    for start in np.arange(offset, SECONDS - 0.2, beat):
        place = round(start * rate)
        samples[place : place + len(click)] += click
    return samples


def chord(*pitches: int, seconds: float = SECONDS, rate: int = SAMPLE_RATE) -> np.ndarray:
    """Sines of MIDI pitches."""
    time = np.arange(round(seconds * rate)) / rate
    tones = [np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time + pitch) for pitch in pitches]
    return (0.1 * np.sum(tones, axis=0)).astype(np.float32)


def of(metric: Coherence, given: np.ndarray, generated: np.ndarray, rate: int = SAMPLE_RATE) -> Agreement:
    return metric({"guitar": given}, {"piano": generated}, rate)


C_MAJOR, F_SHARP_MAJOR, A_MINOR = (60, 64, 67), (66, 70, 73), (57, 60, 64)


@pytest.mark.parametrize("metric", [Rhythm(), Onsets(), Beats()], ids=lambda metric: type(metric).__name__)
def test_the_same_clicks_agree_and_clicks_half_a_beat_later_do_not(metric: Coherence) -> None:
    assert of(metric, clicks(), clicks()).value == pytest.approx(1)
    assert of(metric, clicks(), clicks(offset=0.35)).value <= 0.02


def test_clicks_at_half_the_tempo_meet_every_other_click() -> None:
    """12 clicks and 6 of them: precision 1, recall 1/2."""
    assert of(Onsets(), clicks(0.5), clicks(1.0)).value == pytest.approx(2 / 3)


@pytest.mark.parametrize(("late", "expected"), [(0.015, 1.0), (0.045, 0.0)])
def test_onsets_agree_within_the_tolerance(late: float, expected: float) -> None:
    assert of(Onsets(), clicks(), clicks(offset=0.1 + late)).value == pytest.approx(expected)


def test_other_sounds_on_the_same_beats_are_the_same_rhythm() -> None:
    noise = np.random.default_rng(0).normal(0, 0.5, SECONDS * SAMPLE_RATE)
    bursts = (np.abs(clicks()) * noise).astype(np.float32)
    assert of(Rhythm(), clicks(), bursts).value > 0.8
    assert of(Onsets(), clicks(), bursts).value == pytest.approx(1)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (C_MAJOR, 1.0),
        ((48, 76, 67), 1.0),  # other octaves
        (A_MINOR, 5 / 9),  # two common tones of three: (2/12 − 1/16) / (3/16)
        (F_SHARP_MAJOR, -1 / 3),  # none: (0 − 1/16) / (3/16)
    ],
)
def test_chords_agree_as_their_pitch_classes_do(other: tuple[int, ...], expected: float) -> None:
    assert of(Harmony(), chord(*C_MAJOR), chord(*other)).value == pytest.approx(expected, abs=0.05)


def test_harmony_is_heard_segment_by_segment() -> None:
    """Two chords in the other order: the same pitch classes on the whole, and never at one time."""
    halves = [chord(*pitches, seconds=SECONDS / 2) for pitches in (C_MAJOR, F_SHARP_MAJOR)]
    forth, back = np.concatenate(halves), np.concatenate(halves[::-1])
    assert of(Harmony(), forth, back).value < -0.2


def test_rests_do_not_count_for_harmony() -> None:
    brief = chord(*C_MAJOR)
    brief[2 * SAMPLE_RATE :] = 0
    assert of(Harmony(), chord(*C_MAJOR), brief).value == pytest.approx(1, abs=0.05)
    late = chord(*C_MAJOR)
    late[: 3 * SAMPLE_RATE] = 0
    assert of(Harmony(), brief, late).reason == "the two sides never have pitches at one time"


def test_drums_have_no_harmony() -> None:
    tonal, beat = {"piano": chord(*C_MAJOR)}, {"drums": clicks()}
    assert Harmony()(tonal, beat, SAMPLE_RATE).reason == "no pitched stem is generated"
    assert Harmony()(beat, tonal, SAMPLE_RATE).reason == "no pitched stem is given"
    assert Harmony()(tonal | beat, tonal, SAMPLE_RATE) == Harmony()(tonal, tonal, SAMPLE_RATE)
    assert Rhythm()(tonal | beat, beat, SAMPLE_RATE).value > 0.5


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_silence_and_little_are_undefined_for_a_reason(metric: Coherence) -> None:
    sound = clicks()
    assert of(metric, sound, np.zeros_like(sound)).reason == "what is generated is silent"
    assert of(metric, 1e-5 * sound, sound).reason == "what is given is silent"
    assert "no stem" in metric({"piano": sound}, {}, SAMPLE_RATE).reason.replace("pitched ", "")
    assert "shorter than" in of(metric, sound[2205:3205], sound[2205:3205]).reason
    assert of(metric, sound[:0], sound[:0]).reason == "what is given is silent"


@pytest.mark.parametrize("metric", [Rhythm(), Onsets()], ids=lambda metric: type(metric).__name__)
def test_a_side_without_onsets_is_undefined(metric: Coherence) -> None:
    """A level that never rises: a constant has the same spectrum in every frame."""
    assert of(metric, np.full(SECONDS * SAMPLE_RATE, 0.1, dtype=np.float32), clicks()).reason == "a side has no onsets"


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_bad_input_is_refused(metric: Coherence) -> None:
    sound = clicks()
    broken = sound.copy()
    broken[7] = np.nan
    with pytest.raises(BadInputError, match=r"generated piano: NaN or infinite samples"):
        of(metric, sound, broken)
    with pytest.raises(ValueError, match="differ in length"):
        of(metric, sound, sound[1:])


def test_an_agreement_is_finite_or_has_a_reason() -> None:
    for value, reason in ((float("nan"), ""), (1.0, "silent"), (float("inf"), "")):
        with pytest.raises(ValueError, match="finite, or undefined with a reason"):
            Agreement(value, reason)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_every_parameter_is_in_the_signature(metric: Coherence) -> None:
    signatures = {metric.signature}
    variants = [replace(metric, **{f.name: getattr(metric, f.name) * 2}) for f in fields(metric) if f.name != "flux"]  # type: ignore[type-var]
    if hasattr(metric, "flux"):
        flux = metric.flux
        variants += [replace(metric, flux=replace(flux, **{f.name: getattr(flux, f.name) * 2})) for f in fields(Flux)]  # type: ignore[type-var]
    signatures |= {variant.signature for variant in variants}
    assert len(signatures) == 1 + len(variants)


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> list[Stems]:
    """Middles of real songs, composed and rendered."""
    root = tmp_path_factory.mktemp("songs")
    dataset: Dataset = MiniSlakh("MiniSlakh", root, seed=0, songs={"validation": 5}).split("validation")
    return excerpts(dataset, Protocol("quick", 131_072, 1))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_the_right_song_agrees_more_than_a_wrong_one(metric: Coherence, songs: list[Stems]) -> None:
    found = Comparison.of(metric, songs, SAMPLE_RATE)
    assert found.songs >= 4
    assert np.nanmean(found.right) > np.nanmean(found.wrong) + 0.2
    assert found.auc() > 0.75


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_loudness_order_sides_and_rate_do_not_matter(metric: Coherence, songs: list[Stems]) -> None:
    song = songs[3]
    given, generated = ({stem: song[stem] for stem in side} for side in (("bass", "piano"), ("drums", "guitar")))
    found = metric(given, generated, SAMPLE_RATE)
    assert metric(given, generated, SAMPLE_RATE) == found
    assert metric(dict(reversed(given.items())), generated, SAMPLE_RATE) == found
    assert metric(generated, given, SAMPLE_RATE).value == pytest.approx(found.value, abs=1e-12)
    louder = {stem: 1.7 * samples for stem, samples in generated.items()}
    assert metric(given, louder, SAMPLE_RATE).value == pytest.approx(found.value, abs=1e-5)

    def doubled(side: Stems) -> Stems:
        return {stem: audio.resample(samples[None], SAMPLE_RATE, 2 * SAMPLE_RATE)[0] for stem, samples in side.items()}

    assert metric(doubled(given), doubled(generated), 2 * SAMPLE_RATE).value == pytest.approx(found.value, abs=0.05)


def comparison(right: list[float], wrong: list[float]) -> Comparison:
    return Comparison(*(np.array(values, dtype=np.float64)[:, None] for values in (right, wrong)))


def test_the_auc_counts_duels() -> None:
    """Of right 1, 2, 3 against wrong 0, 2, 2.5: 1 + 1.5 + 3 of 9."""
    found = comparison([1, 2, 3], [0, 2, 2.5])
    assert found.auc() == pytest.approx(5.5 / 9)
    low, high = found.interval()
    assert low < found.auc() < high


def test_apart_the_auc_is_one_and_p_the_least_that_flips_can_say() -> None:
    random = np.random.default_rng(0)
    found = comparison(list(2 + random.random(8)), list(random.random(8)))
    assert found.auc() == 1 and found.interval() == (1, 1)
    assert found.p() == pytest.approx(2 / 2**8)


def test_chance_is_one_half() -> None:
    random = np.random.default_rng(1)
    found = comparison(list(random.random(400)), list(random.random(400)))
    low, high = found.interval()
    assert low < 0.5 < high
    assert found.p() > 0.01


def test_a_metric_that_cannot_hear_is_found_out(songs: list[Stems]) -> None:
    """A constant has an AUC of exactly one half, with an interval of no width."""

    class Deaf(Coherence):
        signature = "deaf"

        def agreement(self, one: Floats, other: Floats) -> float:
            return 0.5

    found = Comparison.of(Deaf(), songs, SAMPLE_RATE)
    assert found.auc() == 0.5 and found.interval() == (0.5, 0.5)


def test_the_subsets_are_those_of_sub_fad() -> None:
    letters = ["".join(stem[0].upper() for stem in subset) for subset in SUBSETS]
    assert letters == ["B", "D", "G", "P", "BD", "BG", "BP", "DG", "DP", "GP", "BDG", "BDP", "BGP", "DGP"]
    assert len(STEMS) == 4


def test_the_study_wants_a_file_and_tells_of_a_wrong_override(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([]) == 4
    assert "usage" in capsys.readouterr().err
    assert main([str(tmp_path / "out.md"), "dataset=nowhere"]) == 4
    assert "nowhere" in capsys.readouterr().err
    assert not (tmp_path / "out.md").exists()


def test_overlap_is_of_the_very_waveforms() -> None:
    """The same, whatever its gain and sign, is 1, half of the energy 1 / √2, and other noise about 0."""
    random = np.random.default_rng(0)
    one, other = 0.1 * random.standard_normal((2, 4 * SAMPLE_RATE)).astype(np.float32)
    given = {"bass": one}
    assert Overlap()(given, {"piano": 3 * one}, SAMPLE_RATE).value == pytest.approx(1)
    assert Overlap()(given, {"piano": -3 * one}, SAMPLE_RATE).value == pytest.approx(-1)
    assert Overlap()(given, {"piano": one + other}, SAMPLE_RATE).value == pytest.approx(0.5**0.5, abs=0.02)
    assert abs(Overlap()(given, {"drums": other}, SAMPLE_RATE).value) < 0.02
    assert Overlap()(given, {"drums": 0 * other}, SAMPLE_RATE).reason == "what is generated is silent"
    assert Overlap().signature == "overlap|waveform-cosine|signed|rate:22050|silence:-60dB|v:2"
