"""A table in every medium."""

from pathlib import Path

from benchmarks.tables import csvfile, html, jsonfile, latex, markdown, plots
from benchmarks.tables.table import Table
from benchmarks.tables.terminal import print_table
from gmsdi import audio

__all__ = ["print_table", "write_all"]


def write_all(table: Table, folder: Path) -> list[Path]:
    """Write ``NAME.{md,csv,tex,json,html,png}`` into ``folder``, each complete or not at all, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    plot = plots.png(table)
    contents = {
        "md": markdown.render(table).encode(),
        "csv": csvfile.render(table).encode(),
        "tex": latex.render(table).encode(),
        "json": jsonfile.render(table).encode(),
        "html": html.render(table, plot).encode(),
        "png": plot,
    }
    return [_write(folder / f"{table.name}.{suffix}", content) for suffix, content in contents.items()]


def _write(path: Path, content: bytes) -> Path:
    with audio.atomic(path) as temporary:
        temporary.write_bytes(content)
    return path
