"""A table as a LaTeX float that a paper can ``\\input``: booktabs, groups side by side."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise, zip_longest

from benchmarks.tables import wording
from benchmarks.tables.table import Measured, MeasuredRow, Reported, ReportedRow, Table
from benchmarks.tables.wording import Footnotes

ACROSS = 2
"""Groups side by side: more do not fit a page."""

GROUP_GAP = r"@{\hspace{9pt}}"


def _greek(letter: str) -> str:
    """The LaTeX name of a Greek letter, from its Unicode name, which spells lambda without its b."""
    name = unicodedata.name(letter).split()[-1].replace("LAMDA", "LAMBDA")
    return rf"\{name.lower() if letter.islower() else name.capitalize()}"


MATHS = {"−": "-", "≤": r"\leq", "≥": r"\geq", "≈": r"\approx", "→": r"\to", "∞": r"\infty", "†": r"\dagger"} | {
    letter: _greek(letter) for letter in "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ"
}
SPECIAL = str.maketrans(
    {character: rf"\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}\allowbreak{}", '"': "''"}
    | {character: f"${symbol}$" for character, symbol in MATHS.items()}
)


def render(table: Table) -> str:
    """The text of the LaTeX file."""
    return "\n".join(_lines(table)) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, on one line."""
    quoted = re.sub(r'"([^"]*)"', r"``\1''", " ".join(text.split()))
    return quoted.translate(SPECIAL)


def _lines(table: Table) -> Iterator[str]:
    notes = Footnotes(table)
    yield r"% Needs \usepackage{booktabs}."
    yield f"% {' '.join(wording.title(table).split())}, dataset {table.dataset_digest}"
    yield r"\begin{table*}[t]"
    yield r"\centering\footnotesize\setlength{\tabcolsep}{3pt}"
    yield rf"\caption{{{_caption(table)}}}"
    yield rf"\label{{tab:{table.name}}}\par\smallskip"
    for first in range(0, len(table.groups), ACROSS):
        yield from _tabular(table, range(first, min(first + ACROSS, len(table.groups))), notes)
        yield r"\par\smallskip"
    yield r"\begin{minipage}{\linewidth}\scriptsize\raggedright"
    yield from (rf"\textsuperscript{{{place}}}\,{escape(text)}\par" for text, place in notes.numbers.items())
    yield from (
        rf"{escape(titles)}: \texttt{{{escape(signature)}}}\par"
        for signature, titles in wording.signatures(table).items()
    )
    yield r"\end{minipage}"
    yield r"\end{table*}"


def _caption(table: Table) -> str:
    warning = wording.warning(table)
    parts = [
        rf"{escape(wording.title(table))}.",
        *([rf"\textbf{{{escape(warning)}}}"] if warning else []),
        *map(escape, wording.sentences(table)),
    ]
    return " ".join(parts)


def _tabular(table: Table, places: range, notes: Footnotes) -> Iterator[str]:
    groups = [table.groups[place] for place in places]
    ends = list(accumulate((len(group.columns) for group in groups), initial=2))
    yield rf"\begin{{tabular}}{{@{{}}lr{GROUP_GAP}{GROUP_GAP.join('r' * len(group.columns) for group in groups)}@{{}}}}"
    yield r"\toprule"
    yield _row(["", "", *(rf"\multicolumn{{{len(group.columns)}}}{{c}}{{{escape(group.title)}}}" for group in groups)])
    yield " ".join(rf"\cmidrule(lr){{{start + 1}-{end}}}" for start, end in pairwise(ends))
    yield _row(["System", "$n$", *(escape(name) for group in groups for name in group.columns)])
    yield r"\midrule"
    for heading, rows in wording.blocks(table):
        if heading:
            yield rf"\addlinespace \multicolumn{{{ends[-1]}}}{{@{{}}l}}{{\scriptsize\scshape {escape(heading)}}} \\"
        for row in rows:
            yield from _measured(row, table, places, notes)
    published = [row for row in table.reported.rows if row.group in places] if table.reported else []
    if table.reported and published:
        yield r"\midrule"
        yield rf"\multicolumn{{{ends[-1]}}}{{@{{}}l}}{{\itshape {escape(table.reported.title)}}} \\"
        yield from (_reported(row, table, places, notes) for row in published)
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _measured(row: MeasuredRow, table: Table, places: range, notes: Footnotes) -> Iterator[str]:
    """A line of values, and below it lines of what else a cell holds."""
    totals = [row.cells[place][-1] if table.groups[place].total else None for place in places]
    blocks = [
        _cell(cell, cell is total, notes)
        for place, total in zip(places, totals, strict=True)
        for cell in row.cells[place]
    ]
    values, *others = zip_longest(*blocks, fillvalue="")
    yield _row([_label(row.label, notes.of_row(row)), wording.count(row), *values], r"[-2pt]" if others else "")
    for line in others:
        yield _row(["", "", *line], "[1pt]" if line is others[-1] else "[-2pt]")


def _cell(cell: Measured, with_interval: bool, notes: Footnotes) -> list[str]:
    """The value, and in smaller type below it the interval (only where there is room for it) and the count of a partial cell."""
    below = [wording.interval(cell) if with_interval else "", wording.partial(cell)]
    marks = [escape(wording.mark(cell)), *map(str, notes.of_cell(cell))]
    value = escape(wording.value(cell))
    return [
        (rf"\textbf{{{value}}}" if cell.best else value)
        + "".join(rf"\rlap{{\textsuperscript{{{text}}}}}" for text in marks if text),
        *(rf"{{\tiny {escape(text)}}}" for text in below if text),
    ]


def _reported(row: ReportedRow, table: Table, places: range, notes: Footnotes) -> str:
    blocks = [
        map(_published, row.cells) if place == row.group else [""] * len(table.groups[place].columns)
        for place in places
    ]
    return _row(
        [rf"\textit{{{_label(row.label, notes.of_sources(row))}}}", "", *(text for block in blocks for text in block)]
    )


def _published(cell: Reported | None) -> str:
    return "--" if cell is None else rf"\textit{{{escape(wording.number(cell.value))}}}"


def _label(label: str, marks: Sequence[int]) -> str:
    r"""A label in braces: LaTeX reads a bracket or a star at the start of a line as an argument of the ``\\`` before it."""
    above = rf"\textsuperscript{{{','.join(map(str, marks))}}}" if marks else ""
    return f"{{{escape(label)}}}{above}"


def _row(cells: Sequence[str], skip: str = "") -> str:
    return rf"{' & '.join(cells)} \\{skip}"
