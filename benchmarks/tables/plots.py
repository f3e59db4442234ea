"""A table as a picture: one facet per group, in it one point with its interval per system and column."""

from typing import TYPE_CHECKING

from benchmarks.tables import wording
from benchmarks.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS = 2
"""Facets side by side."""


def draw(table: Table) -> "Figure":
    """The figure. Undefined cells have no point; a partial row says so in the legend."""
    # imported here: seaborn takes seconds, and only a plot needs it
    import matplotlib as mpl
    import pandas as pd
    import seaborn.objects as so
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from seaborn import axes_style

    across = min(ACROSS, len(table.groups))
    down = -(-len(table.groups) // across)
    points = pd.DataFrame(_points(table)).astype({"value": float, "low": float, "high": float})
    labels, columns = (list(dict.fromkeys(points[name])) for name in ("system", "column"))
    plot = (
        so.Plot(points, x="column", y="value", ymin="low", ymax="high", color="system", marker="system")
        .facet(col="group", order=[group.title for group in table.groups], wrap=ACROSS)
        .share(y=False)
        .add(so.Range(linewidth=1.4), so.Dodge(empty="keep"))
        .add(so.Dot(pointsize=5), so.Dodge(empty="keep"))
        .scale(
            x=so.Nominal(order=columns),
            color=so.Nominal("colorblind", order=labels),
            marker=so.Nominal(order=labels),
        )
        .label(x="", y=_quantity(table), color="", marker="")
        .limit(x=(-0.5, len(columns) - 0.5))
        .theme(axes_style("whitegrid") | {"text.parse_math": False, "font.size": 9, "axes.titlesize": 10})
    )
    with mpl.rc_context({"text.parse_math": False}):  # a dollar in a label is a dollar
        figure = Figure(figsize=(0.8 + 5.2 * across, 1.0 + 3.2 * down), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        plot.on(figure).plot()
        for axes in figure.axes:
            axes.axhline(0, color="0.6", linewidth=0.8, zorder=1)
            axes.axvspan(
                len(columns) - 1.5, len(columns) - 0.5, color="0.95", zorder=0
            )  # "all" is a mean of the others
        for legend in figure.legends:
            legend.set_bbox_to_anchor((1.01, 0.5))
        figure.suptitle(wording.title(table), fontsize=12, fontweight="bold")
    return figure


def _points(table: Table) -> list[dict]:
    return [
        {
            "system": row.label + (f" ({wording.count(row)})" if row.tracks < row.expected else ""),
            "group": group.title,
            "column": column,
            "value": cell.value,
            "low": cell.low,
            "high": cell.high,
        }
        for row in table.rows
        for group, cells in zip(table.groups, row.cells, strict=True)
        for column, cell in zip(group.columns, cells, strict=True)
    ]


def _quantity(table: Table) -> str:
    """What is on the y axis: the end of the title, "SI-SDRi in dB" in "Source separation, SI-SDRi in dB"."""
    return table.title.rpartition(", ")[2]
