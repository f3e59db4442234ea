"""A table in every medium."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.tables import csvfile, html, jsonfile, latex, markdown, plots, svg
from benchmarks.tables.table import Table
from benchmarks.tables.terminal import print_table
from gmsdi import audio

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["print_table", "write_all"]

Draw = Callable[[Table], "Figure"]
"""Makes a picture of a table: ``plots.draw``, ``heatmap.draw``."""


def write_all(table: Table, folder: Path, draw: Draw = plots.draw) -> list[Path]:
    """Write ``NAME.{md,csv,tex,json,html,svg,png}`` into ``folder``, each complete or not at all, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    figure = draw(table)
    plot = svg.render(figure, table.name)
    contents = {
        "md": markdown.render(table).encode(),
        "csv": csvfile.render(table).encode(),
        "tex": latex.render(table).encode(),
        "json": jsonfile.render(table).encode(),
        "html": html.render(table, svg.element(plot)).encode(),
        "svg": plot.encode(),
        "png": _png(figure),
    }
    return [_write(folder / f"{table.name}.{suffix}", content) for suffix, content in contents.items()]


def _write(path: Path, content: bytes) -> Path:
    with audio.atomic(path) as temporary:
        temporary.write_bytes(content)
    return path


def _png(figure: "Figure") -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
