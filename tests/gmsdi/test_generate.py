"""GMSDI's generator, with a small network of random weights."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gmsdi import SAMPLE_RATE, STEMS, checkpoint
from gmsdi.checkpoint import Manifest
from gmsdi.coupling import Coupled, CoupledEstimates, Coupling, ProportionalVariance
from gmsdi.denoiser import SourceDenoiser
from gmsdi.errors import BadInputError
from gmsdi.generate import PromptGenerator
from gmsdi.model import build_denoiser
from gmsdi.prompts import Prompt
from gmsdi.sampler import Sampler
from gmsdi.schedule import karras
from gmsdi.system import Request

NETWORK = {"backbone": "SpectralUNet", "window": 64, "hop": 16, "widths": [8, 8], "mapping": 8, "sigma_data": 0.1}
TEXT = {"encoder": "TagEncoder", "vocabulary": list(STEMS)}
LENGTH = 1000


COUPLINGS = {
    "noisy": partial(Coupled, gamma_sources=ProportionalVariance(2.0), gamma_mixture=ProportionalVariance(2.0)),
    "estimates": partial(CoupledEstimates, trusted=1.0),
}


@pytest.fixture(params=COUPLINGS)
def generator(tmp_path: Path, request: pytest.FixtureRequest) -> PromptGenerator:
    torch.manual_seed(0)
    network = {**NETWORK, "embedding_features": len(STEMS)}
    weights = {
        key: 0.1 * torch.randn_like(value) for key, value in build_denoiser(network).network.state_dict().items()
    }
    path = tmp_path / "gmsdi.safetensors"
    checkpoint.save(path, weights, Manifest("gmsdi", {**network, "text": TEXT}, STEMS, SAMPLE_RATE, None, 7, {}, {}))
    return PromptGenerator(str(path), 2.0, COUPLINGS[request.param], karras(20, 1e-3, 2.0), Sampler())


def ask(generator: PromptGenerator, prompts: list[str], given: dict[str, Tensor], seeds: list[int]) -> Tensor:
    there = {name: stem.expand(len(seeds), -1) for name, stem in given.items()}
    return generator.generate(Request(tuple(prompts), there, tuple(seeds), LENGTH, "cpu"))


def stem(seed: int) -> Tensor:
    return 0.1 * torch.randn(LENGTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("given", [{}, {"guitar": stem(1), "piano": stem(2)}])
def test_an_item_does_not_depend_on_its_batch(generator: PromptGenerator, given: dict[str, Tensor]) -> None:
    whole = ask(generator, ["bass", "drums"], given, [5, 6, 7])
    assert whole.shape == (3, 2, LENGTH)
    alone = [ask(generator, ["bass", "drums"], given, [seed]) for seed in (5, 6, 7)]
    torch.testing.assert_close(torch.cat(alone), whole, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole[0], whole[1], atol=0.01)


def test_the_mixture_has_what_is_given_and_all_prompts(
    generator: PromptGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of what is sampled is asked for by all descriptions; what is given is summed up, each stem with a noise of its own."""
    made: list[tuple[Tensor, Tensor]] = []
    asked: list[list[Prompt]] = []
    coupling, embeddings = generator.coupling, generator.embeddings

    def record_coupling(denoise: SourceDenoiser, clean: Tensor, noise: Tensor) -> Coupling:
        made.append((clean, noise))
        return coupling(denoise, clean, noise)

    def record_prompts(prompts: list[Prompt], device: str) -> tuple[Tensor, Tensor]:
        asked.append(prompts)
        return embeddings(prompts, device)

    monkeypatch.setattr(generator, "coupling", record_coupling)
    monkeypatch.setattr(generator, "embeddings", record_prompts)
    given = {"guitar": stem(1), "piano": stem(2)}
    ask(generator, ["drums"], given, list(range(20)))
    assert asked == [[Prompt("drums", "guitar, piano"), Prompt("drums, guitar, piano")]]
    [(clean, noise)] = made
    torch.testing.assert_close(clean, (given["guitar"] + given["piano"]).expand(20, -1))
    assert noise.var().item() == pytest.approx(2, rel=0.05)


def test_each_is_asked_for_by_its_prompt(generator: PromptGenerator) -> None:
    one, other = (ask(generator, prompts, {}, [5]) for prompts in (["bass", "drums"], ["bass", "piano"]))
    assert not torch.allclose(one[:, 1], other[:, 1], atol=1e-3)


@pytest.mark.parametrize(("prompts", "given"), [([], {}), (["bass", "bass"], {}), (["bass"], {"bass": stem(0)})])
def test_what_cannot_be_generated_is_refused(generator: PromptGenerator, prompts: list[str], given: dict) -> None:
    with pytest.raises(BadInputError, match="cannot generate"):
        ask(generator, prompts, given, [5])
