"""A table as a forest plot: a line a system with its interval, families of systems as blocks, a row of panels a group of columns.

What the last column sums up is in the wide panel, with its numbers; the others are in narrow ones beside it. Families differ in
colour and in the shape of their points, so that it reads in black and white.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.tables import wording
from benchmarks.tables.frame import cells
from benchmarks.tables.table import BOUNDS, Group, MeasuredRow, Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, DPI = 8.0, 200
"""Inches and dots an inch: 1600 px, and letters of 10 px are left where that is shown at 800."""

LINE = 0.2
"""Inches that a system takes."""

WIDE = 3.4
"""The width of the wide panel, in those of a narrow one."""

BEYOND = 0.5
"""How far bounds may stretch an axis, in the range of the other systems; what lies beyond is an arrow with its number."""

LOOKS = (
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#AA4499", "v"),
    ("#B8860B", "P"),
    ("#332288", "X"),
)
"""Colour (Okabe and Ito's, and Tol's where theirs are pale) and marker of each family; more than these begin anew."""

BOUND = ("#555555", "D")
REFERENCES = ("-", (0, (4, 2)))
"""The lines through the baseline and the floor."""

LABEL = 48
"""The most letters of a label; tables have all of them."""

HEADING = 8.5
TEXT = 8.0
SMALL = 6.8
"""Sizes of letters, in points."""


@dataclass(frozen=True)
class Line:
    """A line of a panel: the heading of a block, or a system in the look of its family."""

    text: str
    look: tuple[str, str]
    row: MeasuredRow | None = None  # none of a heading
    block: int = 0


def draw(table: Table) -> "Figure":
    """The figure. Undefined cells have no point; a partial row says so beside its name, and its points are hollow."""
    lines, frame = lines_of(table), cells(table)
    measured = frame[frame.kind == "measured"]
    height = LINE * (len(lines) + 1.2) + 0.5  # of a row of panels, its title and its scale
    with sheet(0.6 + height * len(table.groups), wording.title(table), _legend(table)) as figure:
        figure.get_layout_engine().set(w_pad=0.03, h_pad=0.05, wspace=0.01, hspace=0.03)  # type: ignore[call-arg, union-attr]
        for part, group in zip(_split(figure, len(table.groups)), table.groups, strict=True):
            _draw_group(part, table, group, lines, measured[measured.group == group.title])
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # all is in its place: what is written in several forms is laid out once
    return figure


@contextmanager
def sheet(height: float, title: str, legend: str) -> Iterator["Figure"]:
    """An empty figure, ``height`` inches high, between its title and its legend; the context is that of all its texts."""
    # imported here: matplotlib takes a second, and only a plot needs it
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"text.parse_math": False, "font.family": "sans-serif", "font.size": TEXT}):
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        figure.supxlabel(legend, fontsize=SMALL, color="0.3", x=0.01, ha="left")
        yield figure


def _split(figure: "Figure", count: int) -> Sequence[Any]:
    return list(figure.subfigures(count, 1, squeeze=False)[:, 0])


def lines_of(table: Table) -> list[Line]:
    """The lines of a panel from top to bottom."""
    looks: dict[str, tuple[str, str]] = {BOUNDS: BOUND}
    lines = []
    for block, (heading, rows) in enumerate(wording.blocks(table)):
        look = looks.setdefault(rows[0].family, LOOKS[(len(looks) - 1) % len(LOOKS)])
        if heading:
            lines.append(Line(heading, look, block=block))
        for row in rows:
            lines.append(Line(_name(row), look, row, block))
    return lines


def _name(row: MeasuredRow) -> str:
    """What stands beside a line: the label, cut where it would leave no room for the picture, and how many songs a partial row has."""
    label = " ".join(row.label.split())
    short = label if len(label) <= LABEL else f"{label[: LABEL - 1]}…"
    return short + (f" ({wording.count(row)})" if row.partial else "")


def _legend(table: Table) -> str:
    """What the lines are, in words."""
    drawn = [(name, line) for name, line in ((table.baseline, "Solid line"), (table.floor, "dashed")) if name]
    references = ", ".join(f"{line}: {table.label(name)}" for name, line in drawn)
    bars = "Bars: 95 % intervals; arrows: beyond the scale. Bold: the best but for bounds."
    return f"{references}. {bars}" if references else bars


def _draw_group(part: Any, table: Table, group: Group, lines: Sequence[Line], frame: "pd.DataFrame") -> None:
    """The panels of a group: the wide one first, whose column is the last, if that sums the others up."""
    columns = [*group.columns[-1:], *group.columns[:-1]] if group.total else list(group.columns)
    widths = [WIDE if group.total and column == columns[0] else 1 for column in columns]
    panels = part.subplots(1, len(columns), sharey=True, squeeze=False, width_ratios=widths)[0]
    for panel, column in zip(panels, columns, strict=True):
        wide = group.total and panel is panels[0]
        _prepare(panel, lines)
        found = frame[frame.column == column].set_index("name")
        low, high = _limits(found if wide else frame[frame.column.isin(columns[group.total :])])
        panel.set_xlim(low, high)
        panel.set_title(column, fontsize=TEXT, fontweight="bold" if wide else "normal", pad=3)
        panel.locator_params(axis="x", nbins=7 if wide else 3)
        for name, style in zip((table.baseline, table.floor), REFERENCES, strict=True):
            if name and low <= found.value[name] <= high:
                panel.axvline(found.value[name], color="0.35", linewidth=0.8, linestyle=style, zorder=1)
        for place, line in enumerate(lines):
            if line.row:
                _draw_cell(panel, place, line, found.loc[[line.row.name]].iloc[0], wide)
    put_names(panels[0], lines)
    part.suptitle(f"{group.title}; {wording.BETTER[group.better]}", fontsize=HEADING, x=0.01, ha="left")


def _limits(frame: "pd.DataFrame") -> tuple[float, float]:
    """The range of x: that of the systems and their intervals, and of as much of the bounds as does not squeeze them."""
    import numpy as np

    inner = frame[frame.family != BOUNDS]
    inner = inner if inner.value.notna().any() else frame
    spread = inner[["value", "low", "high"]].to_numpy(dtype=float)
    spread = spread[~np.isnan(spread)]
    low, high = (float(spread.min()), float(spread.max())) if spread.size else (0.0, 1.0)
    reach = BEYOND * ((high - low) or 1.0)
    others = frame.value[frame.value.between(low - reach, high + reach)]
    low, high = min([low, *others]), max([high, *others])
    margin = 0.04 * ((high - low) or 1.0)
    return low - margin, high + margin


def _prepare(panel: "Axes", lines: Sequence[Line]) -> None:
    """An empty panel, every second block of it shaded."""
    panel.set_ylim(len(lines) - 0.4, -0.6)
    for place, line in enumerate(lines):
        if line.block % 2 == 0:
            panel.axhspan(place - 0.5, place + 0.5, color="0.955", linewidth=0, zorder=0)
    panel.grid(axis="x", color="0.85", linewidth=0.5, zorder=0.5)
    panel.set_axisbelow(True)
    panel.tick_params(axis="both", length=0, labelsize=SMALL, pad=4)
    panel.spines[:].set_visible(False)
    panel.spines["bottom"].set(visible=True, color="0.5", linewidth=0.6)


def put_names(panel: "Axes", lines: Sequence[Line], first: float = 0.0) -> None:
    """Names beside the lines, headings of blocks in the colour of their family."""
    panel.set_yticks([first + place for place in range(len(lines))], [line.text for line in lines], fontsize=TEXT)
    for line, tick in zip(lines, panel.get_yticklabels(), strict=True):
        if line.row is None:
            tick.set(color=line.look[0], fontweight="bold")


def _draw_cell(panel: "Axes", place: int, line: Line, cell: "pd.Series", wide: bool) -> None:
    """A point and its interval; an arrow and the number where it is beyond the axis."""
    colour, marker = line.look
    low, high = panel.get_xlim()
    hollow = line.row is not None and line.row.partial
    if cell.notna().value:
        if cell.notna().low:
            panel.plot([max(cell.low, low), min(cell.high, high)], [place] * 2, color=colour, linewidth=1.4, zorder=2)
            for edge, arrow, beyond in ((low, "<", cell.low < low), (high, ">", cell.high > high)):
                if beyond:
                    panel.plot(edge, place, arrow, color=colour, markersize=3, clip_on=False, zorder=3)
        if low <= cell.value <= high:
            size = 5.0 if wide else 3.6
            face = "white" if hollow else colour
            panel.plot(cell.value, place, marker, color=colour, markerfacecolor=face, markersize=size, zorder=3)
        elif not wide:
            right = cell.value > high
            panel.annotate(
                f"{cell.value:.0f}",
                (high if right else low, place),
                (-5 if right else 5, 0),
                textcoords="offset points",
                ha="right" if right else "left",
                va="center_baseline",
                fontsize=SMALL,
                color=colour,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
                zorder=4,
            )
    if wide or not cell.notna().value:
        text = wording.number(cell.value) if cell.notna().value else "undef."
        panel.annotate(
            text,
            (1, place),
            (30, 0) if wide else (-1, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center_baseline",
            fontsize=SMALL,
            fontweight="bold" if cell.best else "normal",
            color="0.2" if cell.notna().value else "0.5",
        )
