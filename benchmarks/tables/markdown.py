"""A table as GitHub-flavoured Markdown: one table per group, and what was reported below it in a quotation."""

import re
from collections.abc import Iterator, Sequence

from benchmarks.tables import wording
from benchmarks.tables.table import Measured, Reported, Table
from benchmarks.tables.wording import Footnotes


def render(table: Table) -> str:
    """The text of the Markdown file."""
    return "\n\n".join(_blocks(table)) + "\n"


def _blocks(table: Table) -> Iterator[str]:
    notes = Footnotes(table)
    yield f"# {escape(wording.title(table))}"
    if warning := wording.warning(table):
        yield f"**{escape(warning)}**"
    for place, group in enumerate(table.groups):
        yield f"## {escape(wording.group_title(table, group))}"
        yield _measured(table, place, notes)
        yield from _reported(table, place, notes)
    yield "\n".join(f"- {escape(sentence)}" for sentence in wording.sentences(table))
    if notes.numbers:
        yield "\n".join(f"{place}. {escape(text)}" for text, place in notes.numbers.items())
    yield "\n".join(f"- {escape(titles)}: `{signature}`" for signature, titles in wording.signatures(table).items())


def _measured(table: Table, group: int, notes: Footnotes) -> str:
    header = ["System", "n", *map(escape, table.groups[group].columns)]
    lines = []
    for heading, rows in wording.blocks(table):
        if heading:
            lines.append([f"**{escape(heading)}**", *[""] * (len(header) - 1)])
        for row in rows:
            label = escape(row.label) + _marks(notes.of_row(row))
            lines.append([label, wording.count(row), *(_cell(cell, notes) for cell in row.cells[group])])
    return "\n".join(_grid(header, lines))


def _reported(table: Table, group: int, notes: Footnotes) -> Iterator[str]:
    section = table.reported
    rows = [row for row in section.rows if row.group == group] if section else []
    if section and rows:
        lines = [
            [f"*{escape(row.label)}*{_marks(notes.of_sources(row))}", *(_published(cell) for cell in row.cells)]
            for row in rows
        ]
        quoted = [f"### {escape(section.title)}", "", *_grid(["Reported system", *table.groups[group].columns], lines)]
        yield "\n".join(f"> {line}".rstrip() for line in quoted)


def _cell(cell: Measured, notes: Footnotes) -> str:
    value = f"**{wording.value(cell)}**" if cell.best else wording.value(cell)
    shown = value + escape(wording.mark(cell)) + _marks(notes.of_cell(cell))
    return " ".join(part for part in (shown, wording.partial(cell), wording.interval(cell)) if part)


def _published(cell: Reported | None) -> str:
    return "–" if cell is None else f"*{wording.number(cell.value)}*"


def _marks(numbers: Sequence[int]) -> str:
    return f" <sup>{', '.join(map(str, numbers))}</sup>" if numbers else ""


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table, padded so that its source reads well too: the first column to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    for line in (header, rule, *rows):
        first, *others = (
            text.rjust(width) if place else text.ljust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        yield f"| {' | '.join([first, *others])} |"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|&~#$])", r"\\\1", " ".join(text.split()))
