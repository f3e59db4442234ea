"""A table as one HTML file that needs nothing else: style and plot are in it."""

import json
from pathlib import Path

from benchmarks.tables import wording
from benchmarks.tables.table import Measured, Table

TEMPLATES = Path(__file__).parent / "templates"


def render(table: Table, plot: str) -> str:
    """The text of the HTML file, around the SVG element ``plot``."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("table.html.j2").render(
        table=table,
        wording=wording,
        notes=wording.Footnotes(table),
        hover=lambda cell: _hover(cell, table),
        plot=plot,
        provenance=json.dumps(table.provenance, indent=2, sort_keys=True, ensure_ascii=False),
    )


def _hover(cell: Measured, table: Table) -> str:
    """What a measured cell says when pointed at."""
    facts = [
        f"undefined: {cell.reason}" if cell.reason else "",
        f"{cell.tracks} of {cell.expected} songs, {cell.windows} {table.pieces}",
        f"p = {cell.p:.2g} that it differs from {table.label(table.baseline)}" if cell.p is not None else "",
        f"p = {cell.p_floor:.2g} that it is better than {table.label(table.floor)}" if cell.p_floor is not None else "",
    ]
    return "; ".join(fact for fact in facts if fact)
