"""A table as a heatmap: a line for each system, a field for each column of all groups with the first one's signature."""

from typing import TYPE_CHECKING

from benchmarks.tables import wording
from benchmarks.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(table: Table) -> "Figure":
    """The figure of the groups whose numbers are of the first one's kind. Colours are logarithmic; undefined fields are empty."""
    import matplotlib as mpl
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    alike = [g for g, group in enumerate(table.groups) if group.signature == table.groups[0].signature]
    columns = [name for g in alike for name in table.groups[g].columns]
    cells = [[cell for g in alike for cell in row.cells[g]] for row in table.rows]
    values = np.array([[np.nan if cell.value is None else cell.value for cell in row] for row in cells])
    shown = values[np.isfinite(values) & (values > 0)]
    low, high = (shown.min(), shown.max()) if shown.size else (1.0, 10.0)
    with mpl.rc_context({"text.parse_math": False}):
        figure = Figure(
            figsize=(3.2 + 0.62 * len(columns), 1.4 + 0.45 * len(table.rows)), dpi=150, layout="constrained"
        )
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        norm = LogNorm(low, max(high, low * 1.01))
        axes.imshow(
            np.where(values > 0, values, low),
            norm=norm,
            cmap="viridis_r",
            aspect="auto",
            alpha=np.isfinite(values) * 1.0,
        )
        for (line, place), value in np.ndenumerate(values):
            text = "–" if np.isnan(value) else wording.number(value) if value < 100 else f"{value:.0f}"
            dark = np.isfinite(value) and value > 0 and norm(value) > 0.6
            axes.text(place, line, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(
            range(len(table.rows)),
            [row.label + (f" ({wording.count(row)})" if row.tracks < row.expected else "") for row in table.rows],
        )
        edge = 0.0
        for g in alike[:-1]:
            edge += len(table.groups[g].columns)
            axes.axvline(edge - 0.5, color="white", linewidth=3)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.suptitle(f"{wording.title(table)} ({table.better} is better)", fontsize=11, fontweight="bold")
    return figure
