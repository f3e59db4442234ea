"""Compose a config from ``configs/`` and overrides, and say clearly what is wrong with an override."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from hydra.utils import instantiate
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gmsdi.errors import BadInputError, GmsdiError, near, one_line

CONFIGS = Path(__file__).resolve().parent.parent / "configs"

NEAR = 0.5
"""How alike a key or an option must be to be suggested; dotted keys share much by nature."""


@dataclass
class Settings:
    """The types of the root of ``configs/config.yaml``; a value of another type is refused."""

    dataset: Any = MISSING
    usual: dict[str, str] = field(default_factory=dict)
    protocol: Any = MISSING
    sampling: Any = MISSING
    generation: Any = MISSING
    weights: Any = MISSING
    systems: dict[str, Any] = field(default_factory=dict)
    embedder: Any = MISSING
    metrics: dict[str, Any] = field(default_factory=dict)
    launcher: Any = MISSING
    table: Any = MISSING
    data: str | None = None
    split: str = MISSING
    estimates: str | None = None
    cache: str = MISSING
    store: str = MISSING
    out: str = MISSING
    tuned: str | None = None
    seed: int = MISSING
    device: str = MISSING
    batch_size: int = MISSING
    keep_audio: Any = MISSING
    debug: bool = MISSING
    wait: bool = MISSING
    dry_run: bool = MISSING
    evaluations_per_second: float | None = None
    allow_partial: bool = MISSING


@dataclass
class TrainSettings:
    """The types of the root of ``configs/train.yaml``."""

    dataset: Any = MISSING
    usual: dict[str, str] = field(default_factory=dict)
    model: Any = MISSING
    data: str | None = None
    cache: str = MISSING
    device: str = MISSING
    folder: str = MISSING
    checkpoint: str = MISSING


@dataclass
class GenerateSettings:
    """The types of the root of ``configs/generate.yaml``."""

    usual: dict[str, str] = field(default_factory=dict)
    weights: Any = MISSING
    generation: Any = MISSING
    systems: dict[str, Any] = field(default_factory=dict)
    prompt: str = MISSING
    given: str | None = None
    n: int = MISSING
    seconds: float = MISSING
    seed: int = MISSING
    device: str = MISSING
    batch_size: int = MISSING
    out: str = MISSING


ROOTS = {"config": Settings, "train": TrainSettings, "generate": GenerateSettings}
"""The roots of ``configs/``, by name, and the types of their values."""


def load(overrides: Sequence[str], root: str = "config") -> DictConfig:
    """The composed config; ``BadInputError`` with near names for an unknown group option or key."""
    try:
        usual = _check(overrides, root)
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            config = compose(root, overrides=[*usual, *overrides])
        return OmegaConf.merge(OmegaConf.structured(ROOTS[root]), config)  # type: ignore[return-value]
    except (MissingConfigException, ConfigCompositionException, OmegaConfBaseException) as error:
        key = getattr(error, "full_key", None)
        where = f"{key}: " if key else ""
        raise BadInputError(where + one_line(str(error).split("\n")[0])) from None
    except HydraException as error:
        hint = "; quote a value with spaces or signs twice: 'data=\"/my data\"'"
        raise BadInputError(f"cannot read the overrides: {str(error).splitlines()[0]}{hint}") from None


def build(node: DictConfig) -> Any:
    """What a node with ``_target_`` describes; ``BadInputError`` that names the class when it cannot be made."""
    try:
        return instantiate(node, _convert_="all")  # plain lists and mappings, which any file can hold
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, GmsdiError | OSError):
            raise cause from None
        raise BadInputError(f"{node.get('_target_')}: {one_line(cause or error)}; see `--cfg job`") from None


def require_count(key: str, value: object) -> None:
    """``BadInputError`` unless ``value`` is a whole number of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadInputError(f"{key}={value}: must be a whole number of at least 1")


def require_positive(key: str, value: object) -> None:
    """``BadInputError`` unless ``value`` is a finite number above 0."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise BadInputError(f"{key}={value}: must be a number greater than 0")


def show(config: DictConfig) -> str:
    """The config as yaml, interpolations resolved."""
    return OmegaConf.to_yaml(config, resolve=True)


def _check(overrides: Sequence[str], root: str) -> list[str]:
    """Raise for an override that names no option of a group and no key of the config, before hydra says it at length.

    Returns the choices that are usual for the dataset, of those groups that no override chooses.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    choices = [override for override in parsed if (CONFIGS / override.key_or_group).is_dir()]
    for override in choices:
        options = sorted(path.stem for path in (CONFIGS / override.key_or_group).glob("*.yaml"))
        value = override.value()
        for option in value if isinstance(value, list) else [value]:
            if str(option) not in options:
                raise BadInputError(
                    f"unknown {override.key_or_group} {str(option)!r}{near(str(option), options, NEAR)}"
                )
    chosen = [override.input_line for override in choices if override.input_line]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose(root, overrides=chosen)
        keys = {*_keys(composed), *(path.name for path in CONFIGS.iterdir() if path.is_dir())}
    for override in parsed:
        if override not in choices and override.type is OverrideType.CHANGE and override.key_or_group not in keys:
            raise BadInputError(
                f"unknown key {override.key_or_group!r}{near(override.key_or_group, sorted(keys), NEAR)}"
            )
    taken = {override.key_or_group for override in choices}
    return [f"{group}={option}" for group, option in composed.usual.items() if group in composed and group not in taken]


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, node):
        yield f"{prefix}{key}"
        if isinstance(child := node._get_node(key), DictConfig) and not child._is_none():
            yield from _keys(child, f"{prefix}{key}.")
