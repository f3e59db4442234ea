"""A table as JSON: all of it, with the ids of the work units behind each row. What ``render`` writes, ``parse`` reads."""

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from benchmarks.tables.table import Table
from gmsdi.errors import BadInputError

FORMAT = 4
"""Raised with every change to the fields of a table."""


def render(table: Table) -> str:
    """The text of the JSON file: the fields of ``Table`` and the version of the format."""
    content = {"format": FORMAT, **asdict(table)}
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def parse(text: str) -> Table:
    """The table that ``render`` wrote. ``BadInputError`` for any other text, such as a table in another format."""
    try:
        content = json.loads(text)
    except ValueError:
        raise BadInputError("not JSON") from None
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise BadInputError("not a table of `gmsdi table`")
    if (found := content.pop("format")) != FORMAT:
        remedy = "`gmsdi table` writes it anew" if found < FORMAT else "newer code wrote it, update this"
        raise BadInputError(f"a table in format {found} where {FORMAT} is due; {remedy}")
    table: Table = _read(Table, content, "table")
    return table


def _read(kind: Any, value: Any, where: str) -> Any:
    """What JSON holds of a ``kind``: a dataclass, ``tuple[X, ...]``, ``X | None``, or what JSON knows by itself."""
    origin, of = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _fields(kind, value, where)
    if origin is UnionType:
        (some,) = (each for each in of if each is not NoneType)
        return None if value is None else _read(some, value, where)
    if origin is tuple and isinstance(value, list):
        return tuple(_read(of[0], item, f"{where}[{place}]") for place, item in enumerate(value))
    if origin is Literal and value in of:
        return value
    if kind is float and type(value) in (float, int):
        return float(value)
    if origin in (None, dict) and kind is not float and isinstance(value, origin or kind):
        return value
    raise BadInputError(f"{where}: not what a table has there")


def _fields(kind: Any, value: Any, where: str) -> Any:
    """A dataclass from its fields, all of them and no others."""
    kinds = get_type_hints(kind)
    if not isinstance(value, Mapping) or kinds.keys() != value.keys():
        raise BadInputError(f"{where}: does not have the fields of a table")
    return kind(**{name: _read(kinds[name], value[name], f"{where}.{name}") for name in kinds})
