"""The heatmap: all columns of the first group's unit, wherever their groups stand, and no others."""

from benchmarks.tables import heatmap
from benchmarks.tables.table import Group, Measured, MeasuredRow, Table

FAD, RHYTHM = "logmel fad|v:1", "rhythm|v:1"


def row(name: str, *groups: tuple[float | None, ...]) -> MeasuredRow:
    cells = tuple(
        tuple(Measured(value, None, None, 5, 5, 9, None, "" if value is not None else "silent") for value in group)
        for group in groups
    )
    return MeasuredRow(name, name, "a" * 64, cells, tracks=5, expected=5)


def test_fields_are_the_cells_of_one_unit() -> None:
    table = Table(
        name="subfad",
        title="sub-FAD",
        dataset="MiniSlakh test",
        dataset_digest="d" * 64,
        songs=5,
        protocol="quick",
        groups=(
            Group("one stem", FAD, ("B", "D")),
            Group("rhythm", RHYTHM, ("one",)),
            Group("everything", FAD, ("uncond.", "mean")),
        ),
        rows=(row("itself", (0.0, 0.0), (0.4,), (0.0, 0.0)), row("model", (3.5, None), (0.1,), (812.4, 7.25))),
        baseline="",
        caption=(),
        reported=None,
        provenance={},
    )
    [axes] = heatmap.draw(table).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["B", "D", "uncond.", "mean"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["itself", "model"]
    assert [text.get_text() for text in axes.texts] == ["0.00", "0.00", "0.00", "0.00", "3.50", "–", "812", "7.25"]
    assert len(axes.lines) == 1  # between the groups
