"""From what a manifest says of a model to the model: its denoiser, and the encoder of its prompts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gmsdi import checkpoint
from gmsdi.checkpoint import Manifest
from gmsdi.denoiser import Denoiser
from gmsdi.errors import BadInputError, near, one_line
from gmsdi.spectral import SpectralConfig, SpectralUNet
from gmsdi.text import T5Encoder, TagEncoder, TextEncoder
from gmsdi.unet import UNet1d, UNetConfig

BACKBONES: dict[str, tuple[Any, Any]] = {
    "UNet1d": (UNetConfig, UNet1d),
    "SpectralUNet": (SpectralConfig, SpectralUNet),
}
"""By the name that manifests give them: a configuration and the network of one."""

ENCODERS: dict[str, Any] = {"TagEncoder": TagEncoder, "T5Encoder": T5Encoder}


def build_denoiser(network: Mapping[str, Any]) -> Denoiser:
    """An untrained denoiser of ``{"backbone": NAME, **ARGUMENTS}``; ``BadInputError`` for what makes none."""
    arguments = dict(network)
    config_class, network_class = _choose("backbone", arguments.pop("backbone", None), BACKBONES)
    config = _make(config_class, arguments)
    return Denoiser(network_class(config), config.sigma_data)


def with_prompts(network: Mapping[str, Any], tokens: int, features: int) -> dict[str, Any]:
    """``network``, as ``build_denoiser`` takes it, such that it reads prompts ``[tokens, features]``."""
    config_class, _ = _choose("backbone", network.get("backbone"), BACKBONES)
    return {**network, **config_class.reading(tokens, features)}


def build_encoder(text: Mapping[str, Any]) -> TextEncoder:
    """The text encoder of ``{"encoder": NAME, **ARGUMENTS}``; ``BadInputError`` for what makes none."""
    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in text.items()}
    encoder: TextEncoder = _make(_choose("encoder", arguments.pop("encoder", None), ENCODERS), arguments)
    return encoder


def load_denoiser(path: Path | str, *, kind: str, rate: int, stems: Sequence[str]) -> tuple[Denoiser, Manifest]:
    """The trained denoiser of ``stems`` at ``path``, frozen, and its manifest.

    Raises as ``checkpoint.load`` and ``checkpoint.load_into`` do, and ``BadInputError`` when it is of other stems.
    """
    found = checkpoint.load(path, kind=kind, rate=rate)
    if found.manifest.stems != tuple(stems):
        raise BadInputError(f"{path}: of {', '.join(found.manifest.stems)}, where {', '.join(stems)} is needed")
    try:
        denoiser = build_denoiser({name: value for name, value in found.manifest.config.items() if name != "text"})
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None
    checkpoint.load_into(denoiser.network, found)
    return denoiser.eval().requires_grad_(False), found.manifest


def _choose(what: str, name: Any, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise BadInputError(f"unknown {what} {name!r}{near(str(name), sorted(known))}")
    return known[name]


def _make(config_class: Any, arguments: Mapping[str, Any]) -> Any:
    try:
        return config_class(**arguments)
    except TypeError as error:
        raise BadInputError(f"{config_class.__name__}: {one_line(error)}") from None
