"""A table on a terminal: groups side by side where the console is wide enough, else one below the other.

Lines are composed here rather than by rich's tables, which would shorten numbers on a narrow console: only labels wrap.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.console import Console
from rich.text import Text

from benchmarks.tables import wording
from benchmarks.tables.table import Measured, MeasuredRow, Reported, Table
from benchmarks.tables.wording import Footnotes

LABEL = 12
"""The least width of labels; what leaves them less goes below, or is left out."""

GAP = " │ "
REPORTED = "italic magenta"
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

Cell = Sequence[tuple[str, str]]
"""The lines of a cell, each a text and its style."""


@dataclass(frozen=True)
class Row:
    """A line of the table: its label, n, and per group the cells (none in the groups that it has nothing to say of).

    The heading of a family is one, too: it has a label alone.
    """

    label: Text
    count: str
    groups: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Sheet:
    """What there is to print, with or without intervals, before it is known how many groups go side by side."""

    intervals: bool
    marks: int  # the most that a number bears
    headings: Sequence[str]  # of the groups
    names: Sequence[Sequence[str]]  # of each group's columns
    measured: Sequence[Row]
    reported: Sequence[Row]
    reported_title: str

    @property
    def rows(self) -> Iterator[Row]:
        """All rows."""
        yield from self.measured
        yield from self.reported

    @property
    def count(self) -> int:
        """The width of n."""
        return max(len(row.count) for row in self.rows)

    def columns(self, group: int) -> list[int]:
        """The widths of a group's columns: names and numbers keep places free for the marks."""
        shown = [row.groups[group] for row in self.rows if row.groups[group]]
        return [
            max(len(name) + self.marks, *(len(text) for cells in shown for text, _ in cells[place]))
            for place, name in enumerate(self.names[group])
        ]

    def block(self, group: int) -> int:
        """The width of a group."""
        return sum(self.columns(group)) + len(self.names[group]) - 1

    def room(self, groups: Sequence[int], width: int) -> int:
        """The width that is left to labels beside these groups."""
        return width - 1 - self.count - sum(len(GAP) + self.block(group) for group in groups)


def print_table(table: Table, console: Console) -> None:
    """Print a table as wide as the console, or wider where its numbers would not fit."""
    notes = Footnotes(table)
    sheet, bands = _arrange(table, notes, console.width)
    console.print(Text(wording.title(table), "bold"))
    if warning := wording.warning(table):
        console.print(Text(warning, "bold yellow"))
    for band in bands:
        console.print()
        for line in _band(sheet, band, console):
            console.print(line, soft_wrap=True)
    console.print()
    for sentence in wording.sentences(table):
        console.print(Text(sentence))
    if not sheet.intervals:
        console.print(Text("Intervals need a wider terminal; the written files have them."))
    for text, place in notes.numbers.items():
        console.print(Text(f"{_superscript([place])} {text}"))
    for signature, titles in wording.signatures(table).items():
        console.print(Text(f"{titles}: {signature}", "dim"))


def _arrange(table: Table, notes: Footnotes, width: int) -> tuple[Sheet, list[range]]:
    """The fullest arrangement that fits: intervals come before groups side by side."""
    count = len(table.groups)
    for intervals in (True, False):
        sheet = _sheet(table, notes, intervals)
        for across in range(count, 0, -1):
            bands = [range(first, min(first + across, count)) for first in range(0, count, across)]
            if all(sheet.room(band, width) >= LABEL for band in bands):
                return sheet, bands
    return sheet, bands


def _sheet(table: Table, notes: Footnotes, intervals: bool) -> Sheet:
    section = table.reported
    places = range(len(table.groups))
    marks = max(1, *(len(wording.mark(cell)) for row in table.rows for cells in row.cells for cell in cells))
    return Sheet(
        intervals=intervals,
        marks=marks,
        headings=[f"{group.title}\n{table.dataset}" for group in table.groups],
        names=[group.columns for group in table.groups],
        measured=[
            row
            for heading, rows in wording.blocks(table)
            for row in (
                *([Row(Text(heading, "bold underline"), "", [[] for _ in places])] if heading else []),
                *(_measured_row(row, notes, intervals, marks) for row in rows),
            )
        ],
        reported=[
            Row(
                Text(row.label + _superscript(notes.of_sources(row)), REPORTED),
                "",
                [[_reported(cell, marks) for cell in row.cells] if place == row.group else [] for place in places],
            )
            for row in (section.rows if section else ())
        ],
        reported_title=section.title if section else "",
    )


def _measured_row(row: MeasuredRow, notes: Footnotes, intervals: bool, marks: int) -> Row:
    return Row(
        Text(row.label + _superscript(notes.of_row(row))),
        wording.count(row),
        [[_measured(cell, notes, intervals, marks) for cell in cells] for cells in row.cells],
    )


def _measured(cell: Measured, notes: Footnotes, intervals: bool, marks: int) -> Cell:
    mark = wording.mark(cell) + _superscript(notes.of_cell(cell))
    interval = wording.interval(cell, "{}..{}") if intervals else ""
    lines = [
        (f"{wording.value(cell)}{mark:<{marks}}", "bold" if cell.best else ""),
        (interval, "dim"),
        (wording.partial(cell), "yellow"),
    ]
    return [(text, style) for text, style in lines if text]


def _reported(cell: Reported | None, marks: int) -> Cell:
    return [("–" if cell is None else f"{wording.number(cell.value)}{'':{marks}}", REPORTED)]


def _superscript(numbers: Sequence[int]) -> str:
    return ",".join(str(number).translate(SUPERSCRIPTS) for number in numbers)


def _band(sheet: Sheet, groups: Sequence[int], console: Console) -> Iterator[Text]:
    """The lines of groups that stand side by side: headings, measured rows, and the rows reported in any of them."""
    longest = max(row.label.cell_len for row in sheet.rows)
    label = max(LABEL, min(longest, sheet.room(groups, console.width)))
    widths = [label, sheet.count, *map(sheet.block, groups)]

    def lines(title: Text, count: str, blocks: Sequence[Sequence[Text]]) -> Iterator[Text]:
        columns: list[Sequence[Text]] = [list(title.wrap(console, label)), [Text(count.rjust(sheet.count))], *blocks]
        for parts in zip_longest(*columns, fillvalue=Text()):
            yield _beside(parts, widths)

    def row_lines(row: Row) -> Iterator[Text]:
        yield from lines(
            row.label, row.count, [list(_block(row.groups[group], sheet.columns(group))) for group in groups]
        )

    headings = [list(Text(sheet.headings[group], "bold").wrap(console, sheet.block(group))) for group in groups]
    names = [[[(f"{name}{'':{sheet.marks}}", "bold")] for name in columns] for columns in sheet.names]
    yield from lines(Text(), "", headings)
    yield from row_lines(Row(Text("System", "bold"), "n", names))
    rule = Text("─" * (1 + sum(widths) + len(GAP) * len(groups)), "dim")
    yield rule
    for row in sheet.measured:
        yield from row_lines(row)
    reported = [row for row in sheet.reported if any(row.groups[group] for group in groups)]
    if reported:
        yield rule
        yield from Text(sheet.reported_title, "bold magenta").wrap(console, console.width)
        for row in reported:
            yield from row_lines(row)


def _block(cells: Sequence[Cell], columns: Sequence[int]) -> Iterator[Text]:
    """The lines of a group's cells, each flush right in its column."""
    for parts in zip_longest(*cells, fillvalue=("", "")):
        yield Text(" ").join(
            Text(text.rjust(width), style) for (text, style), width in zip(parts, columns, strict=True)
        )


def _beside(parts: Sequence[Text], widths: Sequence[int]) -> Text:
    """One line from the label, n and one line of each group."""
    padded = [part.copy() for part in parts]
    for part, width in zip(padded, widths, strict=True):
        part.truncate(width, pad=True)
    label, count, *blocks = padded
    line = Text(" ").join([label, count])
    for block in blocks:
        line.append(GAP, "dim").append_text(block)
    line.rstrip()
    return line
