"""A table as JSON: all of it, with the ids of the work units behind each row."""

import json
from dataclasses import asdict

from benchmarks.tables.table import Table

FORMAT = 2
"""Raised when a reader of the previous format would misread the file."""


def render(table: Table) -> str:
    """The text of the JSON file: the fields of ``Table`` and the version of the format."""
    content = {"format": FORMAT, **asdict(table)}
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
