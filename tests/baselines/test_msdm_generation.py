"""Generation by MSDM and by single sources, against literal loops and closed forms."""

import math
from itertools import pairwise

import pytest
import torch

from baselines.msdm import MSDMGenerator, WeakMSDMGenerator
from benchmarks import config
from benchmarks.config import build
from gmsdi import STEMS
from gmsdi.coupling import Free, Imputed
from gmsdi.generate import SourceGenerator
from gmsdi.sampler import Sampler, Streams
from gmsdi.schedule import karras
from gmsdi.system import Request

SIGMAS = karras(12, 1e-2, 2.0)


def gaussian(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """The denoiser of two sources that are jointly normal, with deviation 1 and correlation 0.8, ``[B, 2, T]``."""
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=x.dtype)
    gain = covariance @ torch.linalg.inv(covariance + sigma**2 * torch.eye(2, dtype=x.dtype))
    return torch.einsum("kl,blt->bkt", gain, x)


def test_free_sources_follow_the_probability_flow_of_their_own_law() -> None:
    """For N(0, s²) the flow ends at x s / √(s² + σ²), whatever else is sampled beside it."""
    deviations = torch.tensor([0.2, 0.5], dtype=torch.float64)[:, None]
    start = 3 * torch.randn(1, 2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return x * deviations**2 / (deviations**2 + sigma**2)

    found = Sampler().sample(Free(denoise, start[:, 0] * 0), karras(3000, 1e-4, 3.0), start, Streams([0]))
    torch.testing.assert_close(found, start * deviations / (deviations**2 + 9).sqrt(), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize(("churn", "resamples"), [(0, 1), (5, 2)])
def test_imputation_is_msdms_loop(churn: float, resamples: int) -> None:
    start = 2 * torch.randn(2, 2, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    clean = torch.randn(2, 2, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    known = torch.tensor([True, False])
    streams = Streams([3, 4])
    imputed = Imputed(gaussian, clean.sum(dim=1), clean, known, streams.noise)
    found = Sampler(churn, resamples).sample(imputed, SIGMAS, start, streams)

    x, streams, levels = start, Streams([3, 4]), SIGMAS.tolist()
    gamma = min(churn / (len(levels) - 1), math.sqrt(2) - 1)
    for sigma, below in pairwise(levels):
        for turn in range(resamples):
            raised = sigma * (1 + gamma)
            if gamma:
                x = x + math.sqrt(raised**2 - sigma**2) * streams.noise(x)
            x = torch.stack([(clean + raised * streams.noise(clean))[:, 0], x[:, 1]], dim=1)
            x = x + (x - gaussian(x, raised)) / raised * (below - raised)
            if turn < resamples - 1:
                x = x + math.sqrt(sigma**2 - below**2) * streams.noise(x)
    torch.testing.assert_close(found[:, 1], x[:, 1], rtol=1e-9, atol=1e-9)


def test_what_is_imputed_depends_on_what_is_given() -> None:
    """The missing one of two sources with correlation 0.8 is about 0.8 of the given one."""
    count = 4000
    given = torch.randn(1, 1, count, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    clean = torch.cat([given, torch.zeros_like(given)], dim=1)
    streams = Streams([6])
    imputed = Imputed(gaussian, given[:, 0], clean, torch.tensor([True, False]), streams.noise)
    start = 10 * streams.noise(clean)
    found = Sampler(churn=20, resamples=4).sample(imputed, karras(60, 1e-2, 10.0), start, streams)[0, 1]
    slope = float(found @ given[0, 0] / (given[0, 0] @ given[0, 0]))
    assert slope == pytest.approx(0.8, abs=0.08)


def test_what_has_no_joint_model_says_so() -> None:
    for generator in (WeakMSDMGenerator, SourceGenerator):
        assert generator.lacks(("bass",), ("drums",)) and not generator.lacks(STEMS, ())
    assert not MSDMGenerator.lacks(("bass",), ("drums",))


@pytest.mark.parametrize(
    ("system", "stems", "given"),
    [
        ("msdm-generator", ("drums", "piano"), ("guitar", "bass")),
        ("weak-msdm-generator", ("piano", "bass"), ()),
        ("gmsdi-source", ("piano", "bass"), ()),
        ("gmsdi-generator", ("drums",), ("guitar", "bass")),
        ("gmsdi-generator-projected", ("drums",), ("guitar", "bass")),
    ],
)
def test_what_ships_generates_each_item_as_if_it_were_alone(system: str, stems: tuple, given: tuple) -> None:
    family = system.replace("-generator", "")
    overrides = ["table=subfad", f"system=[{system}]", f"generation.{family}.sigmas.steps=10", "generation.bf16=false"]
    generator = build(config.load(overrides).systems[system].generator)
    random = torch.Generator().manual_seed(0)
    there = {stem: 0.1 * torch.randn(2, 8192, generator=random) for stem in given}
    both = generator.generate(Request(stems, there, (1, 2), 8192, "cpu"))
    for item in range(2):
        own = {stem: samples[item : item + 1] for stem, samples in there.items()}
        alone = generator.generate(Request(stems, own, (1 + item,), 8192, "cpu"))
        torch.testing.assert_close(alone[0], both[item], rtol=1e-4, atol=1e-4)
    assert both.shape == (2, len(stems), 8192) and 1e-3 < both.std() < 1


def test_msdm_gives_the_stems_in_the_order_in_which_they_were_asked_for() -> None:
    overrides = ["table=subfad", "system=[msdm-generator]", "generation.msdm.sigmas.steps=10", "generation.bf16=false"]
    generator = build(config.load(overrides).systems["msdm-generator"].generator)
    one, other = (generator.generate(Request(stems, {}, (1,), 4096, "cpu")) for stems in (STEMS, STEMS[::-1]))
    torch.testing.assert_close(one, other.flip(1))
