"""A table as a pandas frame, and as the records that frame and CSV are made of: one a row, group and column."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from benchmarks.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("kind", "name", "label", "family", "system", "group", "signature", "column"),
    *("value", "low", "high", "tracks", "expected", "windows", "p", "p_floor", "best", "reason", "units"),
)


def cells(table: Table) -> "pd.DataFrame":
    """The cells of a table, ``COLUMNS`` of each: first those that were measured, then those that the literature reports.

    ``kind`` is "measured" or "reported"; ``value``, ``low``, ``high``, ``p`` and ``p_floor`` are NaN where there is none, and all of
    them but ``value`` are where the kind is "reported". ``units`` are the ids of the work units behind the row, a tuple.
    """
    import pandas as pd  # takes long, and a table is printed without it

    numbers = dict.fromkeys(("value", "low", "high", "p", "p_floor"), "float64")
    counts = dict.fromkeys(("tracks", "expected", "windows"), "int64")
    nothing = {
        **dict.fromkeys(COLUMNS, ""),
        **dict.fromkeys(numbers),
        **dict.fromkeys(counts, 0),
        "best": False,
        "units": (),
    }
    lines = [{**nothing, **{name: value for name, value in line.items() if name in nothing}} for line in records(table)]
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype({**numbers, **counts, "best": "bool"})


def records(table: Table) -> Iterator[dict[str, Any]]:
    """What is known of each cell; what does not apply is not in it.

    Published figures have no signature: nobody computed them under ours. Their dataset is the one that they were reported on.
    """
    for row in table.rows:
        system = {
            "kind": "measured",
            "name": row.name,
            "label": row.label,
            "family": row.family,
            "system": row.system,
            "units": row.units,
            "dataset": table.dataset,
            "run_digest": table.run_digest,
        }
        for group, in_group in zip(table.groups, row.cells, strict=True):
            for column, cell in zip(group.columns, in_group, strict=True):
                yield {**system, "group": group.title, "signature": group.signature, "column": column, **vars(cell)}
    for published in table.reported.rows if table.reported else ():
        assert table.reported is not None
        source = {"kind": "reported", "label": published.label, "dataset": table.reported.title}
        group = table.groups[published.group]
        for column, figure in zip(group.columns, published.cells, strict=True):
            if figure is not None:
                yield {**source, "group": group.title, "column": column, **vars(figure)}
