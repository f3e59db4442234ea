"""Compose a config from ``configs/`` and overrides, and say clearly what is wrong with an override."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from gmsdi.errors import BadInputError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def load(overrides: Sequence[str]) -> DictConfig:
    """The composed config; ``BadInputError`` with near names for an unknown group option or key."""
    try:
        _check(overrides)
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return compose("config", overrides=list(overrides))
    except (MissingConfigException, ConfigCompositionException) as error:
        raise BadInputError(" ".join(str(error).split("\n")[0].split())) from None
    except HydraException as error:
        raise BadInputError(f"cannot read the overrides: {' '.join(str(error).split())}") from None


def show(config: DictConfig) -> str:
    """The config as yaml, interpolations resolved."""
    return OmegaConf.to_yaml(config, resolve=True)


def _check(overrides: Sequence[str]) -> None:
    """Raise for an override that names no option of a group and no key of the config, before hydra says it at length."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    choices = [override for override in parsed if (CONFIGS / override.key_or_group).is_dir()]
    for override in choices:
        options = sorted(path.stem for path in (CONFIGS / override.key_or_group).glob("*.yaml"))
        value = override.value()
        for option in value if isinstance(value, list) else [value]:
            if str(option) not in options:
                raise BadInputError(f"unknown {override.key_or_group} {str(option)!r}{_near(str(option), options)}")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        keys = set(
            _keys(compose("config", overrides=[override.input_line for override in choices if override.input_line]))
        )
    for override in parsed:
        if override not in choices and override.type is OverrideType.CHANGE and override.key_or_group not in keys:
            raise BadInputError(f"unknown key {override.key_or_group!r}{_near(override.key_or_group, sorted(keys))}")


def _keys(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, node):
        yield f"{prefix}{key}"
        if isinstance(child := node._get_node(key), DictConfig) and not child._is_none():
            yield from _keys(child, f"{prefix}{key}.")


def _near(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(names)}"
