"""MMD² against its closed form for Gaussians, a literal double loop, and what songs that both sets share do to it."""

import numpy as np
import pytest

from benchmarks.metrics.kernel import bandwidth, discrepancy
from gmsdi.errors import BadInputError


def law(distance: float, size: int, width: float) -> float:
    """Of N(0, I) and N(μ, I): E k = (h² / (h² + 2))^(d/2) exp(−‖μ‖² / 2(h² + 2)) across, the same with μ = 0 within."""
    within = (width**2 / (width**2 + 2)) ** (size / 2)
    return float(2 * within * (1 - np.exp(-(distance**2) / (2 * (width**2 + 2)))))


def songs(random: np.random.Generator, count: int, size: int, shift: float = 0.0, each: int = 5) -> list[np.ndarray]:
    return [random.standard_normal((each, size)) + shift / np.sqrt(size) for _ in range(count)]


def paired(
    random: np.random.Generator, shared: float, spread: float = 0.0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Real and generated embeddings of one law, of which a share of the variance is common to both sets of a song."""
    real, generated = [], []
    for _ in range(20):
        common = random.standard_normal((11, 4))
        for found in (real, generated):
            own = random.standard_normal((11, 4)) + spread * random.standard_normal((1, 4))
            found.append(np.sqrt(shared) * common + np.sqrt(1 - shared) * own)
    return real, generated


def test_it_is_the_loop_of_its_definition_over_different_songs() -> None:
    random = np.random.default_rng(0)
    real, generated = songs(random, 3, 3), songs(random, 3, 3, 1.0)

    def mean(one: list[np.ndarray], other: list[np.ndarray]) -> float:
        values = [
            np.exp(-((a - b) ** 2).sum() / (2 * 1.5**2))
            for s in range(3)
            for t in range(3)
            if s != t
            for a in one[s]
            for b in other[t]
        ]
        return float(np.mean(values))

    expected = mean(generated, generated) + mean(real, real) - 2 * mean(generated, real)
    assert discrepancy(real, generated, 1.5).value(np.ones(3)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0])
def test_small_sets_are_right_on_average(distance: float) -> None:
    """A Fréchet distance of as few would be far too large."""
    random = np.random.default_rng(1)
    found = [discrepancy(songs(random, 4, 4), songs(random, 4, 4, distance), 2.0).value(np.ones(4)) for _ in range(400)]
    assert np.mean(found) == pytest.approx(law(distance, 4, 2.0), abs=4 * np.std(found) / 20)


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.9])
def test_what_the_sets_share_does_not_move_it(shared: float) -> None:
    """Stems that were given are in both mixes of a song."""
    random = np.random.default_rng(3)
    found = [discrepancy(*paired(random, shared), 2.0).value(np.ones(20)) for _ in range(60)]
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(60)


def test_resamples_spread_about_as_other_songs_would() -> None:
    random = np.random.default_rng(4)
    times = random.multinomial(20, np.full(20, 1 / 20), size=100).astype(float)
    found = [discrepancy(*paired(random, 0.2, spread=1.0), 2.0) for _ in range(60)]
    true = np.std([each.value(np.ones(20)) for each in found])
    told = np.mean([np.std([each.value(row) for row in times]) for each in found[:20]])
    assert 0.6 < told / true < 1.8


def test_a_song_twice_is_no_pair_of_songs() -> None:
    random = np.random.default_rng(5)
    found = discrepancy(songs(random, 3, 2), songs(random, 3, 2), 1.0)
    assert np.isnan(found.value(np.array([3.0, 0, 0])))
    two = discrepancy(*([each[:2] for each in (songs(random, 2, 2), songs(random, 2, 2))]), 1.0)
    assert two.value(np.array([2.0, 1.0])) == pytest.approx(two.value(np.ones(2)))


def test_the_bandwidth_is_the_median_distance() -> None:
    assert bandwidth(np.array([[0.0], [1.0], [3.0]])) == pytest.approx(2.0)
    with pytest.raises(BadInputError, match="no distance"):
        bandwidth(np.zeros((4, 2)))


def test_songs_that_lent_stems_do_not_count() -> None:
    """Stems of one law, those of wrong songs taken from the next three: one law again, which the pairs with lenders hide."""
    random = np.random.default_rng(3)
    count, lent = 12, 3
    apart = (np.arange(count)[:, None] - np.arange(count)) % count
    related = np.minimum(apart, apart.T) <= lent
    found = []
    for _ in range(150):
        stems = random.standard_normal((4, count, 1, 2)) + 0.3 * random.standard_normal((4, count, 5, 2))
        borrowed = [stems[0], *(np.roll(stems[k], -k, axis=0) for k in range(1, lent + 1))]
        sets = [list(sum(parts)) for parts in (stems, borrowed)]
        found.append([discrepancy(*sets, 2.0, some).value(np.ones(count)) for some in (None, related)])
    every, unrelated = np.mean(found, axis=0)
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert every < -5 * error[0]
    assert abs(unrelated) < 3 * error[1]


def test_one_song_has_no_discrepancy() -> None:
    with pytest.raises(BadInputError, match="same two at least"):
        discrepancy([np.eye(3)], [np.eye(3)])
