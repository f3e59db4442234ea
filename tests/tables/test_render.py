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
from xml.etree import ElementTree

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from rich.console import Console

from benchmarks.tables import csvfile, html, jsonfile, latex, markdown, plots, wording
from benchmarks.tables.render import print_table, write_all
from benchmarks.tables.table import (
    COLUMNS,
    Group,
    Measured,
    MeasuredRow,
    Reported,
    ReportedRow,
    ReportedSection,
    Table,
)

DATASET = "MiniSlakh test"
NASTY = r"50 % of $x_1 & y^2 <b>{i}</b> ~ #3 |pipe| \n *star* `tick` [link] σ≥1 é “q” \"Q\""
REASON = "the reference is silent <everywhere> & always"
CITED = 'Somebody & Others, "A Title_with 100 %", 2024'
KNOWN = "printed on the authors' poster"


def cell(value: float, p: float | None = None, tracks: int = 20) -> Measured:
    return Measured(value, value - 0.123456789, value + 1 / 3, tracks, 20, 15 * tracks, p)


def undefined(tracks: int = 20) -> Measured:
    return Measured(None, None, None, tracks, 20, 0, None, REASON)


BASELINE = MeasuredRow(
    "mixture",
    "Mixture (no separation)",
    "a" * 64,
    (tuple(map(cell, (0.0, 0.001, -0.001, 0.25, 0.0625))), (undefined(), *map(cell, (1.5, 2.5, 3.5, 4.75)))),
    20,
    20,
    ("unit-1", "unit-2"),
)
SYSTEM = MeasuredRow(
    "nasty",
    NASTY,
    "b" * 64,
    (
        tuple(map(cell, (61.23456789, -12.3456, 7.1, 8.2, 16.047), (0.001, 0.0499, 0.05, 0.7, 0.01))),
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
    "c" * 64,
    tuple(tuple(cell(value + shift, tracks=12) for value in (5.11, 5.22, 5.33, 5.44, 5.275)) for shift in (0, 0.5)),
    12,
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
    rows=(BASELINE, SYSTEM, PARTIAL),
    baseline=BASELINE.label,
    caption=("Means over windows & 95 % intervals.",),
    reported=REPORTED,
    provenance={"commit": "abc", "dirty": False},
)
COMPLETE = replace(TABLE, rows=(BASELINE, SYSTEM))
FOUR_GROUPS = replace(
    TABLE,
    groups=tuple(Group(name, f"bsseval|{name}") for name in ("SDR", "SIR", "ISR", "SAR")),
    rows=tuple(replace(row, cells=row.cells * 2) for row in TABLE.rows),
)
MEASURED = {
    wording.value(cell) for row in TABLE.rows for cells in row.cells for cell in cells if cell.value is not None
}
PUBLISHED = {wording.number(cell.value) for row in REPORTED.rows for cell in row.cells if cell is not None}

TEXTS: dict[str, Callable[[Table], str]] = {
    "md": markdown.render,
    "csv": csvfile.render,
    "tex": latex.render,
    "json": jsonfile.render,
    "html": lambda table: html.render(table, b"png"),
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


def numbers_in(text: str) -> set[str]:
    return set(re.findall(r"−?\d+\.\d\d(?!\d)", text))


def sections(medium: str) -> tuple[str, str]:
    """The measured and the reported part of the table's body."""
    if medium == "html":
        bodies = {body.get("class"): text_of(body) for body in page(TABLE).iter("tbody")}
        return bodies["measured"], bodies["reported"]
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
        for group, cells in zip(GROUPS, row.cells, strict=True):
            for column, expected in zip(COLUMNS, cells, strict=True):
                line = measured.loc[(row.name, group.title, column), :]
                found = {name: None if pd.isna(line[name]) else line[name] for name in vars(expected)}
                assert found == {**vars(expected), "reason": expected.reason or None}
                assert (line.label, line.system, line.signature, line.dataset) == (
                    row.label,
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
    row = replace(SYSTEM, label="any", notes=(), cells=(tuple(map(cell, values, ps)), SYSTEM.cells[1]))
    table = replace(TABLE, rows=(BASELINE, row), groups=GROUPS, reported=REPORTED)
    block = terminal(table, 80).split("\n\n")[1]
    points = [
        [match.start() for match in re.finditer(r"\.(?=\d\d[ *]|\d\d$)", line)]
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
    assert links == ["data:image/png;base64,cG5n"]
    hovers = [found.get("title", "") for found in root.iter("td")]
    assert "20 of 20 songs, 300 windows; p = 0.001 against Mixture (no separation)" in hovers
    assert f"undefined: {REASON}; 20 of 20 songs, 0 windows" in hovers


@pytest.mark.parametrize(
    ("medium", "shown"),
    [("md", markdown.escape(REASON)), ("tex", latex.escape(REASON)), ("csv", REASON), ("json", REASON)],
)
def test_undefined_cells_say_why(medium: str, shown: str) -> None:
    assert shown in TEXTS[medium](TABLE)
    assert shown not in TEXTS[medium](replace(TABLE, rows=(SYSTEM, PARTIAL)))


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
    assert [wording.mark(found) for found in SYSTEM.cells[0]] == ["*", "*", "", "", "*"]
    assert "* differs from Mixture (no separation): p < 0.05." in wording.sentences(TABLE)
    assert "differs from" not in markdown.render(replace(TABLE, rows=(BASELINE,)))


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
    assert len(lines) == 2 * (2 + len(TABLE.rows)) + 2 + len(REPORTED.rows)


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
    pdflatex(replace(TABLE, rows=(replace(BASELINE, cells=bare), replace(SYSTEM, label=label))), tmp_path)


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
        "print(*(m.render(table) for m in (csvfile, jsonfile, latex, markdown)), html.render(table, b''))"
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
        f"separation.{suffix}" for suffix in ("md", "csv", "tex", "json", "html", "png")
    ]
    assert sorted(folder.iterdir()) == sorted(paths)  # and no temporary file
    assert all(
        paths[place].read_text() == TEXTS[suffix](TABLE) for place, suffix in enumerate(("md", "csv", "tex", "json"))
    )
    assert paths[-1].read_bytes().startswith(b"\x89PNG")


def test_plot_shows_every_defined_cell_once() -> None:
    figure = plots.draw(TABLE)
    assert DATASET in figure.get_suptitle()
    for place, (facet, group) in enumerate(zip(figure.axes, GROUPS, strict=True)):
        cells = [found for row in TABLE.rows for found in row.cells[place]]
        points = [drawn for drawn in facet.collections if isinstance(drawn, PathCollection)]
        drawn = [y for collection in points for _, y in collection.get_offsets()]
        assert sorted(drawn) == pytest.approx(sorted(found.value for found in cells if found.value is not None))
        assert facet.get_title() == group.title
    assert figure.axes[0].get_ylabel() == "SI-SDRi in dB"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [BASELINE.label, NASTY, "Partial (12/20)"]
