"""A call in a config as JSON can hold it: all arguments with their defaults, objects by how they are made, paths by declared type."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hydra.utils import get_object

from gmsdi.errors import BadInputError


def located(node: Any) -> Any:
    """A config with each argument that its ``_target_`` declares as a ``Path`` made one; ``~`` is the user's home."""
    if isinstance(node, list):
        return [located(item) for item in node]
    if not isinstance(node, dict):
        return node
    declared = _declared(get_object(node["_target_"])) if "_target_" in node else {}
    return {name: _typed(located(item), declared.get(name)) for name, item in node.items()}


def _declared(target: Any) -> dict[str, Any]:
    """The declared types of a callable's arguments by their names; none where they cannot be told."""
    try:
        return get_type_hints(getattr(target, "__init__", target) if isinstance(target, type) else target)
    except (NameError, TypeError):
        return {}


def _typed(value: Any, declared: Any) -> Any:
    """``value`` with a ``Path`` wherever ``declared`` has one."""
    for option in get_args(declared) if get_origin(declared) in (Union, UnionType) else (declared,):
        parts = get_args(option)
        if isinstance(value, str) and option is Path:
            return Path(value).expanduser()
        if isinstance(value, list) and parts:
            return [_typed(item, parts[0]) for item in value]
        if isinstance(value, dict) and len(parts) == 2:
            return {name: _typed(item, parts[1]) for name, item in value.items()}
    return value


def as_text(node: Any) -> Any:
    """A config with its paths as text."""
    if isinstance(node, dict):
        return {name: as_text(item) for name, item in node.items()}
    if isinstance(node, list):
        return [as_text(item) for item in node]
    return str(node) if isinstance(node, Path) else node


def arguments_of(target: Callable[..., Any], given: Mapping[str, Any], partial: bool = False) -> dict[str, Any]:
    """All arguments of a call as JSON can hold them, with defaults; of a ``partial`` call those that are given already."""
    signature = inspect.signature(target)
    try:
        bound = (signature.bind_partial if partial else signature.bind)(**{**_made_defaults(target), **given})
    except TypeError as error:
        raise BadInputError(f"{target.__name__} {error}") from None
    bound.apply_defaults()
    return {name: _plain(value, f"{target.__name__}.{name}") for name, value in bound.arguments.items()}


def _made_defaults(target: Callable[..., Any]) -> dict[str, Any]:
    """A dataclass's defaults that come from a ``default_factory``, which its signature does not show."""
    if not is_dataclass(target):
        return {}
    return {each.name: each.default_factory() for each in fields(target) if each.default_factory is not MISSING}


def _plain(value: Any, where: str) -> Any:
    """A value as JSON can hold it; an object becomes its class and its arguments, whether the config or a default makes it.

    So spelling out a default changes nothing. ``BadInputError`` for an object that cannot be described like this.
    """
    match value:
        case {"_target_": path}:
            given = {str(name): item for name, item in value.items() if name not in ("_target_", "_partial_")}
            return _call(get_object(path), given, partial=bool(value.get("_partial_")))
        case dict():
            return {str(name): _plain(item, f"{where}.{name}") for name, item in value.items()}
        case list() | tuple():
            return [_plain(item, where) for item in value]
        case float() if not math.isfinite(value):
            raise BadInputError(f"{where}: {value} is no number that an identity can hold")
        case None | bool() | int() | float() | str() | Path():
            return value
        case functools.partial():
            return _call(value.func, value.keywords, partial=True)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return _call(type(value), {each.name: getattr(value, each.name) for each in fields(value) if each.init})
        case _ if "<" not in getattr(value, "__qualname__", "<"):  # a class or a function that can be found by its name
            return _call(value, {}, partial=True)
    raise BadInputError(
        f"{where}: nothing tells one {type(value).__name__} from another; it must be a number, a name or a _target_"
    )


def _call(target: Callable[..., Any], given: Mapping[str, Any], partial: bool = False) -> dict[str, Any]:
    return {"class": path_of(target), "is": arguments_of(target, given, partial)}


def path_of(target: Callable[..., Any]) -> str:
    return f"{target.__module__}.{target.__qualname__}"
