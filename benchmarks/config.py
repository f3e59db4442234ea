"""Compose a config from ``configs/`` and overrides, and say clearly what is wrong with an override."""

import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, MissingConfigException
from hydra.utils import get_object, instantiate
from omegaconf import MISSING, DictConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmarks.sources import OWN
from gmsdi.errors import BadInputError, GmsdiError, near, one_line

PACKAGE = Path(__file__).resolve().parent
SHIPPED = PACKAGE / "shipped" if (PACKAGE / "shipped").is_dir() else PACKAGE.parent
"""Where the repository's ``configs/`` and ``results/`` are: in the package once it is installed, beside it in a checkout."""

CONFIGS = SHIPPED / "configs"

SEARCH, FILE = "hydra.searchpath", "file://"
"""hydra's key for folders of configs beside ``CONFIGS``, and how it marks a folder; no other key of hydra's own can be set."""

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
    baseline: str | None = None
    reported: str | None = None
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

# ${shipped:results/reference/…}, in a checkout or in an installed package
OmegaConf.register_new_resolver("shipped", lambda path: str(SHIPPED / path))


def load(overrides: Sequence[str], root: str = "config") -> DictConfig:
    """The composed config.

    ``BadInputError`` with near names for an unknown group option or key, and for a key whose value has to be given and is not.
    """
    try:
        config = OmegaConf.merge(OmegaConf.structured(ROOTS[root]), _compose(overrides, root))
    except (MissingConfigException, ConfigCompositionException, OmegaConfBaseException) as error:
        key = getattr(error, "full_key", None)
        where = f"{key}: " if key else ""
        raise BadInputError(where + one_line(str(error).split("\n")[0])) from None
    except HydraException as error:
        hint = "; quote a value with spaces or signs twice: 'data=\"/my data\"'"
        raise BadInputError(f"cannot read the overrides: {str(error).splitlines()[0]}{hint}") from None
    for key, node in _nodes(config):  # type: ignore[arg-type]
        if node._is_missing():
            raise BadInputError(f"{key} has no value; give {key}=…")
    _tell_changes(config, OverridesParser.create().parse_overrides(list(overrides)))  # type: ignore[arg-type]
    return config  # type: ignore[return-value]


def beside(folder: str) -> str:
    """The override by which ``load`` also finds the groups of a person's own ``folder``, which is laid out as ``configs/`` is.

    ``BadInputError`` if there is no such folder, or a file in it has the name of one that ships, which would hide it.
    """
    own = Path(folder).absolute()
    if not own.is_dir():
        raise BadInputError(f"--config-dir {folder}: there is no such folder")
    for path in sorted([*own.glob("*.yaml"), *own.glob("*/*.yaml")]):
        if (CONFIGS / path.relative_to(own)).exists():
            raise BadInputError(f"{path}: gmsdi has its own {path.relative_to(own)}; give this file another name")
    quoted = str(own).replace('"', '\\"')
    return f'{SEARCH}=["{FILE}{quoted}"]'


def build(node: DictConfig) -> Any:
    """What a node with ``_target_`` describes; ``BadInputError`` that names the class when it cannot be made."""
    try:
        return instantiate(node, _convert_="all")  # plain lists and mappings, which any file can hold
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, GmsdiError | OSError):
            raise cause from None
        raise BadInputError(f"{node.get('_target_')}: {one_line(cause or error)}; see `--cfg job`") from None


def require_own_targets(node: Any, where: object) -> None:
    """``BadInputError`` unless each ``_target_`` in a plain config that was read from a file ``where`` is of this project, or of a
    package that has a class derived from one of the project's among the targets.

    What a person types may name anything. A file that lies somewhere could have been edited to run what nobody asked for.
    """
    targets = sorted(set(targets_of(node)))
    try:
        own = {target.partition(".")[0] for target in targets if _is_ours(target)}
        strange = [target for target in targets if target.partition(".")[0] not in own]
    except (ImportError, ValueError) as error:
        raise BadInputError(f"{where}: {one_line(error)}") from None
    if strange:
        raise BadInputError(
            f"{where}: would call {strange[0]}, which is neither of gmsdi nor of a package with a system of its own"
        )


def _is_ours(target: str) -> bool:
    """Whether a target is of this project, or a class that is derived from one of this project's."""
    if target.partition(".")[0] in OWN:
        return True
    found = get_object(target)
    return isinstance(found, type) and any(base.__module__.partition(".")[0] in OWN for base in found.__mro__[1:])


def targets_of(node: Any) -> Iterator[str]:
    """Every ``_target_`` of a plain config."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from targets_of(item)


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


def _compose(overrides: Sequence[str], root: str) -> DictConfig:
    """What hydra makes of a root, of what is usual for the dataset, and of the overrides, which have the last word."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    search = [override for override in parsed if override.key_or_group == SEARCH]
    folders = [CONFIGS, *(Path(str(place).removeprefix(FILE)) for override in search for place in _values(override))]
    groups = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
    choices = [override for override in parsed if override.key_or_group in groups]
    for override in choices:
        _require_options(override, folders)
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        usual = _usual(root, parsed, search)
        try:
            config = compose(root, [*usual, *overrides])
        except ConfigCompositionException:  # perhaps of an unknown key, of which hydra names no near ones
            _require_keys(parsed, compose(root, [*usual, *_lines([*search, *choices])]), groups)
            raise
    _require_keys(parsed, config, groups)
    return config


def _tell_changes(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Add to the labels of systems what overrides change of their settings, where a label neither is the user's own nor says it itself.

    Of weights a table says more than their path.
    """
    keys = {override.key_or_group: override for override in overrides if not override.is_delete()}
    for name, node in config.get("systems", {}).items():
        if {f"systems.{name}.label", f"systems.{name}", "systems"} & keys.keys():
            continue  # it is called what the user calls it
        plain: Any = OmegaConf.to_container(node, resolve=False)
        label = _absolute_references(plain.pop("label", ""), f"systems.{name}")
        settings = [f"systems.{name}.{key}" for key in plain if key != "family"] + _absolute_references(plain, "")
        for key, override in keys.items():
            if key.startswith("weights.") or _touches(key, label) or not _touches(key, settings):
                continue
            value = (override.input_line or "").partition("=")[2]
            node.label = f"{node.label}, {key.rpartition('.')[2]}={value}"


def _absolute_references(node: Any, place: str) -> list[str]:
    """The keys that the texts in a plain config refer to by ``${…}``; ``place`` is where relative ones begin."""
    if isinstance(node, str):
        return [f"{place}{key}" if key.startswith(".") else key for key in re.findall(r"\$\{([\w.-]+)\}", node)]
    items = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [reference for item in items for reference in _absolute_references(item, place)]


def _touches(key: str, others: Sequence[str]) -> bool:
    """Whether a key is one of others, or below or above one."""
    return any(f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.") for other in others)


def _usual(root: str, overrides: Sequence[Override], search: Sequence[Override]) -> list[str]:
    """What the dataset calls usual: options of groups and values of keys of a root, of those that no override gives."""
    given = {override.key_or_group: override.value() for override in overrides}
    settings = OmegaConf.load(CONFIGS / f"{root}.yaml")
    entries = [entry for entry in settings.defaults if entry != "_self_"]
    defaults = {group: option for entry in entries for group, option in entry.items()}
    if "dataset" not in defaults:
        return []
    dataset = given.get("dataset", defaults["dataset"])
    usual = compose(overrides=[*_lines(search), f"+dataset={dataset}"]).get("usual", {})  # a sixth of the whole
    return [f"{key}={usual[key]}" for key in (*defaults, *settings) if key in usual and key not in given]


def _require_options(override: Override, folders: Sequence[Path]) -> None:
    """``BadInputError`` for a choice of what no folder has in the group."""
    group = override.key_or_group
    options = sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})
    for option in map(str, _values(override)):
        if option not in options:
            raise BadInputError(f"unknown {group} {option!r}{near(option, options, NEAR)}")


def _require_keys(overrides: Sequence[Override], config: DictConfig, groups: Collection[str]) -> None:
    """``BadInputError`` for a change of what the config does not have."""
    keys = {*(key for key, _ in _nodes(config)), *groups}
    for override in overrides:
        key = override.key_or_group
        if override.type is OverrideType.CHANGE and key not in keys | {SEARCH}:
            raise BadInputError(f"unknown key {key!r}{near(key, sorted(keys), NEAR)}")


def _values(override: Override) -> list[Any]:
    value = override.value()
    return value if isinstance(value, list) else [value]


def _lines(overrides: Sequence[Override]) -> list[str]:
    return [override.input_line or "" for override in overrides]


def _nodes(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """All that a config holds, each under its dotted key; interpolations are not followed."""
    for key in map(str, config):
        node = config._get_node(key)
        yield f"{prefix}{key}", node  # type: ignore[misc]
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            yield from _nodes(node, f"{prefix}{key}.")
