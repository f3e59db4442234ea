"""From findings to numbers with their uncertainty: closed forms, and that the order of tracks and excerpts does not matter."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from benchmarks.cells.measures import (
    Distance,
    Estimate,
    Frechet,
    FrechetInfinity,
    Kernel,
    Mean,
    average,
    difference,
    interval,
    p_value,
)
from benchmarks.metrics.frechet import Statistics, frechet
from benchmarks.store.journal import Record

FEATURES = 3


def made(
    tracks: int, excerpts: int, shift: float, seed: int = 0, features: int = FEATURES
) -> tuple[list[list[Record]], dict[str, np.ndarray]]:
    """Findings whose generated embeddings are the real ones moved by ``shift``, and the embeddings by their keys."""
    random = np.random.default_rng(seed)
    found, embeddings = [], {}
    for t in range(tracks):
        track: list[Record] = []
        for e in range(excerpts):
            embeddings[f"r{t}.{e}"] = random.standard_normal((4, features))
            embeddings[f"g{t}.{e}"] = embeddings[f"r{t}.{e}"] + shift
            track.append({"real": {"key": f"r{t}.{e}"}, "generated": {"key": f"g{t}.{e}"}})
        found.append(track)
    return found, embeddings


def reader(embeddings: dict[str, np.ndarray]) -> Callable[[Record], np.ndarray]:
    return lambda found: embeddings[found["key"]]


def draws(tracks: int) -> np.ndarray:
    """Each time without another track."""
    return 1 - np.eye(tracks)


def everything(tracks: Sequence[Sequence[Record]], which: str, embeddings: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([embeddings[excerpt[which]["key"]] for track in tracks for excerpt in track])


def test_moved_embeddings_are_as_far_as_they_were_moved_whichever_is_left_out() -> None:
    tracks, embeddings = made(8, 2, shift=0.5)
    found = Frechet()(tracks, draws(8), reader(embeddings))
    assert found.value == pytest.approx(FEATURES * 0.25, rel=1e-9)
    assert found.replicas is not None and found.error == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found.replicas, FEATURES * 0.25, rtol=1e-6)
    assert found.count == 8 * 2 * 4


@pytest.mark.parametrize("measure", [Frechet(), Kernel()])
def test_what_is_real_has_no_distance_worth_the_name(measure: Distance) -> None:
    tracks, embeddings = made(8, 2, shift=0.0)
    found = measure(tracks, draws(8), reader(embeddings))
    assert found.value == pytest.approx(0, abs=1e-6)


def test_the_distance_is_that_of_all_embeddings_together() -> None:
    tracks, embeddings = made(6, 3, shift=0.0)
    for key in embeddings:
        if key.startswith("g"):
            embeddings[key] = 2 * embeddings[key] + 1
    found = Frechet()(tracks, draws(6), reader(embeddings))
    real, generated = (Statistics.of(everything(tracks, which, embeddings)) for which in ("real", "generated"))
    assert found.value == pytest.approx(frechet(real, generated), rel=1e-9)


def test_neither_the_order_of_tracks_nor_how_excerpts_are_split_matters() -> None:
    tracks, embeddings = made(6, 4, shift=0.3)
    times = draws(6)
    as_it_is = Frechet()(tracks, times, reader(embeddings))
    order = [3, 0, 5, 1, 4, 2]
    shuffled = Frechet()([tracks[t][::-1] for t in order], times[:, order], reader(embeddings))
    assert shuffled.value == pytest.approx(as_it_is.value, rel=1e-9)
    assert shuffled.replicas is not None and as_it_is.replicas is not None
    np.testing.assert_allclose(shuffled.replicas, as_it_is.replicas, rtol=1e-6)


def test_too_few_embeddings_are_told_of() -> None:
    tracks, embeddings = made(3, 1, shift=0.1)
    few = {key: value[:1] for key, value in embeddings.items()}
    assert "rank-deficient: 3 embeddings of 3 features" in Frechet()(tracks, draws(3), reader(few)).note
    assert Frechet()(tracks, draws(3), reader(embeddings)).note == ""


def test_many_features_are_told_of_though_only_their_span_counts() -> None:
    tracks, embeddings = made(4, 1, shift=0.1, features=200)
    found = Frechet()(tracks, draws(4), reader(embeddings))
    assert "rank-deficient: 16 embeddings of 200 features" in found.note
    assert found.value == pytest.approx(200 * 0.01, rel=1e-5)


def test_fad_infinity_takes_the_bias_off() -> None:
    """Two samples of one law: what FAD shows of them is bias alone."""
    tracks, embeddings = made(60, 1, shift=0.0, features=40)
    other, more = made(60, 1, shift=0.0, seed=5, features=40)
    embeddings |= {f"o{key}": value for key, value in more.items()}
    mixed = [
        [{"real": track[0]["real"], "generated": {"key": f"o{others[0]['real']['key']}"}}]
        for track, others in zip(tracks, other, strict=True)
    ]
    times = draws(60)
    biased, found = (measure(mixed, times, reader(embeddings)).value for measure in (Frechet(), FrechetInfinity()))
    assert biased is not None and found is not None and abs(found) < 0.8 * biased


def test_fad_infinity_of_a_copy_is_nothing() -> None:
    tracks, embeddings = made(12, 2, shift=0.0)
    assert FrechetInfinity()(tracks, draws(12), reader(embeddings)).value == pytest.approx(0, abs=1e-6)


def test_other_songs_are_not_compared() -> None:
    """FAD of few songs has more bias: a row that lacks some would differ from itself."""
    replicas = np.array([1.0, 2.0, 3.0])
    whole, part = (Estimate(2.0, 9, replicas, tracks=tracks) for tracks in (("a", "b"), ("a",)))
    found = difference(whole, whole)
    assert found is not None and found.value == 0
    assert difference(whole, part) is None
    assert difference(average([whole, whole]), average([whole, part])) is None


def test_a_mean_is_over_tracks_and_leaves_out_what_is_undefined() -> None:
    nothing = {"rhythm": None, "rhythm-undefined": "silence"}

    def agreement(value: float) -> Record:
        return {"rhythm": value, "rhythm-undefined": ""}

    tracks = [[agreement(0.0), agreement(1.0)], [agreement(1.0), nothing], [nothing, nothing], [agreement(0.0)]]
    found = Mean("rhythm")(tracks, draws(4), reader({}))
    assert (found.value, found.count, found.places) == (0.5, 4, (0, 1, 3))
    np.testing.assert_allclose(found.replicas, [0.5, 0.25, 0.5, 0.75])  # of 0.5, 1, none and 0
    assert "rhythm is undefined in some excerpts" in found.note
    few = Mean("rhythm")(tracks[:3], draws(3), reader({}))
    assert few.value is None and "2 songs" in few.reason
    undefined = Mean("rhythm")([[nothing]], draws(1), reader({}))
    assert (undefined.value, undefined.reason) == (None, "silence")


def test_means_and_differences_are_made_replica_by_replica() -> None:
    one, other = (Estimate(value, 1, np.array([value - 1, value, value + 1])) for value in (3.0, 5.0))
    mean, less = average([one, other]), difference(other, one)
    assert (mean.value, mean.error) == (4.0, one.error)
    assert less is not None and (less.value, less.error) == (2.0, 0.0)


def test_what_is_undefined_is_not_averaged_away() -> None:
    defined, undefined = Estimate(1.0, 1, np.ones(3)), Estimate(None, reason="no joint model")
    assert average([defined, undefined]) == undefined
    assert difference(defined, undefined) is None


def test_the_error_is_that_of_a_mean_where_the_number_is_one() -> None:
    values = np.random.default_rng(0).normal(size=9)
    without = (values.sum() - values) / 8
    found = Estimate(float(values.mean()), 9, without, tracks=tuple("abcdefghi"))
    assert found.error == pytest.approx(values.std(ddof=1) / 3, rel=1e-9)
    expected = ttest_1samp(values, 0.0)
    assert interval(found) == pytest.approx(expected.confidence_interval(), rel=1e-9)
    assert p_value(found, replace(found, value=0.0, replicas=np.zeros(9))) == pytest.approx(expected.pvalue, rel=1e-9)


def test_few_songs_have_no_interval_and_a_distance_none_below_what_it_can_be() -> None:
    found = Estimate(1.0, 7, np.linspace(0, 2, 7), tracks=tuple("abcdefg"))
    assert interval(found) == (None, None)
    more = Estimate(1.0, 8, np.linspace(0, 2, 8), tracks=tuple("abcdefgh"))
    low, high = interval(more)
    assert low is not None and high is not None and low < 0 < high
    assert interval(more, least=0.0) == (0.0, high)


def test_rows_whose_numbers_stand_on_different_songs_are_not_tested() -> None:
    """An agreement that is undefined on another song in each row: the means are of different songs."""
    here = Estimate(1.0, 2, np.array([1.0, 2.0, 1.5]), tracks=("a", "b"))
    assert difference(here, replace(here, tracks=("a", "c"))) is None
    assert np.isnan(p_value(here, replace(here, tracks=("a", "c"))))
