"""A table as tidy CSV: one line per row, group and column, numbers in full precision."""

import csv
import io

from benchmarks.tables.frame import records
from benchmarks.tables.table import Table

FIELDS = (
    *("kind", "name", "system", "label", "family", "group", "signature", "column"),
    *("value", "low", "high", "tracks", "expected", "windows", "p", "p_floor", "best", "reason"),
    *("citation", "known", "dataset", "run_digest"),
)

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula, and runs."""


def render(table: Table) -> str:
    """The text of the CSV file. Fields that do not apply are empty."""
    text = io.StringIO()
    # what is left out, units, is in the JSON
    writer = csv.DictWriter(text, FIELDS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _harmless(value) for name, value in record.items()} for record in records(table))
    return text.getvalue()


def _harmless(value: object) -> object:
    """A text that a spreadsheet would run as a formula with the apostrophe that keeps it a text; numbers as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
