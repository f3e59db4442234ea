"""Sources and their mixture generated at once, by equation (2) and on estimates, of Gaussians, whose law is known."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from gmsdi.coupling import Constant, Coupled, CoupledEstimates, ProportionalVariance
from gmsdi.errors import BadInputError
from gmsdi.posterior import Projected
from gmsdi.sampler import Sampler, Streams
from gmsdi.schedule import karras

DEVIATIONS = torch.tensor([0.3, 0.2, 0.5], dtype=torch.float64)  # of two sources and of the mixture's own prior
SIGMAS = karras(400, 1e-3, 5.0)
FREE = Constant(math.inf)


def denoise(x: Tensor, sigma: float) -> Tensor:
    """The exact denoiser of independent Gaussians."""
    variances = DEVIATIONS[None, :, None] ** 2
    return variances / (variances + sigma**2) * x


def generate(items: int, coupled: Coupled, seed: int = 0, samples: int = 40) -> Tensor:
    streams = Streams(range(seed, seed + items))
    start = float(SIGMAS[0]) * streams.noise(torch.zeros(items, 3, samples, dtype=torch.float64))
    return Sampler().sample(coupled, SIGMAS, start, streams)


def coupled(items: int, sources: object, mixture: object, given: Tensor | None = None, samples: int = 40) -> Coupled:
    nothing = torch.zeros(items, samples, dtype=torch.float64)
    noise = torch.randn(items, samples, dtype=torch.float64) if given is not None else nothing
    return Coupled(denoise, nothing if given is None else given, noise, sources, mixture)  # type: ignore[arg-type]


def covariance(gamma_sources: object, gamma_mixture: object) -> np.ndarray:
    """That of the end of the linear flow dx = A(σ) x dσ from N(0, σ_max² I), its propagator integrated by Runge and Kutta."""

    def matrix(sigma: float) -> np.ndarray:
        own = np.diag(sigma / (DEVIATIONS.numpy() ** 2 + sigma**2))
        lacking = np.array([-1.0, -1.0, 1.0])
        pull = np.stack([lacking / gamma_sources(sigma)] * 2 + [-lacking / gamma_mixture(sigma)])  # type: ignore[operator]
        return own - sigma * pull

    propagator = np.eye(3)
    levels = karras(4000, 1e-3, 5.0)[:-1].numpy()
    for sigma, below in pairwise(levels):
        step, middle = below - sigma, (below + sigma) / 2
        one = matrix(sigma) @ propagator
        two = matrix(middle) @ (propagator + step / 2 * one)
        three = matrix(middle) @ (propagator + step / 2 * two)
        four = matrix(below) @ (propagator + step * three)
        propagator = propagator + step / 6 * (one + 2 * two + 2 * three + four)
    return 25.0 * propagator @ propagator.T


@pytest.mark.parametrize(
    ("gamma_sources", "gamma_mixture"),
    [
        (Constant(0.5), Constant(0.5)),
        (Constant(0.7), Constant(2.0)),
        (ProportionalVariance(2.0), ProportionalVariance(4.0)),
    ],
)
def test_the_law_of_gaussians_is_that_of_the_linear_flow(gamma_sources: object, gamma_mixture: object) -> None:
    found = generate(500, coupled(500, gamma_sources, gamma_mixture))  # [500, 3, 40]
    rows = found.transpose(1, 2).reshape(-1, 3).numpy()
    expected = covariance(gamma_sources, gamma_mixture)
    np.testing.assert_allclose(np.cov(rows, rowvar=False), expected, atol=0.03 * expected.max())
    assert np.corrcoef(rows[:, 0] + rows[:, 1], rows[:, 2])[0, 1] > 0.5  # the sources follow the mixture


def test_the_drift_is_the_equation_with_what_is_given_perturbed() -> None:
    random = torch.Generator().manual_seed(0)
    x, given, noise = (
        torch.randn(shape, generator=random, dtype=torch.float64) for shape in ((5, 3, 7), (5, 7), (5, 7))
    )
    sigma, gamma_sources, gamma_mixture = 0.4, 0.6, 1.7
    coupling = Coupled(denoise, given, noise, Constant(gamma_sources), Constant(gamma_mixture))
    _, drift = coupling.drift(x, sigma, 0.2)
    scores = (denoise(x, sigma) - x) / sigma**2
    whole = given + sigma * noise + x[:, 0] + x[:, 1]
    for k in (0, 1):
        torch.testing.assert_close(drift[:, k], -sigma * (scores[:, k] + (x[:, 2] - whole) / gamma_sources))
    torch.testing.assert_close(drift[:, 2], -sigma * (scores[:, 2] + (whole - x[:, 2]) / gamma_mixture))


@pytest.mark.parametrize("make", [Constant, ProportionalVariance, lambda value: estimates(1, value)])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_tie_that_is_none_is_refused(make: Callable[[float], object], value: float) -> None:
    with pytest.raises(BadInputError, match="must be above 0"):
        make(value)


def test_without_coupling_they_are_independent_samples() -> None:
    found = generate(200, coupled(200, FREE, FREE))
    rows = found.transpose(1, 2).reshape(-1, 3).numpy()
    np.testing.assert_allclose(np.cov(rows, rowvar=False), np.diag(DEVIATIONS.numpy() ** 2), atol=0.01)
    given = torch.ones(200, 40, dtype=torch.float64)
    torch.testing.assert_close(generate(200, coupled(200, FREE, FREE, given)), found, rtol=0, atol=0)


def test_a_strong_coupling_makes_the_mixture_of_the_given_and_the_generated() -> None:
    given = 0.4 * torch.sin(torch.arange(40) / 3.0).double().expand(50, 40)
    strong = ProportionalVariance(1.0)
    found = generate(50, coupled(50, strong, strong, given))
    difference = found[:, -1] - given - found[:, :-1].sum(dim=1)
    free = generate(50, coupled(50, FREE, FREE))
    loose = free[:, -1] - given - free[:, :-1].sum(dim=1)
    assert difference.square().mean() < 0.1 * loose.square().mean()


def test_a_mixture_that_nothing_pulls_is_sampled_from_its_prior_alone() -> None:
    """γ_y = ∞: the sources follow a mixture that does not know of them."""
    found = generate(200, coupled(200, Constant(0.5), FREE))
    free = generate(200, coupled(200, FREE, FREE))
    torch.testing.assert_close(found[:, -1], free[:, -1], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(found[:, :-1], free[:, :-1])


def estimates(items: int, trusted: float, given: Tensor | None = None) -> CoupledEstimates:
    nothing = torch.zeros(items, 40, dtype=torch.float64)
    return CoupledEstimates(denoise, nothing if given is None else given, nothing, trusted)


def test_on_estimates_sources_mixture_and_what_is_given_add_up() -> None:
    given = 0.4 * torch.sin(torch.arange(40) / 3.0).double().expand(20, 40)
    found = generate(20, estimates(20, 0.2, given))
    torch.testing.assert_close(found[:, -1], given + found[:, :-1].sum(dim=1), rtol=0, atol=1e-12)


def test_where_all_are_trusted_alike_the_mixture_is_one_more_source_of_a_sum() -> None:
    """y = g + Σ x_k is Σ x_k + (−y) = −g, the constraint that separation has."""
    given = torch.randn(20, 40, dtype=torch.float64)
    found = generate(20, estimates(20, math.inf, given))
    sign = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)[:, None]
    streams = Streams(range(20))
    start = sign * float(SIGMAS[0]) * streams.noise(torch.zeros(20, 3, 40, dtype=torch.float64))
    separated = Sampler().sample(Projected(denoise, -given), SIGMAS, start, streams)
    torch.testing.assert_close(found, sign * separated, rtol=1e-9, atol=1e-12)


def test_an_untrusted_mixture_only_follows() -> None:
    given = torch.randn(20, 40, dtype=torch.float64)
    found, free = generate(20, estimates(20, 1e-9, given)), generate(20, coupled(20, FREE, FREE))
    torch.testing.assert_close(found[:, :-1], free[:, :-1], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found[:, -1], given + found[:, :-1].sum(dim=1), rtol=0, atol=1e-12)


def test_a_tie_between_independent_models_takes_away_from_what_is_given() -> None:
    """Gaussians with y = g + Σ x: x has the mean −g a² / (Σ a² + b²), unless the mixture is not trusted in noise."""
    given = torch.full((200, 40), 0.3, dtype=torch.float64)
    expected = -0.3 * DEVIATIONS[:2] ** 2 / DEVIATIONS.square().sum()
    taken = {
        trusted: generate(200, estimates(200, trusted, given))[:, :2].mean(dim=(0, 2)) for trusted in (math.inf, 0.01)
    }
    assert (taken[math.inf] < 0.5 * expected).all()
    assert (taken[0.01].abs() < 0.2 * taken[math.inf].abs()).all()
    strong = ProportionalVariance(1.0)
    noisy = generate(200, coupled(200, strong, strong, given))[:, :2].mean(dim=(0, 2))
    assert (noisy < 0.5 * expected).all()


def test_an_item_does_not_depend_on_its_batch() -> None:
    both = generate(2, coupled(2, Constant(0.5), Constant(0.5)))
    torch.testing.assert_close(
        generate(1, coupled(1, Constant(0.5), Constant(0.5)), seed=1), both[1:], rtol=1e-9, atol=1e-12
    )
