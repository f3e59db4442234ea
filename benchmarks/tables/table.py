"""The content of a table, without any display: rows of cells under groups of columns.

A cell is either ``Measured`` or ``Reported``. They are two classes, and live in two lists of rows, so that no renderer can show a
published figure as one of ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Literal

Better = Literal["higher", "lower", "zero"]
"""Which of two numbers is the better one; ``zero``: the one nearer to it."""

BOUNDS = "bounds"
"""The family of the systems that only frame a table: they are no competitors."""

DECIMALS = 2
"""Of a number that is shown; two that are shown alike are alike."""

COLUMNS = ("bass", "drums", "guitar", "piano", "all")
"""The columns of a table of separation: the stems, and "all", the mean of the four."""


@dataclass(frozen=True)
class Measured:
    """A number of ours: the estimate, its 95 % bootstrap interval over tracks, and the tracks it stands on.

    ``value`` is None, with a ``reason``, where it is undefined. ``p`` is that of the paired test that the row differs from the
    baseline, ``p_floor`` that of the one that it is better than the floor, each Holm-corrected over the columns (None for the
    baseline and the floor themselves and where there is no test). ``windows`` is how many pieces of the tracks were measured:
    windows, or embeddings. ``best``: no competitor shows a better number in the column.
    """

    value: float | None
    low: float | None
    high: float | None
    tracks: int
    expected: int
    windows: int
    p: float | None = None
    p_floor: float | None = None
    best: bool = False
    reason: str = ""

    @property
    def partial(self) -> bool:
        """Whether tracks are missing from it."""
        return self.tracks < self.expected


@dataclass(frozen=True)
class Reported:
    """A number from the literature."""

    value: float
    citation: str
    known: str  # how the figure is known, such as "printed on the authors' poster"


@dataclass(frozen=True)
class Group:
    """A group of columns: one metric under one protocol."""

    title: str
    signature: str
    columns: tuple[str, ...] = COLUMNS
    total: bool = True  # whether the last column sums the others up
    better: Better = "higher"


@dataclass(frozen=True)
class MeasuredRow:
    """A system. ``cells[g][c]`` is in group ``g`` and column ``c`` of that group.

    ``units`` are the ids of the work units behind the row, ``scores`` the keys of the store's scores of them, ``runs`` the provenance
    of both, ``notes`` what a reader must know of it (failed units, other code). ``invalidated`` tracks are missing because a person
    has declared their outputs worthless.
    """

    name: str
    label: str
    family: str  # the block of rows that it stands in; "" for a system that says none
    system: str  # the system's id
    cells: tuple[tuple[Measured, ...], ...]
    tracks: int
    expected: int
    units: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    invalidated: int = 0
    seconds: float | None = None  # that a chunk took on average, on whatever machines made the row; for the JSON alone

    @property
    def partial(self) -> bool:
        """Whether tracks are missing from it, or from any of its cells."""
        return self.tracks < self.expected or any(cell.partial for cells in self.cells for cell in cells)

    @property
    def competes(self) -> bool:
        """Whether its numbers are compared with those of the other systems: a bound's are not, nor those of other tracks."""
        return self.family != BOUNDS and not self.partial


@dataclass(frozen=True)
class ReportedRow:
    """A published row: figures in one group of columns, None where none was published."""

    label: str
    group: int
    cells: tuple[Reported | None, ...]


@dataclass(frozen=True)
class ReportedSection:
    """The rows of the literature and what they were measured on."""

    title: str  # such as "Reported on Slakh2100 test"
    rows: tuple[ReportedRow, ...]


@dataclass(frozen=True)
class Table:
    """Everything that a table shows. ``dataset`` is in every title, so that no number is taken for another dataset's.

    Rows of a family stand together. ``baseline`` and ``floor`` are names of rows that tests are made against, or empty.
    """

    name: str
    title: str
    dataset: str  # such as "MiniSlakh test"
    dataset_digest: str
    songs: int
    protocol: str
    groups: tuple[Group, ...]
    rows: tuple[MeasuredRow, ...]
    baseline: str
    floor: str
    caption: tuple[str, ...]  # sentences: what was measured, how, and with what statistics
    reported: ReportedSection | None = None
    provenance: dict | None = None
    statistics: str = ""  # the signature of intervals and tests
    seed: int = 0  # of the noise of every excerpt
    run_digest: str = ""  # over excerpts, outputs and signatures: tables that have the same are one result
    pieces: str = "windows"  # what tracks were cut into to be measured

    @property
    def partial(self) -> bool:
        """Whether any cell lacks tracks."""
        return any(row.partial for row in self.rows)

    @property
    def families(self) -> tuple[tuple[str, tuple[MeasuredRow, ...]], ...]:
        """The blocks of rows, each with the family that it is of."""
        return tuple((family, tuple(rows)) for family, rows in groupby(self.rows, key=attrgetter("family")))

    def label(self, name: str) -> str:
        """What the row ``name`` is called."""
        return next(row.label for row in self.rows if row.name == name)


def merit(value: float, better: Better) -> float:
    """What is the higher the better, whatever a group shows."""
    return {"higher": value, "lower": -value, "zero": -abs(value)}[better]


def arrange(rows: Sequence[MeasuredRow], groups: Sequence[Group]) -> tuple[MeasuredRow, ...]:
    """Rows with those of a family together, in the order of first appearance, and the best cell of each column marked.

    Where one row alone has a number nothing is best. All that show the best number are.
    """
    order = list(dict.fromkeys(row.family for row in rows))
    best = [
        [_best([row.cells[g][c] for row in rows if row.competes], group.better) for c in range(len(group.columns))]
        for g, group in enumerate(groups)
    ]
    return tuple(
        replace(row, cells=tuple(map(_marked, row.cells, best, groups)) if row.competes else row.cells)
        for row in sorted(rows, key=lambda row: order.index(row.family))
    )


def _best(cells: Sequence[Measured], better: Better) -> float:
    """The merit of the best of some cells; NaN, which nothing equals, where fewer than two have a number."""
    merits = [_shown_merit(cell, better) for cell in cells if cell.value is not None]
    return max(merits) if len(merits) > 1 else math.nan


def _shown_merit(cell: Measured, better: Better) -> float:
    """The merit of a number as it is shown, so that none is best by what nobody sees; NaN of an undefined cell."""
    return math.nan if cell.value is None else merit(round(cell.value, DECIMALS), better)


def _marked(cells: Sequence[Measured], best: Sequence[float], group: Group) -> tuple[Measured, ...]:
    return tuple(
        replace(cell, best=_shown_merit(cell, group.better) == most) for cell, most in zip(cells, best, strict=True)
    )
