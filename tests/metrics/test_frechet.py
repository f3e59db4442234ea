"""The Fréchet distance against closed forms and against the field's library, and the statistics around it."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.metrics import fad_library
from benchmarks.metrics.frechet import Statistics, extrapolate, frechet, gaussians, in_their_span
from gmsdi.errors import BadInputError


def rotation(size: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


@pytest.mark.parametrize("size", [1, 2, 16, 128])
def test_gaussians_with_common_axes_have_a_closed_form(size: int) -> None:
    """Σ_i (√a_i − √b_i)² + ‖μ‖², whatever the axes are."""
    random = np.random.default_rng(size)
    a, b = random.uniform(0.1, 3, (2, size))
    means, axes = random.standard_normal((2, size)), rotation(size, 1)
    expected = ((np.sqrt(a) - np.sqrt(b)) ** 2).sum() + ((means[0] - means[1]) ** 2).sum()
    found = gaussians(means[0], (axes * a) @ axes.T, means[1], (axes * b) @ axes.T)
    assert found == pytest.approx(expected, rel=1e-8)


def test_of_two_features_with_any_axes_too() -> None:
    """tr √(AB) = √(tr AB + 2 √(det A det B)) for 2 × 2."""
    random = np.random.default_rng(0)
    for _ in range(50):
        a, b = (each @ each.T + 0.1 * np.eye(2) for each in random.standard_normal((2, 2, 2)))
        cross = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a) * np.linalg.det(b)))
        expected = np.trace(a) + np.trace(b) - 2 * cross
        zero = np.zeros(2)
        assert gaussians(zero, a, zero, b) == pytest.approx(expected, rel=1e-8, abs=1e-12)


def test_it_is_what_a_matrix_root_gives_where_that_is_well_conditioned() -> None:
    random = np.random.default_rng(3)
    one, other = random.standard_normal((900, 40)), random.standard_normal((700, 40)) @ rotation(40, 2) * 1.3 + 0.2
    means, covariances = zip(*((rows.mean(axis=0), np.cov(rows, rowvar=False)) for rows in (one, other)), strict=True)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root.real)
    assert frechet(Statistics.of(one), Statistics.of(other)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("size", [8, 128])
def test_it_is_what_the_fields_library_computes(size: int) -> None:
    """From the same embeddings, of which there are many more than features."""
    random = np.random.default_rng(size)
    axes = random.standard_normal((size, size)) / np.sqrt(size) + np.eye(size)
    one, other = random.standard_normal((8 * size, size)), random.standard_normal((6 * size, size)) @ axes + 0.1
    theirs = fad_library.module().FrechetAudioDistance
    statistics = [theirs.calculate_embd_statistics(None, rows) for rows in (one, other)]
    expected = theirs.calculate_frechet_distance(None, *statistics[0], *statistics[1])
    assert frechet(Statistics.of(one), Statistics.of(other)) == pytest.approx(expected, rel=1e-6)


def test_badly_conditioned_covariances_lose_nothing() -> None:
    """Eigenvalues over fourteen orders of magnitude, on common axes: the root of the smallest still counts."""
    random = np.random.default_rng(7)
    a, b = 10 ** random.uniform(-14, 0, (2, 64))
    axes, zero = rotation(64, 3), np.zeros(64)
    found = gaussians(zero, (axes * a) @ axes.T, zero, (axes * b) @ axes.T)
    assert found == pytest.approx(((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), rel=1e-8)


def test_rank_deficient_sets_are_measured_all_the_same() -> None:
    """Fewer embeddings than features: a matrix root fails or turns complex here; the eigenvalues do not."""
    random = np.random.default_rng(4)
    few, many = Statistics.of(random.standard_normal((20, 64))), Statistics.of(random.standard_normal((500, 64)))
    assert np.isfinite(frechet(few, many)) and frechet(few, many) > 0
    assert frechet(few, few) == pytest.approx(0, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 10**6))
def test_sums_of_parts_are_those_of_the_whole(count: int, size: int, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((count, size))
    cut = count // 2
    whole, parts = Statistics.of(rows), Statistics.of(rows[:cut]) + Statistics.of(rows[cut:])
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(parts.covariance, np.atleast_2d(np.cov(rows, rowvar=False)), rtol=1e-9, atol=1e-12)


def test_the_span_of_few_embeddings_has_their_distances() -> None:
    """Fewer embeddings than features: a change of basis leaves every Fréchet distance as it is, and makes it cheap."""
    random = np.random.default_rng(6)
    one, other = random.standard_normal((30, 300)), 1.5 * random.standard_normal((40, 300)) + 0.2
    narrow = in_their_span(one, other)
    assert [each.shape for each in narrow] == [(30, 70), (40, 70)]
    expected = frechet(Statistics.of(one), Statistics.of(other))
    assert frechet(*map(Statistics.of, narrow)) == pytest.approx(expected, rel=1e-7)
    assert in_their_span(one[:, :50], other[:, :50])[0].shape == (30, 50)  # nothing to save


def test_few_excerpts_are_biased_and_the_extrapolation_is_not() -> None:
    """Both sets from one law: their distance is 0, that of few excerpts far from it."""
    random = np.random.default_rng(5)
    reference, excerpts = random.standard_normal((2, 120, 10, 24))
    biased = frechet(Statistics.of(np.concatenate(reference)), Statistics.of(np.concatenate(excerpts)))
    found = extrapolate(reference, excerpts, seed=0)
    assert biased > 0.1
    assert abs(found.value) < biased / 3
    assert found.sizes[-1] == 120 and found.distances[-1] == pytest.approx(biased)
    assert found.slope > 0 and found.r2 > 0.8
    assert extrapolate(reference, excerpts, seed=0) == found
    assert extrapolate(reference, excerpts, seed=1) != found


@pytest.mark.parametrize("rows", [[[1.0, np.nan]], [1.0, 2.0], [[np.inf]]])
def test_what_is_no_embedding_is_refused(rows: list) -> None:
    with pytest.raises(BadInputError, match="finite"):
        Statistics.of(rows)


def test_one_embedding_has_no_covariance() -> None:
    with pytest.raises(BadInputError, match="no covariance"):
        frechet(Statistics.of([[1.0, 2.0]]), Statistics.of([[1.0, 2.0], [2.0, 1.0]]))


def test_too_few_excerpts_have_no_extrapolation() -> None:
    some = [np.array([[1.0], [2.0]])] * 2
    with pytest.raises(BadInputError, match="too few"):
        extrapolate(some, some, seed=0)
