"""What every medium says, and in the same words: titles, numbers, marks, footnotes and the sentences around a table."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.tables.table import DECIMALS, Better, Group, Measured, MeasuredRow, Reported, ReportedRow, Table

SIGNIFICANT = 0.05
"""A cell whose p is below it bears a mark."""

DIFFERS = "*"
"""Marks a cell that differs from the baseline."""

ABOVE = "†"
"""Marks a cell that is better than the floor."""

BETTER: dict[Better, str] = {"higher": "higher is better", "lower": "lower is better", "zero": "0 is best"}


def title(table: Table) -> str:
    """The title of a table, never without its dataset."""
    return f"{table.title} — {table.dataset}"


def group_title(table: Table, group: Group) -> str:
    """The title of a group of columns that may stand alone."""
    return f"{group.title} — {table.dataset}"


def number(value: float, decimals: int = DECIMALS) -> str:
    """With so many decimals and a true minus sign; a value that rounds to zero has no sign."""
    return f"{value:z.{decimals}f}".replace("-", "−")


def value(cell: Measured) -> str:
    """The estimate of a cell."""
    return "undef." if cell.value is None else number(cell.value)


def interval(cell: Measured, form: str = "[{}, {}]") -> str:
    """The interval of a cell; empty where there is none."""
    return "" if cell.low is None or cell.high is None else form.format(number(cell.low), number(cell.high))


def mark(cell: Measured) -> str:
    """``DIFFERS`` where the cell differs significantly from the baseline, ``ABOVE`` where it is better than the floor, or both."""
    chances = {DIFFERS: cell.p, ABOVE: cell.p_floor}
    return "".join(mark for mark, p in chances.items() if p is not None and p < SIGNIFICANT)


def blocks(table: Table) -> Iterator[tuple[str, tuple[MeasuredRow, ...]]]:
    """The rows of each family under its heading; no heading where all are of one."""
    for family, rows in table.families:
        name = family or "other systems"
        yield f"{name[0].upper()}{name[1:]}" if len(table.families) > 1 else "", rows


def count(counted: Measured | MeasuredRow) -> str:
    """How many songs a cell or a row stands on: "20", or "12/20" where some are missing; a row also says how many are invalidated."""
    number = f"{counted.tracks}/{counted.expected}" if counted.tracks < counted.expected else f"{counted.tracks}"
    invalidated = counted.invalidated if isinstance(counted, MeasuredRow) else 0
    return f"{number}, {invalidated} invalidated" if invalidated else number


def partial(cell: Measured) -> str:
    """The count in brackets where songs are missing, else nothing."""
    return f"({count(cell)})" if cell.partial else ""


def signatures(table: Table) -> dict[str, str]:
    """Each signature once, after its short form, with the titles of the groups that have it; and that of intervals and tests."""
    titles: dict[str, list[str]] = {}
    for group in table.groups:
        titles.setdefault(group.signature, []).append(group.title)
    if table.statistics:
        titles[table.statistics] = ["intervals and tests"]
    return {f"{short(signature)} = {signature}": "; ".join(of_them) for signature, of_them in titles.items()}


def short(signature: str) -> str:
    """What stands for a signature in a text: its first word, and the first digits of its sha256."""
    return f"{re.split(r'[|:]', signature)[0]}#{hashlib.sha256(signature.encode()).hexdigest()[:8]}"


def warning(table: Table) -> str:
    """The line that a table with missing songs carries; empty for a complete one."""
    incomplete = [row.label for row in table.rows if row.partial]
    if not incomplete:
        return ""
    return (
        f"Warning: partial table. Songs are missing from {', '.join(incomplete)}. A number followed by (n/m) stands on n of m songs; "
        "do not compare it with complete ones."
    )


def sentences(table: Table) -> Iterator[str]:
    """What stands below a table: the caption, what n, bold numbers and the marks mean."""
    cells = [cell for row in table.rows for in_group in row.cells for cell in in_group]
    yield from table.caption
    yield "n: number of songs."
    if any(cell.best for cell in cells):
        yield "Bold: the best of a column, bounds and rows that lack songs left aside."
    if any(cell.p is not None for cell in cells):
        yield f"{DIFFERS} differs from {table.label(table.baseline)}: p < {SIGNIFICANT}."
    if any(cell.p_floor is not None for cell in cells):
        floor = table.label(table.floor)
        yield f"{ABOVE} better than {floor}: one-sided p < {SIGNIFICANT}. Numbers without it may be no better than those of {floor}."
    if table.run_digest:
        yield f"Seed {table.seed}. Result {table.run_digest[:16]}: tables with this digest are one result."


@dataclass(frozen=True)
class Footnotes:
    """All that a table says at its foot, each text once, numbered in the order of appearance."""

    table: Table
    numbers: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        texts = (*self._measured(), *self._reported())
        object.__setattr__(self, "numbers", {text: place for place, text in enumerate(dict.fromkeys(texts), start=1)})

    def _measured(self) -> Iterator[str]:
        for row in self.table.rows:
            yield from row.notes
            yield from (undefined(cell) for cells in row.cells for cell in cells if cell.reason)

    def _reported(self) -> Iterator[str]:
        if self.table.reported is not None:
            yield from (source(cell) for row in self.table.reported.rows for cell in row.cells if cell is not None)

    def of_row(self, row: MeasuredRow) -> list[int]:
        """The numbers of a row's notes."""
        return [self.numbers[note] for note in row.notes]

    def of_cell(self, cell: Measured) -> list[int]:
        """The number of the reason why a cell is undefined."""
        return [self.numbers[undefined(cell)]] if cell.reason else []

    def of_sources(self, row: ReportedRow) -> list[int]:
        """The numbers of the sources of a published row."""
        return sorted({self.numbers[source(cell)] for cell in row.cells if cell is not None})


def undefined(cell: Measured) -> str:
    """The footnote of an undefined cell."""
    return f"undef.: {cell.reason}"


def source(cell: Reported) -> str:
    """The footnote of a published figure: where it is from and how it is known."""
    return f"{cell.citation}; {cell.known}."
