"""MMD² against its closed form for Gaussians, a literal double loop, and its own noise."""

import numpy as np
import pytest

from benchmarks.metrics.kernel import bandwidth, discrepancy
from gmsdi.errors import BadInputError


def law(distance: float, size: int, width: float) -> float:
    """Of N(0, I) and N(μ, I): E k = (h² / (h² + 2))^(d/2) exp(−‖μ‖² / 2(h² + 2)) across, the same with μ = 0 within."""
    within = (width**2 / (width**2 + 2)) ** (size / 2)
    return float(2 * within * (1 - np.exp(-(distance**2) / (2 * (width**2 + 2)))))


def tracks(random: np.random.Generator, count: int, size: int, shift: float = 0.0) -> list[np.ndarray]:
    return [random.standard_normal((random.integers(3, 8), size)) + shift / np.sqrt(size) for _ in range(count)]


def test_it_is_the_double_loop_of_its_definition() -> None:
    random = np.random.default_rng(0)
    reference, some = random.standard_normal((7, 3)), tracks(random, 3, 3, 1.0)
    rows = np.concatenate(some)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / (2 * 1.5**2)))

    def mean(one: np.ndarray) -> float:
        return float(np.mean([k(one[i], one[j]) for i in range(len(one)) for j in range(len(one)) if i != j]))

    expected = mean(rows) + mean(reference) - 2 * np.mean([k(a, b) for a in rows for b in reference])
    assert discrepancy(reference, some, 1.5).value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0])
def test_small_sets_are_right_on_average(distance: float) -> None:
    """A Fréchet distance of as few would be far too large."""
    random = np.random.default_rng(1)
    found = [
        discrepancy(random.standard_normal((20, 4)), tracks(random, 4, 4, distance), 2.0).value for _ in range(400)
    ]
    assert np.mean(found) == pytest.approx(law(distance, 4, 2.0), abs=4 * np.std(found) / 20)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(2)
    reference = random.standard_normal((1500, 4))
    held = 0
    for _ in range(60):
        found = discrepancy(reference, tracks(random, 40, 4, 2.0), 2.0)
        held += found.low <= law(2.0, 4, 2.0) <= found.high
    assert held >= 50


def test_the_bandwidth_is_the_median_distance() -> None:
    assert bandwidth(np.array([[0.0], [1.0], [3.0]])) == pytest.approx(2.0)
    with pytest.raises(BadInputError, match="no distance"):
        bandwidth(np.zeros((4, 2)))


def test_one_track_has_no_interval() -> None:
    with pytest.raises(BadInputError, match="two at least"):
        discrepancy(np.eye(3), [np.eye(3)])
