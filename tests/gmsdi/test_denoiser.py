"""EDM preconditioning, loss and guidance, with networks simple enough to know the answer."""

import pytest
import torch
from torch import nn

from gmsdi.denoiser import Denoiser, independent, joint, prompted

SIGMAS = torch.tensor([1e-3, 0.2, 5.0])


class Constant(nn.Module):
    """F = value, whatever it is given; remembers what it was given."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value
        self.calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, x: torch.Tensor, time: torch.Tensor, embedding: torch.Tensor | None = None) -> torch.Tensor:
        self.calls.append((x, time))
        return torch.full_like(x, self.value)


class Prompted(nn.Module):
    """F = the mean of the embedding times the input, for each of its prompts: what prompts do can be followed by hand."""

    calls = 0

    def forward(self, x: torch.Tensor, time: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return embedding.mean(dim=(1, 2))[:, None, None] * x.repeat_interleave(len(embedding) // len(x), dim=0)


@pytest.fixture
def noisy() -> torch.Tensor:
    return 0.3 * torch.randn(3, 2, 64, generator=torch.Generator().manual_seed(0))


def test_the_preconditioning_is_edm_table_1(noisy: torch.Tensor) -> None:
    network = Constant(0.5)
    estimate = Denoiser(network, sigma_data=0.2)(noisy, SIGMAS)
    for x, sigma, found in zip(noisy, SIGMAS.tolist(), estimate, strict=True):
        variance = sigma**2 + 0.2**2
        torch.testing.assert_close(found, (0.04 / variance * x + sigma * 0.2 / variance**0.5 * 0.5).clamp(-1, 1))
    given, time = network.calls[0]
    torch.testing.assert_close(given, noisy / (SIGMAS**2 + 0.04).sqrt()[:, None, None])
    torch.testing.assert_close(time, SIGMAS.log() / 4)


def test_the_estimate_is_clamped(noisy: torch.Tensor) -> None:
    estimate = Denoiser(Constant(100.0))(noisy, SIGMAS)
    assert estimate.max() == 1


def test_the_loss_is_edm_equation_2() -> None:
    """With F = 0 the estimate is c_skip (y + σ n), so the loss is known sample by sample."""
    clean, noise = torch.randn(2, 3, 1, 512, generator=torch.Generator().manual_seed(1)) * 0.1
    loss = Denoiser(Constant(0.0), sigma_data=0.2).loss(clean, SIGMAS, noise)
    for y, n, sigma, found in zip(clean, noise, SIGMAS.tolist(), loss, strict=True):
        error = 0.04 / (sigma**2 + 0.04) * (y + sigma * n) - y
        assert found.item() == pytest.approx(
            (sigma**2 + 0.04) / (sigma * 0.2) ** 2 * error.square().mean().item(), rel=1e-5
        )


def test_the_joint_model_sees_all_sources_at_once_and_the_weak_ones_one_each(noisy: torch.Tensor) -> None:
    one = Constant(0.5)
    joint(Denoiser(one))(noisy, 0.1)
    assert one.calls[0][0].shape == (3, 2, 64)
    networks = [Constant(0.5), Constant(-0.5)]
    found = independent([Denoiser(network) for network in networks])(noisy, 0.1)
    assert [network.calls[0][0].shape for network in networks] == [(3, 1, 64), (3, 1, 64)]
    for k, value in enumerate((0.5, -0.5)):
        torch.testing.assert_close(
            found[:, k : k + 1], Denoiser(Constant(value))(noisy[:, k : k + 1], torch.full((3,), 0.1))
        )


def test_guidance_leads_from_the_negative_to_the_positive_prompt_in_one_call(noisy: torch.Tensor) -> None:
    network = Prompted()
    denoiser = Denoiser(network)
    positive, negative = torch.tensor([0.3, -0.2])[:, None, None], torch.tensor([0.1, 0.4])[:, None, None]
    found = prompted(denoiser, positive, negative, guidance=2.5)(noisy, 0.1)
    assert network.calls == 1
    level = torch.full((3,), 0.1)
    for k in range(2):
        source = noisy[:, k : k + 1]
        wanted = denoiser(source, level, embedding=positive[k].expand(3, 1, 1))
        unwanted = denoiser(source, level, embedding=negative[k].expand(3, 1, 1))
        torch.testing.assert_close(found[:, k : k + 1], unwanted + 2.5 * (wanted - unwanted))


def test_guidance_1_is_the_positive_prompt_alone(noisy: torch.Tensor) -> None:
    positive = torch.tensor([0.3, -0.2])[:, None, None]
    found = [
        prompted(Denoiser(Prompted()), positive, negative, 1.0)(noisy, 0.1) for negative in (positive * 0, positive + 1)
    ]
    torch.testing.assert_close(found[0], found[1])
