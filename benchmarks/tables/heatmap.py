"""A table as a heatmap: a line for each system, a field for each column of all groups with the first one's signature."""

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from benchmarks.tables import wording
from benchmarks.tables.plots import SMALL, lines_of, put_names, sheet
from benchmarks.tables.table import Measured, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINE = 0.24
"""Inches that a system takes."""

LETTERS = 7
"""Of the titles of groups, over a field."""

COLOURS = "YlGnBu"
BLACK = 0.18
"""The luminance from where on black letters are read better than white ones."""


def draw(table: Table) -> "Figure":
    """The figure of the groups whose numbers are of the first one's kind: families as blocks, the best of each column bold.

    The colours are logarithmic and get darker all the way, so that they read in grey; undefined fields are empty.
    """
    import matplotlib as mpl
    import numpy as np
    from matplotlib.colors import LogNorm

    alike = [g for g, group in enumerate(table.groups) if group.signature == table.groups[0].signature]
    columns = [column for g in alike for column in table.groups[g].columns]
    lines = lines_of(table)
    fields: list[list[Measured | None]] = [
        [cell for g in alike for cell in line.row.cells[g]] if line.row else [None] * len(columns) for line in lines
    ]
    values = np.array(
        [[np.nan if cell is None or cell.value is None else cell.value for cell in line] for line in fields]
    )
    shown = values[values > 0]
    low, high = (shown.min(), shown.max()) if shown.size else (1.0, 10.0)
    norm = LogNorm(low, max(high, low * 1.01))
    title = f"{wording.title(table)} ({wording.BETTER[table.groups[0].better]})"
    with sheet(1.2 + LINE * len(lines), title, "Bold: the best but for bounds.") as figure:
        axes = figure.subplots()
        filled = np.ma.masked_invalid(np.maximum(values, low))
        colours = mpl.colormaps[COLOURS](norm(filled))  # [lines, fields, 4]
        axes.pcolormesh(filled, norm=norm, cmap=COLOURS, edgecolors="white", linewidth=0.8)
        for place, c in np.ndindex(values.shape):
            cell = fields[place][c]
            if cell is not None:
                axes.text(
                    *(c + 0.5, place + 0.5, _short(cell)),
                    ha="center",
                    va="center_baseline",
                    fontsize=SMALL,
                    fontweight="bold" if cell.best else "normal",
                    color="black" if cell.value is None or luminance(colours[place, c]) > BLACK else "white",
                )
        axes.invert_yaxis()
        axes.set_xticks(
            [c + 0.5 for c in range(len(columns))],
            [fill(column, LETTERS - 2, break_long_words=False) for column in columns],
        )
        put_names(axes, lines, 0.5)
        edge = 0
        for g in alike:
            width = len(table.groups[g].columns)
            heading = fill(table.groups[g].title, LETTERS * width)
            axes.text(edge + width / 2, -0.2, heading, ha="center", va="bottom", fontsize=SMALL)
            if edge:
                axes.axvline(edge, color="white", linewidth=4)
            edge += width
        axes.tick_params(axis="x", length=0, labelsize=SMALL)
        axes.tick_params(axis="y", length=0)
        axes.spines[:].set_visible(False)
    return figure


def luminance(colour: Sequence[float]) -> float:
    """Of an sRGB colour, between 0 and 1 (WCAG 2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _short(cell: Measured) -> str:
    """About three digits: a field has no room for more."""
    if cell.value is None:
        return "–"
    return wording.number(cell.value, 2 if abs(cell.value) < 10 else 1 if abs(cell.value) < 100 else 0)
