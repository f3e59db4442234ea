"""A table as tidy CSV: one line per row, group and column, numbers in full precision."""

import csv
import io

from benchmarks.tables.frame import records
from benchmarks.tables.table import Table

FIELDS = (
    *("kind", "name", "system", "label", "family", "group", "signature", "column"),
    *("value", "low", "high", "tracks", "expected", "windows", "p", "p_floor", "best", "reason"),
    *("citation", "known", "dataset"),
)


def render(table: Table) -> str:
    """The text of the CSV file. Fields that do not apply are empty."""
    text = io.StringIO()
    # what is left out, units, is in the JSON
    writer = csv.DictWriter(text, FIELDS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records(table))
    return text.getvalue()
