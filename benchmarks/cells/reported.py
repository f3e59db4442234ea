"""The literature's figures, under the measure that they are of."""

from collections.abc import Sequence

import yaml

from benchmarks.config import SHIPPED
from benchmarks.tables.table import Reported, ReportedRow, ReportedSection
from gmsdi.errors import BadInputError, near

REPORTED = SHIPPED / "results" / "reported"


NOT_REPORTED = "Published figures are not shown: they are of another measure than any group here."


def reported_rows(name: str, groups: Sequence[tuple[str, Sequence[str]]]) -> ReportedSection | None:
    """The literature's rows from results/reported, placed under the first of ``groups`` whose measure and columns they have.

    ``groups`` are, for each of the table's, what it measures, as those files have it, and the names of its columns. None if no group
    measures that.
    """
    path = REPORTED / f"{name}.yaml"
    if not path.is_file():
        raise BadInputError(
            f"reported={name}: there is no {path}{near(name, sorted(file.stem for file in REPORTED.glob('*.yaml')))}"
        )
    content = yaml.safe_load(path.read_text())
    figures = [{key for key in row if key not in ("label", "citation", "known")} for row in content["rows"]]
    fitting = [
        place
        for place, (measure, columns) in enumerate(groups)
        if measure == content["measure"] and set().union(*figures) <= set(columns)
    ]
    if not fitting:
        return None
    return ReportedSection(
        title=f"Reported on {content['dataset']} {content['split']}, not measured here",
        rows=tuple(
            ReportedRow(
                label=row["label"],
                group=fitting[0],
                cells=tuple(
                    Reported(row[column], row["citation"], row["known"]) if column in row else None
                    for column in groups[fitting[0]][1]
                ),
            )
            for row in content["rows"]
        ),
    )
