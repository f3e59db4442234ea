"""The content of a table, without any display: rows of cells under groups of columns.

A cell is either ``Measured`` or ``Reported``. They are two classes, and live in two lists of rows, so that no renderer can show a
published figure as one of ours.
"""

from dataclasses import dataclass
from typing import Literal

COLUMNS = ("bass", "drums", "guitar", "piano", "all")
"""The columns of a table of separation: the stems, and "all", the mean of the four."""


@dataclass(frozen=True)
class Measured:
    """A number of ours: the estimate, its 95 % bootstrap interval over tracks, and the tracks it stands on.

    ``value`` is None, with a ``reason``, where it is undefined. ``p`` is that of the paired test against the baseline row,
    Holm-corrected over the columns (None for the baseline itself and where there is no test). ``windows`` is how many pieces of
    the tracks were measured: windows, or embeddings.
    """

    value: float | None
    low: float | None
    high: float | None
    tracks: int
    expected: int
    windows: int
    p: float | None = None
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


@dataclass(frozen=True)
class MeasuredRow:
    """A system. ``cells[g][c]`` is in group ``g`` and column ``c`` of that group.

    ``units`` are the ids of the work units behind the row, ``notes`` what a reader must know of it (failed units, other code).
    """

    name: str
    label: str
    system: str  # the system's id
    cells: tuple[tuple[Measured, ...], ...]
    tracks: int
    expected: int
    units: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float | None = None  # that a chunk took on average, on whatever machines made the row; for the JSON alone


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
    """Everything that a table shows. ``dataset`` is in every title, so that no number is taken for another dataset's."""

    name: str
    title: str
    dataset: str  # such as "MiniSlakh test"
    dataset_digest: str
    songs: int
    protocol: str
    groups: tuple[Group, ...]
    rows: tuple[MeasuredRow, ...]
    baseline: str
    caption: tuple[str, ...]  # sentences: what was measured, how, and with what statistics
    reported: ReportedSection | None = None
    provenance: dict | None = None
    better: Literal["higher", "lower"] = "higher"  # which of two numbers
    pieces: str = "windows"  # what tracks were cut into to be measured

    @property
    def partial(self) -> bool:
        """Whether any cell lacks tracks."""
        return any(row.tracks < row.expected for row in self.rows)
