"""A manifest and the model that it describes: either backbone, with and without prompts, and what makes none."""

from pathlib import Path
from typing import Any

import pytest
import torch

from gmsdi import SAMPLE_RATE, STEMS, checkpoint
from gmsdi.checkpoint import Manifest
from gmsdi.errors import BadInputError
from gmsdi.model import build_denoiser, build_encoder, load_denoiser, with_prompts
from gmsdi.text import TagEncoder

SPECTRAL = {"backbone": "SpectralUNet", "window": 64, "hop": 32, "widths": [8, 8], "mapping": 8, "sigma_data": 0.1}
WAVES = {
    "backbone": "UNet1d",
    "in_channels": 1,
    "channels": 16,
    "patch_factor": 4,
    "multipliers": [1, 1],
    "factors": [2],
    "num_blocks": [1],
    "attentions": [True],
    "attention_heads": 1,
    "attention_features": 4,
    "resnet_groups": 4,
    "sigma_data": 0.3,
}
TAGS = {"encoder": "TagEncoder", "vocabulary": ["bass", "drums"]}


def manifest(config: dict[str, Any]) -> Manifest:
    return Manifest("gmsdi", config, STEMS, SAMPLE_RATE, training_data=None, step=1, metrics={}, training={})


@pytest.mark.parametrize("network", [SPECTRAL, WAVES])
@pytest.mark.parametrize("tokens", [1, 6])
@torch.no_grad()
def test_a_saved_model_is_built_again_from_its_manifest(tmp_path: Path, network: dict[str, Any], tokens: int) -> None:
    config = with_prompts(network, tokens, 3)
    made = build_denoiser(config)
    for weight in made.parameters():
        weight.normal_(0, 0.1)
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, made.network.state_dict(), manifest({**config, "text": TAGS}))
    found, said = load_denoiser(path, kind="gmsdi", rate=SAMPLE_RATE, stems=STEMS)
    assert found.sigma_data == network["sigma_data"]
    assert not found.training
    assert not any(weight.requires_grad for weight in found.parameters())
    x, sigma, embedding = torch.randn(2, 1, 64), torch.tensor([0.1, 1.0]), torch.randn(2, tokens, 3)
    torch.testing.assert_close(found(x, sigma, embedding=embedding), made.eval()(x, sigma, embedding=embedding))
    assert build_encoder(said.config["text"]) == TagEncoder(("bass", "drums"))


@pytest.mark.parametrize("network", [SPECTRAL, WAVES])
def test_without_prompts_a_network_is_not_asked_to_read_any(network: dict[str, Any]) -> None:
    made = build_denoiser(network)
    assert made(torch.randn(1, 1, 64), torch.tensor([0.1])).shape == (1, 1, 64)
    assert made.null is None


def test_only_the_waveform_network_learns_a_null_prompt() -> None:
    assert build_denoiser(with_prompts(SPECTRAL, 6, 3)).null is None
    null = build_denoiser(with_prompts(WAVES, 6, 3)).null
    assert null is not None
    assert null.shape == (6, 3)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"backbone": "UNet"}, "unknown backbone 'UNet'; did you mean"),
        ({}, "unknown backbone None; there are SpectralUNet, UNet1d"),
        ({**SPECTRAL, "width": 3}, "SpectralConfig: .*unexpected keyword argument 'width'"),
        ({**SPECTRAL, "hop": 48}, "SpectralConfig: a window of 64 must be a multiple"),
        ({"backbone": "UNet1d"}, "UNetConfig: .*missing .* 'in_channels'"),
    ],
)
def test_what_makes_no_network_is_refused_in_one_line(network: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        build_denoiser(network)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"encoder": "T6"}, "unknown encoder 'T6'; "),
        ({"encoder": "TagEncoder", "tags": []}, "TagEncoder: .*unexpected keyword argument 'tags'"),
        ({"encoder": "TagEncoder", "vocabulary": []}, "the vocabulary"),
    ],
)
def test_what_makes_no_encoder_is_refused_in_one_line(text: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        build_encoder(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "asked", "message"),
    [
        (SPECTRAL, {"kind": "msdm"}, "of kind gmsdi, where one of kind msdm is needed"),
        (SPECTRAL, {"rate": 44_100}, "trained at 22050 Hz"),
        (SPECTRAL, {"stems": ("bass",)}, "of bass, drums, guitar, piano, where bass is needed"),
        ({"backbone": "Unheard"}, {}, "unknown backbone 'Unheard'"),
        ({**SPECTRAL, "widths": [8]}, {}, "the weights do not fit SpectralUNet"),
    ],
)
def test_another_model_than_is_asked_for_is_refused(
    tmp_path: Path, config: dict[str, Any], asked: dict[str, Any], message: str
) -> None:
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, build_denoiser(SPECTRAL).network.state_dict(), manifest(config))
    with pytest.raises(BadInputError, match=message) as caught:
        load_denoiser(path, **{"kind": "gmsdi", "rate": SAMPLE_RATE, "stems": STEMS, **asked})
    assert str(path) in str(caught.value)
