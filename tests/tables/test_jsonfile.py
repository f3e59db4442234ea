"""What is written of a table is read back as it was, and nothing else is taken for a table."""

import json
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from benchmarks.tables import jsonfile
from benchmarks.tables.table import Table
from gmsdi.errors import BadInputError


def any_of(kind: Any) -> st.SearchStrategy:
    """Anything that an annotation of ``Table`` allows."""
    origin, of = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        kinds = get_type_hints(kind)
        return st.builds(kind, **{each.name: any_of(kinds[each.name]) for each in fields(kind)})
    if origin is UnionType:
        return st.one_of(*map(any_of, of))
    if origin is tuple:
        return st.lists(any_of(of[0]), max_size=2).map(tuple)
    if origin is Literal:
        return st.sampled_from(of)
    return {
        NoneType: st.none(),
        str: st.text(max_size=5),
        int: st.integers(),
        bool: st.booleans(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        dict: st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.booleans() | st.none(), max_size=2),
    }[kind]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(any_of(Table))
def test_every_table_is_read_back(table: Table) -> None:
    assert jsonfile.parse(jsonfile.render(table)) == table


EMPTY = find(any_of(Table), lambda table: True)
"""The least that a table can be."""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[1]", "not a table"),
        ('{"rows": []}', "not a table"),
        ('{"format": "new"}', "not a table"),
        (f'{{"format": {jsonfile.FORMAT - 1}}}', r"in format \d+ where \d+ is due; `gmsdi table` writes it anew"),
        (f'{{"format": {jsonfile.FORMAT + 1}}}', r"in format \d+ where \d+ is due; newer code wrote it"),
        (f'{{"format": {jsonfile.FORMAT}}}', "table: does not have the fields of a table"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said) as caught:
        jsonfile.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("songs", "20"), ("songs", None), ("rows", {}), ("caption", [1])])
def test_a_field_of_another_type_is_named(field: str, value: object) -> None:
    content = json.loads(jsonfile.render(EMPTY)) | {field: value}
    with pytest.raises(BadInputError, match=rf"^table\.{field}(\[0\])?: not what a table has there$"):
        jsonfile.parse(json.dumps(content))
