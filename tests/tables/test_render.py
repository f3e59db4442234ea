"""Every medium of a table, read back: the numbers, what is ours and what is not, the dataset's name, and no broken text."""

import csv
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from benchmarks.tables import csvfile, html, jsonfile, latex, markdown, plots, svg, wording
from benchmarks.tables.frame import cells
from benchmarks.tables.render import print_table, write_all
from benchmarks.tables.table import (
    COLUMNS,
    Better,
    Group,
    Measured,
    MeasuredRow,
    Reported,
    ReportedRow,
    ReportedSection,
    Table,
    arrange,
)

DATASET = "MiniSlakh test"
NASTY = r"50 % of $x_1 & y^2 <b>{i}</b> ~ #3 |pipe| \n *star* `tick` [link] σ≥1 é “q” \"Q\""
REASON = "the reference is silent <everywhere> & always"
CITED = 'Somebody & Others, "A Title_with 100 %", 2024'
KNOWN = "printed on the authors' poster"


def cell(value: float, p: float | None = None, p_floor: float | None = None, tracks: int = 20) -> Measured:
    return Measured(value, value - 0.123456789, value + 1 / 3, tracks, 20, 15 * tracks, p, p_floor)


def undefined(tracks: int = 20) -> Measured:
    return Measured(None, None, None, tracks, 20, 0, reason=REASON)


BASELINE = MeasuredRow(
    "mixture",
    "Mixture (no separation)",
    "bounds",
    "a" * 64,
    (tuple(map(cell, (0.0, 0.001, -0.001, 0.25, 0.0625))), (undefined(), *map(cell, (1.5, 2.5, 3.5, 4.75)))),
    20,
    20,
    ("unit-1", "unit-2"),
)
SYSTEM = MeasuredRow(
    "nasty",
    NASTY,
    "some & <others>",
    "b" * 64,
    (
        tuple(
            map(
                cell,
                (61.23456789, -12.3456, 7.1, 8.2, 16.047),
                (0.001, 0.0499, 0.05, 0.7, 0.01),
                (0.04, 0.06, 0.01, 0.5, 1.0),
            )
        ),
        tuple(map(cell, (-0.31, 19.87, 9.5, 10.6, 9.915), (0.2,) * 5)),
    ),
    20,
    20,
    ("unit-3",),
    ("Ran with somebody's code_v2 & 10 % luck.",),
)
PARTIAL = MeasuredRow(
    "partial",
    "Partial",
    "",
    "c" * 64,
    tuple(tuple(cell(value + shift, tracks=12) for value in (5.11, 5.22, 5.33, 5.44, 5.275)) for shift in (0, 0.5)),
    12,
    20,
)
RIVAL = MeasuredRow(
    "rival",
    "Rival",
    "some & <others>",
    "e" * 64,
    (
        tuple(map(cell, (61.2301, -12.34559, 7.0, 8.3, 16.0), (0.5,) * 5)),
        tuple(map(cell, (0.1, 19.87, 9.4, 10.7, 9.9151), (0.5,) * 5)),
    ),
    20,
    20,
)
GROUPS = (Group("msdm (silent stems scored)", "si_sdri|silent:scored|v1"), Group("active", "si_sdri|silent:skipped|v1"))
REPORTED = ReportedSection(
    "Reported on Slakh2100 test, not measured here",
    (
        ReportedRow(
            "MSDM & 1", 0, tuple(Reported(value, CITED, KNOWN) for value in (31.12, 32.68, 33.38, 34.73, 35.48))
        ),
        ReportedRow(
            "GMSDI_2", 0, (None, *(Reported(value, CITED, "read off a plot") for value in (41.5, 42.6, 43.7, 44.8)))
        ),
    ),
)
TABLE = Table(
    name="separation",
    title="Source separation, SI-SDRi in dB",
    dataset=DATASET,
    dataset_digest="d" * 64,
    songs=20,
    protocol="all whole chunks",
    groups=GROUPS,
    rows=arrange((BASELINE, SYSTEM, PARTIAL, RIVAL), GROUPS),
    baseline=BASELINE.name,
    floor=BASELINE.name,
    caption=("Means over windows & 95 % intervals.",),
    reported=REPORTED,
    provenance={"commit": "abc", "dirty": False},
)
COMPLETE = replace(TABLE, rows=tuple(row for row in TABLE.rows if not row.partial))
FOUR_GROUPS = replace(
    TABLE,
    groups=tuple(Group(name, f"bsseval|{name}") for name in ("SDR", "SIR", "ISR", "SAR")),
    rows=tuple(replace(row, cells=row.cells * 2) for row in TABLE.rows),
)
MEASURED = {
    wording.value(cell) for row in TABLE.rows for cells in row.cells for cell in cells if cell.value is not None
}
PUBLISHED = {wording.number(cell.value) for row in REPORTED.rows for cell in row.cells if cell is not None}

PLOT = '<svg xmlns="http://www.w3.org/2000/svg"><text>the plot</text></svg>'

TEXTS: dict[str, Callable[[Table], str]] = {
    "md": markdown.render,
    "csv": csvfile.render,
    "tex": latex.render,
    "json": jsonfile.render,
    "html": lambda table: html.render(table, PLOT),
}


def terminal(table: Table, width: int) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=False)
    print_table(table, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def page(table: Table) -> ElementTree.Element:
    """The HTML parsed as XML, which allows no tag unclosed and no character unescaped."""
    return ElementTree.fromstring(TEXTS["html"](table).removeprefix("<!DOCTYPE html>\n"))


def text_of(element: ElementTree.Element) -> str:
    return "".join(element.itertext())


def ansi(table: Table) -> str:
    """What a terminal with styles is sent."""
    console = Console(file=StringIO(), width=200, force_terminal=True, color_system="standard")
    print_table(table, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def numbers_in(text: str) -> set[str]:
    return set(re.findall(r"−?\d+\.\d\d(?!\d)", text))


def sections(medium: str) -> tuple[str, str]:
    """The measured and the reported part of the table's body."""
    if medium == "html":
        bodies = [(body.get("class"), text_of(body)) for body in page(TABLE).iter("tbody")]
        return tuple("".join(text for kind, text in bodies if kind == wanted) for wanted in ("measured", "reported"))  # type: ignore[return-value]
    if medium == "md":
        lines = TEXTS["md"](TABLE).splitlines()
        return tuple("\n".join(line for line in lines if line.startswith(start)) for start in ("|", ">"))  # type: ignore[return-value]
    if medium == "tex":
        body = TEXTS["tex"](TABLE).replace("$-$", "−").partition(r"\midrule")[2].partition(r"\bottomrule")[0]
    else:
        body = terminal(TABLE, 200).partition("───\n")[2].partition("n: number of songs")[0]
    measured, title, reported = body.partition(REPORTED.title)
    assert title
    return measured, reported


@pytest.mark.parametrize("medium", ["terminal", "md", "tex", "html"])
def test_measured_and_reported_numbers_never_share_a_section(medium: str) -> None:
    measured, reported = (numbers_in(section) for section in sections(medium))
    assert measured >= MEASURED
    assert not measured & PUBLISHED
    assert reported == PUBLISHED


def test_csv_holds_every_number_exactly() -> None:
    frame = pd.read_csv(StringIO(csvfile.render(TABLE)), float_precision="round_trip")
    measured = frame[frame.kind == "measured"].set_index(["name", "group", "column"])
    assert len(measured) == len(TABLE.rows) * len(GROUPS) * len(COLUMNS)
    for row in TABLE.rows:
        for group, in_group in zip(GROUPS, row.cells, strict=True):
            for column, expected in zip(COLUMNS, in_group, strict=True):
                line = measured.loc[(row.name, group.title, column), :]
                found = {name: None if pd.isna(line[name]) else line[name] for name in vars(expected)}
                assert found == {**vars(expected), "reason": expected.reason or None}
                assert (
                    line.label,
                    "" if pd.isna(line.family) else line.family,
                    line.system,
                    line.signature,
                    line.dataset,
                ) == (
                    row.label,
                    row.family,
                    row.system,
                    group.signature,
                    DATASET,
                )
                assert pd.isna(line.citation)


def test_csv_holds_every_published_figure_under_its_own_dataset() -> None:
    lines = [line for line in csv.DictReader(StringIO(csvfile.render(TABLE))) if line["kind"] == "reported"]
    found = [(line["label"], line["column"], float(line["value"]), line["citation"], line["known"]) for line in lines]
    assert found == [
        (row.label, column, figure.value, figure.citation, figure.known)
        for row in REPORTED.rows
        for column, figure in zip(COLUMNS, row.cells, strict=True)
        if figure is not None
    ]
    for line in lines:
        assert "Slakh2100" in line["dataset"] and DATASET not in line["dataset"]
        assert not any(line[name] for name in ("name", "system", "signature", "low", "high", "tracks", "windows", "p"))


def test_json_is_the_whole_table() -> None:
    content = json.loads(jsonfile.render(TABLE))
    assert content.pop("format") == jsonfile.FORMAT
    assert content == json.loads(json.dumps(asdict(TABLE)))
    assert content["rows"][0]["units"] == ["unit-1", "unit-2"]


def test_json_refuses_nan() -> None:
    row = replace(BASELINE, cells=((cell(float("nan")),) * 5, BASELINE.cells[1]))
    with pytest.raises(ValueError, match="not JSON compliant"):
        jsonfile.render(replace(TABLE, rows=(row,)))


def test_every_title_names_the_dataset() -> None:
    root = page(TABLE)
    headings = [
        element
        for element in root.iter()
        if element.tag in ("title", "h1") or "group" in element.get("class", "").split()
    ]
    titles = {
        "html": [text_of(heading) for heading in headings],
        "md": [line for line in markdown.render(TABLE).splitlines() if line.startswith("#")],
        "tex": [line for line in latex.render(TABLE).splitlines() if line.startswith(r"\caption")],
        "terminal": terminal(TABLE, 80).splitlines()[:1],
        "json": [json.loads(jsonfile.render(TABLE))["dataset"]],
    }
    assert {medium: len(found) for medium, found in titles.items()} == {
        "html": 4,
        "md": 3,
        "tex": 1,
        "terminal": 1,
        "json": 1,
    }
    assert all(DATASET in title for found in titles.values() for title in found)
    assert terminal(TABLE, 80).count(DATASET) == 1 + len(GROUPS)


@pytest.mark.parametrize("medium", ["md", "tex", "html"])
def test_partial_cells_and_the_warning_are_in_plain_sight(medium: str) -> None:
    assert TEXTS[medium](TABLE).count("(12/20)") == 10
    assert "Warning: partial table. Songs are missing from Partial." in TEXTS[medium](TABLE)
    assert not re.search(r"Warning|/20\)", TEXTS[medium](COMPLETE))


@pytest.mark.parametrize("width", [80, 120, 160])
def test_terminal_fits_and_loses_nothing(width: int) -> None:
    text = terminal(TABLE, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text and "..." not in text
    assert numbers_in(text) >= MEASURED | PUBLISHED
    assert text.count("(12/20)") == 10
    assert "Warning: partial table." in text
    assert "Warning" not in terminal(COMPLETE, width)


def test_terminal_uses_the_width_it_has() -> None:
    headers = {
        width: [line.count("bass") for line in terminal(TABLE, width).splitlines() if "bass" in line]
        for width in (80, 160)
    }
    assert headers == {80: [1, 1], 160: [2]}
    assert "−12.47..−12.01" in terminal(TABLE, 160)
    assert "−12.47..−12.01" not in terminal(TABLE, 80)
    assert "Intervals need a wider terminal" in terminal(TABLE, 80)


def test_terminal_never_shortens_a_number_even_where_nothing_fits() -> None:
    assert numbers_in(terminal(TABLE, 30)) >= MEASURED | PUBLISHED


@settings(max_examples=25)
@given(st.lists(st.floats(-99, 99), min_size=5, max_size=5), st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_terminal_aligns_the_points_of_all_rows(values: list[float], ps: list[float]) -> None:
    row = replace(SYSTEM, label="any", notes=(), cells=(tuple(map(cell, values, ps, reversed(ps))), SYSTEM.cells[1]))
    table = replace(TABLE, rows=(BASELINE, row), groups=GROUPS, reported=REPORTED)
    block = terminal(table, 80).split("\n\n")[1]
    points = [
        [match.start() for match in re.finditer(r"\.(?=\d\d[ *†]|\d\d$)", line)]
        for line in block.splitlines()
        if ".." not in line
    ]
    full = [found for found in points if len(found) == 5]
    assert len(full) == 3  # two measured rows and the reported one without gaps
    assert full[0] == full[1] == full[2]


def test_html_keeps_every_text_and_needs_no_other_file() -> None:
    root = page(TABLE)
    labels = [element for element in root.iter("th") if element.get("scope") == "row"]
    assert [label.text for label in labels] == [row.label for row in TABLE.rows] + [row.label for row in REPORTED.rows]
    links = [value for element in root.iter() for name, value in element.items() if name in ("src", "href")]
    assert links == []
    assert [text_of(element) for element in root.iter("{http://www.w3.org/2000/svg}svg")] == ["the plot"]
    hovers = [found.get("title", "") for found in root.iter("td")]
    assert (
        "20 of 20 songs, 300 windows; p = 0.001 that it differs from Mixture (no separation); "
        "p = 0.04 that it is better than Mixture (no separation)"
    ) in hovers
    assert f"undefined: {REASON}; 20 of 20 songs, 0 windows" in hovers


@pytest.mark.parametrize(
    ("medium", "shown"),
    [("md", markdown.escape(REASON)), ("tex", latex.escape(REASON)), ("csv", REASON), ("json", REASON)],
)
def test_undefined_cells_say_why(medium: str, shown: str) -> None:
    assert shown in TEXTS[medium](TABLE)
    assert shown not in TEXTS[medium](replace(TABLE, rows=(replace(BASELINE, cells=SYSTEM.cells), SYSTEM, PARTIAL)))


def test_footnotes_number_each_source_once() -> None:
    notes = wording.Footnotes(TABLE)
    assert list(notes.numbers) == [
        f"undef.: {REASON}",
        *SYSTEM.notes,
        f"{CITED}; {KNOWN}.",
        f"{CITED}; read off a plot.",
    ]
    assert [notes.of_sources(row) for row in REPORTED.rows] == [[3], [4]]
    assert notes.of_row(SYSTEM) == [2]
    assert notes.of_cell(BASELINE.cells[1][0]) == [1]


def test_significance_is_marked_and_explained() -> None:
    assert [wording.mark(found) for found in SYSTEM.cells[0]] == ["*†", "*", "†", "", "*"]
    said = list(wording.sentences(TABLE))
    assert "* differs from Mixture (no separation): p < 0.05." in said
    assert any(text.startswith("† better than Mixture (no separation): one-sided p < 0.05.") for text in said)
    alone = markdown.render(replace(TABLE, rows=(BASELINE,)))
    assert "differs from" not in alone and "better than" not in alone


def test_numbers_have_two_decimals_and_zero_no_sign() -> None:
    assert [wording.number(value) for value in (-0.004, 0.0, -0.31, 61.236, -12.5)] == [
        "0.00",
        "0.00",
        "−0.31",
        "61.24",
        "−12.50",
    ]


def test_a_table_without_literature_or_tests_renders() -> None:
    plain = replace(TABLE, rows=(BASELINE,), reported=None, provenance=None)
    for render in TEXTS.values():
        assert "eported" not in re.sub(r"<style>.*</style>", "", render(plain), flags=re.DOTALL).replace(
            '"reported": null', ""
        )
    assert "Reported" not in terminal(plain, 80)


@given(st.text())
def test_markdown_escapes_are_undone_by_markdown(text: str) -> None:
    escaped = markdown.escape(text)
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", escaped) == " ".join(text.split())
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", escaped)  # no pipe that would end a cell


def test_markdown_tables_have_as_many_cells_in_every_line() -> None:
    lines = [line.lstrip("> ") for line in markdown.render(TABLE).splitlines() if line.lstrip("> ").startswith("|")]
    counts = [len(re.findall(r"(?<!\\)\|", line)) - 1 for line in lines]
    assert sorted(set(counts)) == [1 + len(COLUMNS), 2 + len(COLUMNS)]
    assert len(lines) == 2 * (2 + len(TABLE.families) + len(TABLE.rows)) + 2 + len(REPORTED.rows)


needs_latex = pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="pdflatex is not on PATH (Debian: texlive-latex-recommended)"
)


def pdflatex(table: Table, folder: Path) -> str:
    """What LaTeX says of a paper with the table in it."""
    (folder / "table.tex").write_text(latex.render(table))
    (folder / "paper.tex").write_text(
        "\\documentclass[twocolumn]{article}\\usepackage[margin=2cm]{geometry}\\usepackage{booktabs}"
        "\\begin{document}\\input{table.tex}\\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (folder / "paper.pdf").exists()
    return done.stdout


@needs_latex
@pytest.mark.parametrize("label", [NASTY, "[this] is no argument", "".join(latex.MATHS), "a -- b\n\nc"])
def test_latex_compiles_with_any_label(label: str, tmp_path: Path) -> None:
    bare = ((replace(cell(1.0), low=None, high=None),) * 5,) * 2  # no smaller line that would stand between two labels
    pdflatex(replace(TABLE, rows=(replace(BASELINE, cells=bare), replace(SYSTEM, label=label, family=label))), tmp_path)


@needs_latex
@pytest.mark.parametrize("table", [TABLE, FOUR_GROUPS], ids=["two groups", "four groups"])
def test_latex_stays_within_the_margins(table: Table, tmp_path: Path) -> None:
    rows = tuple(replace(row, label="Weakly Supervised MSDM") for row in table.rows)
    assert "Overfull" not in pdflatex(replace(table, rows=rows), tmp_path)


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(pickle.dumps(TABLE))
    program = (
        "import pickle, sys; from benchmarks.tables import csvfile, html, jsonfile, latex, markdown;"
        "table = pickle.load(open(sys.argv[1], 'rb'));"
        "print(*(m.render(table) for m in (csvfile, jsonfile, latex, markdown)), html.render(table, ''))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "table")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] and len(outputs[0]) > 10_000


def test_files_are_complete_and_named_after_the_table(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    paths = write_all(TABLE, folder)
    assert [path.name for path in paths] == [
        f"separation.{suffix}" for suffix in ("md", "csv", "tex", "json", "html", "svg", "png")
    ]
    assert sorted(folder.iterdir()) == sorted(paths)  # and no temporary file
    assert all(
        paths[place].read_text() == TEXTS[suffix](TABLE) for place, suffix in enumerate(("md", "csv", "tex", "json"))
    )
    assert paths[-1].read_bytes().startswith(b"\x89PNG")


# Families and the best


HEADINGS = ["Bounds", "Some & <others>", "Other systems"]


def test_rows_of_a_family_stand_together_in_the_order_of_first_appearance() -> None:
    assert [row.name for row in TABLE.rows] == ["mixture", "nasty", "rival", "partial"]
    assert [heading for heading, _ in wording.blocks(TABLE)] == HEADINGS
    assert [heading for heading, _ in wording.blocks(replace(TABLE, rows=(SYSTEM, RIVAL)))] == [""]


@pytest.mark.parametrize("medium", ["md", "tex", "html", "terminal"])
def test_every_medium_shows_the_families_above_their_rows(medium: str) -> None:
    escape = {"md": markdown.escape, "tex": latex.escape}.get(medium, str)
    if medium == "html":
        lines = [text_of(row) for body in page(TABLE).iter("tbody") for row in body.iter("tr")]
    else:
        lines = (terminal(TABLE, 200) if medium == "terminal" else TEXTS[medium](TABLE)).splitlines()
    order = ["Bounds", BASELINE.label, HEADINGS[1], NASTY.splitlines()[0], "Rival", HEADINGS[2], "Partial"]
    places = []
    for text in order:
        start = escape(text)[:12]
        places.append(
            next(i for i, line in enumerate(lines) if start in line and "Warning" not in line and line[:1] != "*")
        )
    assert places == sorted(places) and len(set(places)) == len(places)


def best_in(medium: str, table: Table) -> list[str]:
    """The numbers that a medium shows bold."""
    if medium == "html":
        return [text_of(element) for element in page(table).iter("strong")]
    text = ansi(table) if medium == "terminal" else TEXTS[medium](table).replace("$-$", "−")
    pattern = {
        "md": r"\*\*(−?\d+\.\d\d)\*\*",
        "tex": r"\\textbf\{(−?\d+\.\d\d)\}",
        "terminal": r"\x1b\[1m *(−?\d+\.\d\d)\W*\x1b\[0m",
    }[medium]
    return re.findall(pattern, text)


@pytest.mark.parametrize("medium", ["md", "tex", "html", "terminal"])
def test_the_best_is_bold_bounds_and_partial_rows_aside_and_ties_both(medium: str) -> None:
    """A bound has more in guitar and in piano of the second group, and two systems show the same in bass and drums."""
    silent_stems = ["61.23", "61.23", "−12.35", "−12.35", "7.10", "8.30", "16.05"]
    active = ["0.10", "19.87", "19.87", "9.50", "10.70", "9.92"]
    assert sorted(best_in(medium, TABLE)) == sorted([*silent_stems, *active])
    assert "Bold" in "".join(wording.sentences(TABLE))


def test_json_and_csv_say_what_is_best() -> None:
    content = json.loads(jsonfile.render(TABLE))
    flags = [cell["best"] for row in content["rows"] for cells in row["cells"] for cell in cells]
    frame = pd.read_csv(StringIO(csvfile.render(TABLE)))
    assert flags == [found.best for row in TABLE.rows for cells in row.cells for found in cells] and any(flags)
    assert list(frame[frame.kind == "measured"].best.astype(str)) == [str(flag) for flag in flags]


@settings(max_examples=50)
@given(
    st.lists(
        st.lists(st.none() | st.floats(-3, 3).map(lambda v: round(v, 3)), min_size=2, max_size=2),
        min_size=1,
        max_size=6,
    ),
    st.lists(st.sampled_from(["bounds", "", "x"]), min_size=6, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.sampled_from(["higher", "lower", "zero"]),
)
def test_best_is_what_an_independent_search_of_the_frame_finds(
    values: list[list[float | None]], families: list[str], lacking: list[bool], better: Better
) -> None:
    group = Group("g", "s", ("a", "b"), total=False, better=better)
    rows = [
        MeasuredRow(
            f"row{i}",
            f"Row {i}",
            families[i],
            "s",
            (tuple(Measured(value, None, None, 2 - lacking[i], 2, 1) for value in line),),
            2 - lacking[i],
            2,
        )
        for i, line in enumerate(values)
    ]
    table = replace(TABLE, groups=(group,), rows=arrange(rows, (group,)), reported=None)
    frame = cells(table)
    for _, column in frame.groupby("column"):
        rivals = column[(column.family != "bounds") & (column.tracks == column.expected) & column.value.notna()]
        shown = rivals.value.map("{:.2f}".format).astype(float)
        score = {"higher": shown, "lower": -shown, "zero": -shown.abs()}[better]
        expected = set(rivals[score == score.max()].name) if len(rivals) > 1 else set()
        assert set(column[column.best].name) == expected


# The frame


def test_the_frame_has_every_cell_and_nothing_else() -> None:
    frame = cells(TABLE)
    assert list(frame.columns) == [
        *("kind", "name", "label", "family", "system", "group", "signature", "column", "value", "low", "high"),
        *("tracks", "expected", "windows", "p", "p_floor", "best", "reason", "units"),
    ]
    measured, reported = (frame[frame.kind == kind] for kind in ("measured", "reported"))
    expected = [found for row in TABLE.rows for in_group in row.cells for found in in_group]
    for name in vars(expected[0]):
        found = [None if pd.isna(value) else value for value in measured[name]]
        assert found == [getattr(each, name) for each in expected]
    assert list(measured.units[measured.name == "mixture"]) == [("unit-1", "unit-2")] * 10
    assert list(reported.value) == [figure.value for row in REPORTED.rows for figure in row.cells if figure is not None]
    assert not reported.best.any() and reported.low.isna().all() and set(reported.signature) == {""}


# Pictures


def points(panel: Any) -> list[tuple[float, float]]:
    """Where a panel has a point of a system: x and the number of the line."""
    return [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in panel.get_lines()
        if line.get_marker() in {look[1] for look in (*plots.LOOKS, plots.BOUND)}
    ]


def test_the_forest_shows_every_cell_as_a_point_or_a_number_on_the_line_of_its_name() -> None:
    figure = plots.draw(TABLE)
    assert DATASET in figure.get_suptitle()
    labels = [tick.get_text() for tick in figure.subfigs[0].axes[0].get_yticklabels()]
    assert labels[:2] == ["Bounds", BASELINE.label] and labels[-1] == "Partial (12/20)"
    assert [labels.index(heading) for heading in HEADINGS] == [0, 2, 5]
    assert len(labels[3]) == plots.LABEL and NASTY.startswith(labels[3][:30])
    line_of = {"mixture": 1, "nasty": 3, "rival": 4, "partial": 6}
    for part, group in zip(figure.subfigs, range(len(GROUPS)), strict=True):
        assert GROUPS[group].title in part.get_suptitle()
        assert [panel.get_title() for panel in part.axes] == ["all", *COLUMNS[:-1]]
        for panel in part.axes:
            low, high = panel.get_xlim()
            c = COLUMNS.index(panel.get_title())
            found = {line_of[row.name]: row.cells[group][c] for row in TABLE.rows}
            inside = {
                y: each.value for y, each in found.items() if each.value is not None and low <= each.value <= high
            }
            assert {y: x for x, y in points(panel)} == pytest.approx(inside)
            said = [text.get_text() for text in panel.texts]
            for each in found.values():
                if each.value is None:
                    assert "undef." in said
                elif panel is part.axes[0]:
                    assert wording.number(each.value) in said
                elif not low <= each.value <= high:
                    assert f"{each.value:.0f}" in said
            bold = [text.get_text() for text in panel.texts if text.get_fontweight() == "bold"]
            assert sorted(bold) == sorted(
                wording.number(each.value)
                for each in found.values()
                if each.best and panel is part.axes[0] and each.value
            )


def test_a_bound_far_off_does_not_squeeze_the_others() -> None:
    """The systems keep 1 / (1 + 2 · BEYOND) of the axis at least, less its margins, and the bound is told as a number."""
    far = replace(BASELINE, cells=(tuple(map(cell, (900.0,) * 5)),) * 2)
    near = replace(SYSTEM, family="x", cells=(tuple(map(cell, (1.0,) * 5)),) * 2)
    other = replace(RIVAL, family="x", cells=(tuple(map(cell, (9.0,) * 5)),) * 2)
    figure = plots.draw(replace(TABLE, rows=(far, near, other)))
    for part in figure.subfigs:
        for panel in part.axes:
            low, high = panel.get_xlim()
            systems = (9.0 + 1 / 3) - (1.0 - 0.123456789)
            assert high - low <= 1.08 * (1 + 2 * plots.BEYOND) * systems * (1 + 1e-9)
            assert {"900.00", "900"} & {text.get_text() for text in panel.texts}


def test_what_has_no_number_yet_can_be_drawn() -> None:
    """Both of nothing at all, and of one row of which one stem alone has a number and no interval."""
    nothing = replace(BASELINE, cells=((undefined(0),) * 5,) * 2)
    one = replace(SYSTEM, cells=((replace(cell(3.0), low=None, high=None), *[undefined()] * 4), (undefined(),) * 5))
    for rows in ((nothing,), (nothing, one)):
        figure = plots.draw(replace(TABLE, rows=rows))
        said = [text.get_text() for part in figure.subfigs for panel in part.axes for text in panel.texts]
        assert said.count("undef.") == sum(found.value is None for row in rows for line in row.cells for found in line)


def test_families_differ_in_colour_and_in_shape_and_bounds_from_all() -> None:
    looks = {line.text: line.look for line in plots.lines_of(TABLE) if line.row is None}
    assert list(looks) == HEADINGS and looks["Bounds"] == plots.BOUND
    for which in (0, 1):
        assert len({look[which] for look in (*plots.LOOKS, plots.BOUND)}) == 1 + len(plots.LOOKS)


def test_svg_is_the_same_each_time_keeps_its_text_and_loads_nothing() -> None:
    first, second = (svg.render(plots.draw(TABLE), TABLE.name) for _ in range(2))
    assert first == second
    root = ElementTree.fromstring(svg.element(first))
    texts = {" ".join(text_of(element).split()) for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {wording.title(TABLE), *HEADINGS, BASELINE.label} <= texts
    assert " ".join(NASTY.split())[: plots.LABEL - 1] + "…" in texts
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    targets = [value for element in root.iter() for name, value in element.items() if name.endswith("href")]
    assert targets and {target.removeprefix("#") for target in targets} <= set(ids)
    assert "url(http" not in first and "@font-face" not in first and "<dc:date>" not in first


def test_the_page_holds_the_picture_as_it_was_drawn(tmp_path: Path) -> None:
    paths = {path.suffix: path for path in write_all(TABLE, tmp_path)}
    assert svg.element(paths[".svg"].read_text()) in paths[".html"].read_text()
    ElementTree.fromstring(paths[".html"].read_text().removeprefix("<!DOCTYPE html>\n"))
    with Image.open(paths[".png"]) as picture:
        assert picture.width == 1600
