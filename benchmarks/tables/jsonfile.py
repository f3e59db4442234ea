"""A table as JSON: all of it, with the ids of the work units behind each row."""

import json
from dataclasses import asdict

from benchmarks.tables.table import COLUMNS, Table

FORMAT = 1
"""Raised when a reader of the previous format would misread the file."""


def render(table: Table) -> str:
    """The text of the JSON file: the fields of ``Table``, the names of the columns and the version of the format."""
    content = {"format": FORMAT, "columns": COLUMNS, **asdict(table)}
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
