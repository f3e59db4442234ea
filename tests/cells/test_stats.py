"""Statistics over tracks against closed forms, SciPy, and simulations of what an interval and a p value promise."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, kstest, permutation_test

from benchmarks.cells import stats
from benchmarks.cells.stats import (
    EXACT,
    FEWEST,
    FLIPS,
    LEVEL,
    RESAMPLES,
    SEED,
    TrackStatistics,
    _error,
    holm,
    interval,
    sign_flip,
)
from benchmarks.config import SHIPPED
from benchmarks.figures import coverage
from benchmarks.metrics.scores import Pooling, Values, WindowScores

NAN = np.nan


def track(*stems: list[float]) -> WindowScores:
    """The windows of a track, a list for each stem; NaN is undefined."""
    values = np.array(stems, dtype=np.float64)
    return WindowScores(values, np.where(np.isnan(values), "undefined", ""))


def windows(values: Values) -> TrackStatistics:
    """Tracks of one window each, ``[T, K]``."""
    return TrackStatistics(values, np.ones_like(values), "window-mean")


@pytest.fixture
def songs() -> list[WindowScores]:
    """Seven tracks of 1 to 9 windows and three stems, a tenth of all values undefined."""
    rng = np.random.default_rng(0)
    return [
        track(*np.where(rng.random((3, count)) < 0.1, NAN, rng.normal(5, 3, (3, count))))
        for count in (1, 4, 9, 2, 6, 3, 5)
    ]


# From windows to cells


def test_a_window_mean_weighs_windows_not_tracks() -> None:
    one, three = track([10.0], [0.0]), track([2.0, 2.0, 2.0], [4.0, 4.0, NAN])
    np.testing.assert_allclose(TrackStatistics.of([one, three], "window-mean").cells(), [4.0, 8 / 3, 10 / 3])


def test_a_track_median_weighs_tracks_not_windows() -> None:
    first, second, third = track([1.0, 9.0, 2.0]), track([5.0, 7.0]), track([NAN, 3.0])
    np.testing.assert_allclose(TrackStatistics.of([first, second, third], "track-median").cells(), [3.0, 3.0])
    np.testing.assert_allclose(TrackStatistics.of([first, second], "track-median").cells(), [4.0, 4.0])


def test_window_means_are_those_of_numpy(songs: list[WindowScores]) -> None:
    stems = np.nanmean(np.concatenate([song.values for song in songs], axis=1), axis=1)
    np.testing.assert_allclose(TrackStatistics.of(songs, "window-mean").cells(), [*stems, stems.mean()])


def test_track_medians_are_those_of_numpy(songs: list[WindowScores]) -> None:
    songs.append(track([1.0], [NAN], [2.0]))  # defined in some stems only, so the counts are even and odd
    medians = np.array(
        [[np.nanmedian(row) if np.isfinite(row).any() else NAN for row in song.values] for song in songs]
    )
    stems = np.nanmedian(medians, axis=0)
    np.testing.assert_allclose(TrackStatistics.of(songs, "track-median").cells(), [*stems, stems.mean()])


@pytest.mark.parametrize("pooling", ["window-mean", "track-median"])
def test_a_track_without_a_defined_window_weighs_nothing(songs: list[WindowScores], pooling: str) -> None:
    nowhere, empty = track([NAN, NAN], [NAN, NAN], [NAN, NAN]), track([], [], [])
    with_them = TrackStatistics.of([nowhere, *songs, empty], pooling)
    assert not with_them.weights[[0, -1]].any()
    np.testing.assert_array_equal(with_them.cells(), TrackStatistics.of(songs, pooling).cells())


@pytest.mark.parametrize("pooling", ["window-mean", "track-median"])
def test_a_stem_that_is_defined_nowhere_leaves_the_others_but_no_mean(pooling: str) -> None:
    songs = [track([1.0, 3.0], [NAN, NAN]), *[track([2.0], [NAN])] * 9]
    statistics = TrackStatistics.of(songs, pooling)
    np.testing.assert_array_equal(statistics.cells(), [2.0, NAN, NAN])
    for bound in interval(statistics):
        np.testing.assert_array_equal(np.isnan(bound), [False, True, True])
    np.testing.assert_array_equal(np.isnan(sign_flip(statistics, statistics)), [False, True, True])


@pytest.mark.parametrize("pooling", ["window-mean", "track-median"])
def test_few_songs_have_no_interval(pooling: str) -> None:
    """The second stem has a song less than the first; the mean of both stands on as many as that."""
    random = np.random.default_rng(0)
    some = [track([value], [value + 1]) for value in random.normal(size=FEWEST - 1)]
    statistics = TrackStatistics.of([*some, track([1.0], [NAN])], pooling)
    for bound in interval(statistics):
        np.testing.assert_array_equal(np.isnan(bound), [False, True, True])


@pytest.mark.parametrize("pooling", ["window-mean", "track-median"])
def test_shards_merge_into_the_whole(songs: list[WindowScores], pooling: str) -> None:
    whole = TrackStatistics.of(songs, pooling)
    shards = [TrackStatistics.of(songs[start : start + 3], pooling) for start in range(0, len(songs), 3)]
    np.testing.assert_array_equal(np.concatenate([shard.totals for shard in shards]), whole.totals)
    np.testing.assert_array_equal(np.concatenate([shard.weights for shard in shards]), whole.weights)


# Intervals


def literal_interval(totals: Values, weights: Values, k: int) -> tuple[float, float]:
    """The studentised bootstrap of one stem (``k`` < K) or of the mean of all, song by song as the textbook has it."""
    count = len(totals)

    def cell(songs: list[int]) -> float:
        stems = [
            sum(totals[song, stem] for song in songs) / sum(weights[song, stem] for song in songs)
            for stem in range(totals.shape[1])
        ]
        return [*stems, sum(stems) / len(stems)][k]

    def error(songs: list[int]) -> float:
        without = [cell([*songs[:i], *songs[i + 1 :]]) for i in range(count)]
        centre = sum(without) / count
        return math.sqrt((count - 1) / count * sum((value - centre) ** 2 for value in without))

    every = list(range(count))
    draws = np.random.default_rng(SEED).integers(count, size=(RESAMPLES, count)).tolist()
    ratios = sorted((cell(draw) - cell(every)) / error(draw) for draw in draws)
    low, high = ratios[math.floor(0.025 * (RESAMPLES - 1))], ratios[math.ceil(0.975 * (RESAMPLES - 1))]
    return cell(every) - high * error(every), cell(every) - low * error(every)


@pytest.mark.parametrize("k", [0, 2])
def test_the_interval_of_means_is_the_textbooks_studentised_bootstrap(k: int) -> None:
    random = np.random.default_rng(3)
    weights = random.integers(3, 9, (9, 2)).astype(float)
    totals = weights * random.gamma(2.0, 1.0, (9, 2))
    low, high = interval(TrackStatistics(totals, weights, "window-mean"))
    assert (low[k], high[k]) == pytest.approx(literal_interval(totals, weights, k), abs=1e-9)


def test_the_error_of_equally_long_songs_is_that_of_a_mean() -> None:
    """The jackknife of a mean is s / √n."""
    values = np.random.default_rng(0).normal(size=(11, 3))
    error = _error(values, np.ones_like(values))
    np.testing.assert_allclose(error[:-1], values.std(axis=0, ddof=1) / math.sqrt(11), rtol=1e-12)
    np.testing.assert_allclose(error[-1], values.mean(axis=1).std(ddof=1) / math.sqrt(11), rtol=1e-12)


@pytest.mark.parametrize("count", [8, 9, 20, 21, 100])
def test_the_interval_of_medians_holds_exactly(count: int) -> None:
    """The median lies between the r-th lowest and the r-th highest of n unless fewer than r are on one side: a binomial."""
    values = np.random.default_rng(count).permutation(count).astype(float)[:, None]
    low, high = (bound[0] for bound in interval(TrackStatistics(values, np.ones_like(values), "track-median")))
    rank = int(low) + 1  # the values are 0 … n − 1
    assert high == count - rank
    assert 1 - 2 * binom.cdf(rank - 1, count, 0.5) >= LEVEL > 1 - 2 * binom.cdf(rank, count, 0.5)


def test_the_interval_of_the_mean_resamples_whole_tracks() -> None:
    """Two stems that mirror each other: track by track their mean is 0, so its interval has no width."""
    first = np.random.default_rng(0).normal(size=20)
    low, high = interval(windows(np.stack([first, -first], axis=1)))
    assert high[0] - low[0] > 0.5
    np.testing.assert_allclose([low[2], high[2]], 0, atol=1e-12)


def test_equal_tracks_have_an_interval_without_width() -> None:
    low, high = interval(windows(np.full((10, 2), 7.0)))
    np.testing.assert_array_equal([low, high], np.full((2, 3), 7.0))


@pytest.mark.parametrize("world", ["normal", "skewed", "heavy tails"])
def test_intervals_and_tests_of_few_songs_keep_what_the_study_found(world: str) -> None:
    """200 trials; the study's rates are 92 % and 5 % or better, and 4 standard errors of 200 trials are 7.7 % and 6.2 %."""
    rates = coverage.scores(world, FEWEST, 200, np.random.default_rng(7))
    assert rates.covered >= 0.92 - 0.077
    assert rates.type_1 <= 0.05 + 0.062


def test_the_study_says_from_how_many_songs_on_an_interval_is_printed() -> None:
    """92 % or more, but for two standard errors; of FAD and KAD where no fifth of the songs is far off the others."""
    found = pd.read_csv(SHIPPED / "results" / "reference" / "figures" / "coverage.csv")
    enough = found[(found.songs >= FEWEST) & ((found.world != "outliers") | (found.measure == "SI-SDRi"))]
    assert set(found.measure) == {"SI-SDRi", "FAD", "KAD"} and len(enough) >= 20
    assert (enough.covered >= 0.92 - 2 * np.sqrt(0.92 * 0.08 / enough.trials)).all()
    assert (found.type_1 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / found.trials)).all()


@pytest.mark.parametrize("pooling", ["window-mean", "track-median"])
@pytest.mark.parametrize(("name", "value"), [("LEVEL", 0.9), ("FEWEST", 5), ("SEED", 1), ("EXACT", 9), ("FLIPS", 99)])
def test_the_signature_of_statistics_tells_of_every_parameter(
    pooling: Pooling, name: str, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stats.signature(pooling)
    monkeypatch.setattr(stats, name, value)
    assert stats.signature(pooling) != before


# The paired test


@pytest.mark.parametrize("count", [5, 10, EXACT])
def test_sign_flip_is_scipys_exact_paired_permutation_test(count: int) -> None:
    rng = np.random.default_rng(count)
    a, b = rng.normal(0.5, 1, (count, 3)), rng.normal(0, 1, (count, 3))
    found = sign_flip(windows(a), windows(b))

    def difference(x: Values, y: Values, axis: int) -> Values:
        return x.mean(axis) - y.mean(axis)

    for p, x, y in zip(found, [*a.T, a.mean(axis=1)], [*b.T, b.mean(axis=1)], strict=True):
        expected = permutation_test((x, y), difference, permutation_type="samples", n_resamples=np.inf, vectorized=True)
        assert p == pytest.approx(expected.pvalue, abs=1e-12)


def test_sign_flip_beyond_exactness_agrees_with_scipy() -> None:
    """10 000 random flips know a p of 0.05 to 0.002."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.75, 1, (30, 1)), rng.normal(0, 1, (30, 1))
    expected = permutation_test(
        (a[:, 0], b[:, 0]), lambda x, y: x.mean() - y.mean(), permutation_type="samples", n_resamples=9999, rng=0
    )
    assert 0.005 < expected.pvalue < 0.5
    assert sign_flip(windows(a), windows(b))[0] == pytest.approx(expected.pvalue, abs=0.02)


@pytest.mark.parametrize("count", [1, 4, EXACT])
def test_the_smallest_exact_p_is_two_labellings_of_all(count: int) -> None:
    a = windows(np.arange(1.0, count + 1)[:, None])
    b = windows(np.zeros((count, 1)))
    np.testing.assert_array_equal(sign_flip(a, b), 2 / 2**count)


def test_a_random_p_is_never_zero() -> None:
    a, b = windows(np.full((40, 1), 9.0)), windows(np.zeros((40, 1)))
    np.testing.assert_array_equal(sign_flip(a, b), 1 / (FLIPS + 1))


@pytest.mark.parametrize("count", [6, 20])
def test_a_system_does_not_differ_from_itself(count: int) -> None:
    same = windows(np.random.default_rng(0).normal(size=(count, 2)))
    np.testing.assert_array_equal(sign_flip(same, same), 1.0)


@pytest.mark.parametrize("count", [6, 20])
def test_the_order_of_the_two_systems_does_not_matter(count: int) -> None:
    rng = np.random.default_rng(0)
    a, b = windows(rng.normal(size=(count, 2))), windows(rng.normal(size=(count, 2)))
    np.testing.assert_array_equal(sign_flip(a, b), sign_flip(b, a))


def test_sign_flip_swaps_whole_tracks_of_windows() -> None:
    """One long song against two short ones: swapping it alone already reverses most of the difference."""
    a = TrackStatistics(np.array([[80.0], [1.0], [1.0]]), np.array([[8.0], [1.0], [1.0]]), "window-mean")
    b = TrackStatistics(np.array([[0.0], [3.0], [0.0]]), np.array([[8.0], [1.0], [1.0]]), "window-mean")
    # sums of differences over windows: ±80 ±(-2) ±1, of which |80 - 2 + 1| = 79 is met or passed by 79, 81 and 83 of either sign
    np.testing.assert_allclose(sign_flip(a, b), 6 / 8)


@pytest.mark.parametrize("count", [EXACT, 20])
def test_p_is_uniform_where_nothing_differs(count: int) -> None:
    rng = np.random.default_rng(1)
    p = [
        sign_flip(windows(rng.normal(size=(count, 20))), windows(rng.normal(size=(count, 20))))[:-1] for _ in range(10)
    ]
    assert kstest(np.concatenate(p), "uniform").pvalue > 0.01


# Many tests


@pytest.mark.parametrize(
    ("p", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 0.005·4, 0.01·3, 0.03·2, and 0.04·1 not below the last
        ([0.5, 0.4, 0.9, 0.6], [1.0, 1.0, 1.0, 1.0]),
        ([0.01, NAN, 0.02], [0.02, NAN, 0.02]),  # two tests, not three
        ([NAN, NAN], [NAN, NAN]),
        ([0.2], [0.2]),
    ],
)
def test_holm_by_hand(p: list[float], corrected: list[float]) -> None:
    np.testing.assert_allclose(holm(np.array(p)), corrected)
