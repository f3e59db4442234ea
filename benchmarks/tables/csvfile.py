"""A table as tidy CSV: one line per row, group and column, numbers in full precision."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from benchmarks.tables.table import Table

FIELDS = (
    *("kind", "name", "system", "label", "group", "signature", "column"),
    *("value", "low", "high", "tracks", "expected", "windows", "p", "reason"),
    *("citation", "known", "dataset"),
)


def render(table: Table) -> str:
    """The text of the CSV file. Fields that do not apply are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_measured(table))
    writer.writerows(_reported(table))
    return text.getvalue()


def _measured(table: Table) -> Iterator[dict[str, Any]]:
    for row in table.rows:
        system = {
            "kind": "measured",
            "name": row.name,
            "system": row.system,
            "label": row.label,
            "dataset": table.dataset,
        }
        for group, cells in zip(table.groups, row.cells, strict=True):
            for column, cell in zip(group.columns, cells, strict=True):
                yield {**system, "group": group.title, "signature": group.signature, "column": column, **vars(cell)}


def _reported(table: Table) -> Iterator[dict[str, Any]]:
    """Published figures have no signature: nobody computed them under ours. Their dataset is the one they were reported on."""
    if table.reported is None:
        return
    for row in table.reported.rows:
        published = {"kind": "reported", "label": row.label, "dataset": table.reported.title}
        for column, cell in zip(table.groups[row.group].columns, row.cells, strict=True):
            if cell is not None:
                yield {**published, "group": table.groups[row.group].title, "column": column, **vars(cell)}
