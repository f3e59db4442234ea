"""The heatmap: all columns of the first group's unit, wherever their groups stand, and no others."""

from benchmarks.tables import heatmap
from benchmarks.tables.table import Group, Measured, MeasuredRow, Table, arrange

FAD, RHYTHM = "logmel fad|v:1", "rhythm|v:1"


def row(name: str, family: str, *groups: tuple[float | None, ...]) -> MeasuredRow:
    cells = tuple(
        tuple(Measured(value, None, None, 5, 5, 9, reason="" if value is not None else "silent") for value in group)
        for group in groups
    )
    return MeasuredRow(name, name, family, "a" * 64, cells, tracks=5, expected=5)


GROUPS = (
    Group("one stem", FAD, ("B", "D"), better="lower"),
    Group("rhythm", RHYTHM, ("one",)),
    Group("everything", FAD, ("uncond.", "mean"), better="lower"),
)
ROWS = (
    row("itself", "bounds", (0.0, 0.0), (0.4,), (0.0, 0.0)),
    row("model", "", (3.5, None), (0.1,), (812.4, 7.25)),
    row("other <model> $x$", "", (4.5, 2.0), (0.2,), (71.26, 7.251)),
)
TABLE = Table(
    name="subfad",
    title="sub-FAD",
    dataset="MiniSlakh test",
    dataset_digest="d" * 64,
    songs=5,
    protocol="quick",
    groups=GROUPS,
    rows=arrange(ROWS, GROUPS),
    baseline="",
    floor="",
    caption=(),
)


def test_fields_are_the_cells_of_one_unit_in_blocks_and_the_best_are_bold() -> None:
    [axes] = heatmap.draw(TABLE).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["B", "D", "uncond.", "mean"]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["Bounds", "itself", "Other systems", "model", "other <model> $x$"]
    fields = {text.get_position(): text for text in axes.texts if text.get_text() not in ("one stem", "everything")}
    shown = {1: ["0.00", "0.00", "0.00", "0.00"], 3: ["3.50", "–", "812", "7.25"], 4: ["4.50", "2.00", "71.3", "7.25"]}
    assert {at: text.get_text() for at, text in fields.items()} == {
        (c + 0.5, line + 0.5): text for line, texts in shown.items() for c, text in enumerate(texts)
    }
    bold = {at for at, text in fields.items() if text.get_fontweight() == "bold"}
    assert bold == {(0.5, 3.5), (2.5, 4.5), (3.5, 3.5), (3.5, 4.5)}  # of D one alone has a number; 7.25 is shown twice
    assert len(axes.lines) == 1  # between the groups


def test_letters_can_be_read_on_every_colour() -> None:
    """WCAG asks for a contrast of 4.5; black or white always has 4.58 at least."""
    figure = heatmap.draw(TABLE)
    [axes] = figure.axes
    values = axes.collections[0].get_array()
    assert values is not None
    colours = axes.collections[0].to_rgba(values).reshape(-1, 4, 4)  # [lines, fields, RGBA]
    for text in axes.texts:
        x, y = text.get_position()
        if y < 0 or text.get_text() == "–":
            continue
        paper = heatmap.luminance(colours[int(y), int(x)])
        ink = {"black": 0.0, "white": 1.0}[str(text.get_color())]
        assert (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05) > 4.5
