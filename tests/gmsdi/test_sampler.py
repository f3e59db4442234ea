"""Samplers and posteriors against a literal implementation of MSDM's algorithm, and against laws that are known for Gaussians."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from gmsdi.denoiser import SourceDenoiser
from gmsdi.posterior import Dirac, ExactDirac, Gaussian, Posterior, Projected
from gmsdi.sampler import Diverged, Sampler, Streams
from gmsdi.schedule import karras

DEVIATIONS = (0.3, 0.1, 0.2)


def gaussian(deviations: tuple[float, ...] = DEVIATIONS) -> SourceDenoiser:
    """The exact denoiser of independent Gaussian sources x_k ~ N(0, s_k²)."""
    variances = torch.tensor(deviations, dtype=torch.float64).square()[:, None]  # [K, 1]
    return lambda x, sigma: variances / (variances + sigma**2) * x


@pytest.fixture
def mixture() -> torch.Tensor:
    return 0.4 * torch.randn(2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def start(mixture: torch.Tensor, sources: int, sigma: float, streams: Streams) -> torch.Tensor:
    return sigma * streams.noise(mixture.new_zeros(len(mixture), sources, mixture.shape[1]))


def literal_msdm(
    denoise: Callable[[np.ndarray, float], np.ndarray],
    mixture: np.ndarray,
    sigmas: list[float],
    x: np.ndarray,
    noises: list[np.ndarray],
    churn: float,
    resamples: int,
    constrained: int | None,
) -> np.ndarray:
    """MSDM's sampler written down source by source, for one item ``[K, T]``; the Gaussian likelihood where none is constrained."""
    noise = iter(noises)
    steps = len(sigmas) - 1
    for i in range(steps):
        for r in range(resamples):
            hat = sigmas[i] * (1 + min(churn / steps, math.sqrt(2) - 1))
            if churn > 0:
                x = x + math.sqrt(hat**2 - sigmas[i] ** 2) * next(noise)
            if constrained is not None:
                x[constrained] = mixture - sum(x[k] for k in range(len(x)) if k != constrained)
            score = (x - denoise(x, hat)) / hat
            if constrained is not None:
                d = np.stack([score[k] - score[constrained] for k in range(len(x))])
            else:
                gamma = 0.75 * hat
                d = np.stack([score[k] - hat / (2 * gamma**2) * (mixture - x.sum(axis=0)) for k in range(len(x))])
            x = x + d * (sigmas[i + 1] - hat)
            if r < resamples - 1:
                x = x + math.sqrt(sigmas[i] ** 2 - sigmas[i + 1] ** 2) * next(noise)
    return x


@pytest.mark.parametrize("constrained", [0, 2, None])
@pytest.mark.parametrize(("churn", "resamples"), [(0.0, 1), (20.0, 1), (0.0, 2), (20.0, 2)])
def test_the_settings_of_msdm_are_its_algorithm_to_the_letter(
    mixture: torch.Tensor, constrained: int | None, churn: float, resamples: int
) -> None:
    sigmas = karras(30, 1e-3, 1.0)
    streams = Streams([1, 2])
    first = start(mixture, 3, 1.0, streams)
    posterior: Posterior = (
        Gaussian(gaussian(), mixture) if constrained is None else Dirac(gaussian(), mixture, constrained)
    )
    found = Sampler(churn, resamples).sample(posterior, sigmas, first, streams)

    same = Streams([1, 2])
    start(mixture, 3, 1.0, same)
    noises = [same.noise(first).numpy() for _ in range(2 * resamples * 30)]
    for b in range(2):
        expected = literal_msdm(
            lambda x, sigma: gaussian()(torch.from_numpy(x), sigma).numpy(),
            mixture[b].numpy(),
            sigmas.tolist(),
            first[b].numpy().copy(),
            [noise[b] for noise in noises],
            churn,
            resamples,
            constrained,
        )
        np.testing.assert_allclose(found[b].numpy(), expected, rtol=1e-9, atol=1e-12)


def errors(make: Callable[[torch.Tensor], Posterior], expected: Callable[[torch.Tensor], torch.Tensor]) -> list[float]:
    """How far the flow from 0 noise, which leads to the mean, ends from ``expected``, as steps grow."""
    mixture = 0.4 * torch.randn(1, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for steps in (50, 200, 800):
        zeros = mixture.new_zeros(1, 2, 16)
        sample = Sampler().sample(make(mixture), karras(steps, 1e-4, 100.0), zeros, Streams([0]))
        found.append((sample - expected(mixture)).abs().max().item())
    return found


@pytest.mark.parametrize("constrained", [0, 1])
def test_dirac_tends_to_the_posterior_mean_of_equal_gaussians(constrained: int) -> None:
    found = errors(lambda y: Dirac(gaussian((0.2, 0.2)), y, constrained), lambda y: torch.stack([y, y], dim=1) / 2)
    assert max(found) < 1e-5  # what is left is the start at a finite sigma, 0.2² / 100² of the mixture


@pytest.mark.parametrize("constrained", [0, 1])
def test_dirac_splits_unequal_gaussians_by_deviation_as_its_docstring_says(constrained: int) -> None:
    shares = torch.tensor([0.3, 0.1], dtype=torch.float64)[:, None] / 0.4
    found = errors(lambda y: Dirac(gaussian((0.3, 0.1)), y, constrained), lambda y: shares * y[:, None])
    assert found[0] > 3.5 * found[1] > 3.5**2 * found[2]  # first order
    assert found[2] < 3e-4


def test_exact_dirac_tends_to_what_dirac_tends_to() -> None:
    """Frozen estimates err in another term of the same order, so steps help it as they help Euler."""
    shares = torch.tensor([0.3, 0.1], dtype=torch.float64)[:, None] / 0.4
    found = errors(lambda y: ExactDirac(gaussian((0.3, 0.1)), y, 0), lambda y: shares * y[:, None])
    assert found[0] > 3 * found[1] > 9 * found[2]
    assert found[2] < 3e-3


@pytest.mark.parametrize("constrained", [0, 1, 3])
@pytest.mark.parametrize("below", [0.9, 0.02])
def test_exact_dirac_solves_the_drift_of_frozen_estimates(constrained: int, below: float) -> None:
    """Against 4000 Euler steps of ``Dirac`` from one level to the next, the estimates held as they were at the first."""
    generator = torch.Generator().manual_seed(3)
    mixture = torch.randn(2, 8, dtype=torch.float64, generator=generator)
    x, estimates = torch.randn(2, 2, 4, 8, dtype=torch.float64, generator=generator)
    levels = torch.logspace(0, math.log10(below), 4001, dtype=torch.float64)
    frozen = Sampler().sample(Dirac(lambda *_: estimates, mixture, constrained), levels, x, Streams([0, 1]))
    exact = Sampler().sample(
        ExactDirac(lambda *_: estimates, mixture, constrained), levels[[0, -1]], x, Streams([0, 1])
    )
    torch.testing.assert_close(exact.sum(dim=1), mixture)
    free = [k for k in range(4) if k != constrained]  # Dirac overwrites the constrained one at the next step only
    torch.testing.assert_close(exact[:, free], frozen[:, free], rtol=0, atol=0.01)


def test_exact_dirac_takes_steps_that_are_too_large_for_euler() -> None:
    """K (1 − σ'/σ) = 4 · 0.9 > 2: Euler overshoots more at every step."""
    mixture = 0.1 * torch.randn(1, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first = torch.randn(1, 4, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    levels = 0.1 ** torch.arange(6, dtype=torch.float64)
    sources = gaussian((0.1, 0.1, 0.1, 0.1))
    exact = Sampler().sample(ExactDirac(sources, mixture, 0), levels, first, Streams([0]))
    assert exact.abs().max() < 1
    with pytest.raises(Diverged):
        Sampler().sample(Dirac(sources, mixture, 0), levels, first, Streams([0]))


def test_projected_tends_to_the_posterior_mean_of_equal_gaussians() -> None:
    found = errors(lambda y: Projected(gaussian((0.2, 0.2)), y), lambda y: torch.stack([y, y], dim=1) / 2)
    assert found[2] < 1e-6


@pytest.mark.parametrize("renoise", [0.0, 0.5, 1.0])
def test_what_projected_samples_adds_up_to_the_mixture(mixture: torch.Tensor, renoise: float) -> None:
    streams = Streams([1, 2])
    first = start(mixture, 3, 1.0, streams)
    found = Sampler(renoise=renoise).sample(Projected(gaussian(), mixture), karras(20, 1e-3, 1.0), first, streams)
    torch.testing.assert_close(found.sum(dim=1), mixture)


def test_without_a_mixture_to_explain_the_sampler_draws_from_the_prior() -> None:
    """A Gaussian likelihood so wide that it says nothing: the law of each source must be its prior."""
    silent = torch.zeros(400, 64, dtype=torch.float64)
    streams = Streams(range(400))
    posterior = Gaussian(gaussian(), silent, gamma=lambda sigma: 1e9)
    first = start(silent, 3, 20.0, streams)
    for sampler in (Sampler(), Sampler(churn=20.0)):
        sample = sampler.sample(posterior, karras(800, 1e-3, 20.0), first, streams)
        deviations = sample.std(dim=(0, 2))
        torch.testing.assert_close(deviations, torch.tensor(DEVIATIONS, dtype=torch.float64), rtol=0.02, atol=0)


def test_renoise_is_a_share_of_the_noise() -> None:
    """From σ to σ' with x̂ = 0, the state has deviation σ' whatever share of it is fresh."""
    silent = torch.zeros(200, 64, dtype=torch.float64)
    for renoise in (0.0, 0.6, 1.0):
        streams = Streams(range(200))
        first = start(silent, 1, 1.0, streams)
        posterior = Gaussian(lambda x, sigma: torch.zeros_like(x), silent, gamma=lambda sigma: 1e9)
        below = Sampler(renoise=renoise).sample(posterior, torch.tensor([1.0, 0.5]), first, streams)
        assert below.std().item() == pytest.approx(0.5, rel=0.02)
        correlation = (below * first).mean() / (below.std() * first.std())
        assert correlation.item() == pytest.approx(math.sqrt(1 - renoise**2), abs=0.02)


@pytest.mark.parametrize("renoise", [0.0, 0.6, 1.0])
def test_renoising_contracts_as_its_docstring_says(renoise: float) -> None:
    s, sigma, below = 0.3, 0.8, 0.4
    silent = torch.zeros(400, 64, dtype=torch.float64)
    streams = Streams(range(400))
    first = math.hypot(s, sigma) * streams.noise(silent[:, None])  # x(σ) of x(0) ~ N(0, s²)
    posterior = Gaussian(gaussian((s,)), silent, gamma=lambda sigma: 1e9)
    found = Sampler(renoise=renoise).sample(posterior, torch.tensor([sigma, below]), first, streams)
    kept = math.sqrt(1 - renoise**2)
    expected = (s**2 + kept * sigma * below) ** 2 / (s**2 + sigma**2) + renoise**2 * below**2
    assert found.var().item() == pytest.approx(expected, rel=0.03)
    assert expected < s**2 + below**2


def test_an_item_does_not_depend_on_its_batch(mixture: torch.Tensor) -> None:
    sampler, sigmas = Sampler(churn=20.0, resamples=2, renoise=0.3), karras(10, 1e-3, 1.0)
    together = Streams([5, 6])
    batch = sampler.sample(Dirac(gaussian(), mixture), sigmas, start(mixture, 3, 1.0, together), together)
    for b, seed in enumerate((5, 6)):
        alone = Streams([seed])
        single = sampler.sample(
            Dirac(gaussian(), mixture[b : b + 1]), sigmas, start(mixture[b : b + 1], 3, 1.0, alone), alone
        )
        torch.testing.assert_close(single[0], batch[b], rtol=1e-12, atol=1e-12)


def test_a_diverged_state_says_at_which_level() -> None:
    silent = torch.zeros(1, 4, dtype=torch.float64)
    posterior = Gaussian(lambda x, sigma: x * float("nan") if sigma < 0.5 else x, silent)
    with pytest.raises(Diverged, match=r"sigma 0\.4"):
        Sampler().sample(
            posterior, torch.tensor([1.0, 0.4, 0.0]), torch.zeros(1, 2, 4, dtype=torch.float64), Streams([0])
        )


def test_a_state_that_is_louder_than_sources_can_be_is_no_sample() -> None:
    silent = torch.zeros(1, 4, dtype=torch.float64)
    posterior = Gaussian(lambda x, sigma: x, silent, gamma=lambda sigma: 0.1 * sigma)
    with pytest.raises(Diverged, match="sigma 1"):
        Sampler().sample(
            posterior, torch.tensor([1.0, 0.4, 0.0]), torch.ones(1, 2, 4, dtype=torch.float64), Streams([0])
        )


def test_debug_logging_describes_every_step(mixture: torch.Tensor, caplog: pytest.LogCaptureFixture) -> None:
    streams = Streams([1, 2])
    first = start(mixture, 3, 1.0, streams)
    with caplog.at_level("DEBUG", logger="gmsdi.sampler"):
        Sampler().sample(Projected(gaussian(), mixture), karras(5, 1e-3, 1.0), first, streams)
    assert len(caplog.messages) == 5
    assert caplog.messages[0].startswith("sigma 1: RMS of the sources ")
    assert caplog.messages[-1].endswith("0 values not finite")


def test_the_dirac_constraint_does_not_touch_what_it_was_given(mixture: torch.Tensor) -> None:
    x = torch.ones(2, 3, 16, dtype=torch.float64)
    constrained, _ = Dirac(gaussian(), mixture, 1).drift(x, 0.5, 0.4)
    assert (x == 1).all()
    torch.testing.assert_close(constrained.sum(dim=1), mixture)
