"""The separators that sample: MSDM, Weakly Supervised MSDM, and GMSDI's two ways, with small networks of random weights."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from baselines.msdm import MSDM, WeakMSDM
from gmsdi import SAMPLE_RATE, STEMS, checkpoint
from gmsdi.checkpoint import Manifest
from gmsdi.errors import BadInputError
from gmsdi.model import build_denoiser
from gmsdi.posterior import Dirac, ExactDirac, Gaussian, Projected
from gmsdi.prompts import Prompt
from gmsdi.sampler import Sampler
from gmsdi.schedule import karras
from gmsdi.separate import DiffusionSeparator, PromptExtractor, PromptSeparator
from gmsdi.system import Batch

LENGTH = 1000
SIGMAS = karras(24, 1e-3, 1.0)
NETWORK = {"backbone": "SpectralUNet", "window": 64, "hop": 16, "widths": [8, 8], "mapping": 8, "sigma_data": 0.1}
TEXT = {"encoder": "TagEncoder", "vocabulary": list(STEMS)}

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(name, kind, stems, **network)``: a checkpoint of random weights, its last layer too; its path."""

    def make(name: str, kind: str, stems: tuple[str, ...] = STEMS, seed: int = 0, **network: object) -> str:
        torch.manual_seed(seed)
        config = {**NETWORK, **network}
        denoiser = build_denoiser({key: value for key, value in config.items() if key != "text"})
        weights = {key: 0.1 * torch.randn_like(value) for key, value in denoiser.network.state_dict().items()}
        path = tmp_path / f"{name}.safetensors"
        checkpoint.save(path, weights, Manifest(kind, config, stems, SAMPLE_RATE, None, 7, {}, {"data": "noise"}))
        return str(path)

    return make


def gmsdi(write: Write) -> str:
    return write("gmsdi", "gmsdi", embedding_features=len(STEMS), text=TEXT)


def weak(write: Write) -> dict[str, str]:
    return {stem: write(f"weak-{stem}", "weak-msdm", (stem,), seed) for seed, stem in enumerate(STEMS)}


def all_separators(write: Write, posterior: Callable, sampler: Sampler) -> dict[str, DiffusionSeparator]:
    how = {"posterior": posterior, "sigmas": SIGMAS, "sampler": sampler}
    return {
        "msdm": MSDM(write("msdm", "msdm", channels=4), **how),
        "weak": WeakMSDM(weak(write), **how),
        "separator": PromptSeparator(gmsdi(write), guidance=2.0, **how),
        "extractor": PromptExtractor(gmsdi(write), guidance=2.0, **how),
    }


def batch(mixtures: torch.Tensor, seeds: tuple[int, ...]) -> Batch:
    return Batch(mixtures, SAMPLE_RATE, seeds)


@pytest.fixture
def mixtures() -> torch.Tensor:
    return 0.1 * torch.randn(4, LENGTH, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("posterior", [partial(Dirac, constrained=2), Gaussian, Projected])
@torch.inference_mode()
def test_a_song_does_not_depend_on_its_batch(write: Write, mixtures: torch.Tensor, posterior: Callable) -> None:
    pair = (
        partial(Dirac, constrained=1) if isinstance(posterior, partial) else posterior
    )  # an extraction has two sources
    for sampler in (Sampler(churn=1.0, resamples=2), Sampler(renoise=0.7)):
        for name, separator in all_separators(write, posterior, sampler).items():
            if name == "extractor":
                separator.posterior = pair
            together = separator.separate(batch(mixtures, (1, 2, 3, 4)))
            assert together.shape == (4, len(STEMS), LENGTH), name
            for b in (3, 0):
                alone = separator.separate(batch(mixtures[b : b + 1], (b + 1,)))[0]
                torch.testing.assert_close(
                    alone, together[b], rtol=0, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
                )
            other = separator.separate(batch(mixtures[:1], (9,)))[0]
            assert (other - together[0]).abs().max() > 1e-3, f"{name}: the seed does nothing"


@torch.inference_mode()
def test_projected_and_constrained_stems_add_up_to_the_mixture(write: Write, mixtures: torch.Tensor) -> None:
    for posterior in (Projected, ExactDirac):
        for name, separator in all_separators(write, posterior, Sampler()).items():
            if name != "extractor":  # its stems come from four walks
                found = separator.separate(batch(mixtures, (1, 2, 3, 4)))
                torch.testing.assert_close(found.sum(dim=1), mixtures, rtol=0, atol=1e-4, msg=name)


@torch.inference_mode()
def test_an_extractor_keeps_the_target_of_each_pair(write: Write, mixtures: torch.Tensor) -> None:
    """With a network that answers 0 the estimates are c_skip x: what is left is the constraint, half of the mixture each."""
    path = gmsdi(write)
    extractor = PromptExtractor(path, guidance=1.0, posterior=Projected, sigmas=SIGMAS, sampler=Sampler())
    for weight in extractor.denoiser.network.to_out.parameters():
        weight.zero_()
    found = extractor.separate(batch(mixtures[:1], (1,)))
    assert found.shape == (1, len(STEMS), LENGTH)
    for k in range(len(STEMS)):
        correlation = (found[0, k] * mixtures[0]).sum() / mixtures[0].square().sum()
        assert correlation.item() == pytest.approx(0.5, abs=0.1)


def test_prompts_are_the_stems_against_all_others(write: Write) -> None:
    how = {"guidance": 2.0, "posterior": Projected, "sigmas": SIGMAS, "sampler": Sampler()}
    assert PromptSeparator(gmsdi(write), **how).prompts[1] == Prompt("drums", "bass, guitar, piano")
    assert PromptExtractor(gmsdi(write), **how).prompts[1] == (
        Prompt("drums", "bass, guitar, piano"),
        Prompt("bass, guitar, piano", "drums"),
    )


def test_negatives_can_be_the_null_prompt_or_any_other(write: Write) -> None:
    how = {"guidance": 2.0, "posterior": Projected, "sigmas": SIGMAS, "sampler": Sampler()}
    negatives = {"bass": "", "drums": "piano", "guitar": "", "piano": ""}
    assert PromptSeparator(gmsdi(write), negatives=negatives, **how).prompts[:2] == (
        Prompt("bass", ""),
        Prompt("drums", "piano"),
    )
    assert PromptExtractor(gmsdi(write), negatives=negatives, **how).prompts[0] == (
        Prompt("bass", ""),
        Prompt("drums, guitar, piano", ""),
    )
    with pytest.raises(BadInputError, match="negatives: given for bass; each of bass, drums, guitar, piano"):
        PromptSeparator(gmsdi(write), negatives={"bass": ""}, **how)


@torch.inference_mode()
def test_negative_prompts_change_what_is_separated(write: Write, mixtures: torch.Tensor) -> None:
    how = {"guidance": 2.0, "posterior": Projected, "sigmas": SIGMAS, "sampler": Sampler()}
    null = dict.fromkeys(STEMS, "")
    one, other = (
        PromptSeparator(gmsdi(write), negatives=negatives, **how).separate(batch(mixtures[:1], (1,)))
        for negatives in (None, null)
    )
    assert (one - other).abs().max() > 1e-3


def test_a_checkpoint_of_another_model_is_refused(write: Write) -> None:
    how = {"posterior": Projected, "sigmas": SIGMAS, "sampler": Sampler()}
    with pytest.raises(BadInputError, match="a checkpoint of kind gmsdi, where one of kind msdm is needed"):
        MSDM(gmsdi(write), **how)
    swapped = weak(write)
    swapped["bass"], swapped["piano"] = swapped["piano"], swapped["bass"]
    with pytest.raises(BadInputError, match="of piano, where bass is needed"):
        WeakMSDM(swapped, **how)


def test_the_network_is_part_of_the_identity_and_not_only_its_weights(write: Write) -> None:
    path = write("msdm", "msdm", channels=4)
    arguments = {"checkpoint": Path(path), "posterior": {}, "sigmas": {}, "sampler": {}}
    before = MSDM.identify(**arguments)
    weights = checkpoint.load(path, kind="msdm", rate=SAMPLE_RATE)
    other = {**NETWORK, "channels": 4, "sigma_data": 0.2}
    checkpoint.save(path, weights.weights, Manifest("msdm", other, STEMS, SAMPLE_RATE, None, 7, {}, {"data": "noise"}))
    after = MSDM.identify(**arguments)
    assert before["checkpoint"] == after["checkpoint"]
    assert before != after


def test_a_separator_says_what_it_was_trained_on(write: Write) -> None:
    assert WeakMSDM.describe(checkpoint=weak(write)) == "weak-msdm: SpectralUNet, 7 steps on noise"
