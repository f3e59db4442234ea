"""SI-SDRi against the cost of sampling, one line a method, from files that ``gmsdi tune`` wrote of sweeps over the steps.

    python -m benchmarks.figures.evaluations OUT.png 'MSDM, Dirac=results/msdm-dirac.yaml' 'Mean of 4@4=results/mean.yaml'

The cost of a row is the product of the steps, resamples and samples that its overrides name. The files do not hold what a sweep left
unchanged: give that as a factor after the label, ``LABEL@FACTOR=FILE``, such as 2 for steps that are taken twice, 4 for a mean of
four samples, or 4 for an extractor, which samples once a stem. ``LABEL@1+1=FILE`` adds an evaluation, such as the first of Gibbs.
"""

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter
from seaborn import color_palette

from benchmarks.figures import canvas
from benchmarks.notices import say
from gmsdi.errors import BadInputError, NotComparableError, one_line

USAGE = "python -m benchmarks.figures.evaluations OUT.png LABEL[@FACTOR[+MORE]]=FILE.yaml …"

WORD = re.compile(r"([^=@]+)(?:@([1-9]\d*)(?:\+(\d+))?)?=(.+)")
"""A method on the command line: label, factor, what is added, and file."""

COUNTED = ("steps", "resamples", "samples")
"""The last parts of the keys whose values multiply to the denoiser's calls."""

METRIC = "sisdri"
MARKERS = "osD^vPX*<>"

APART = 1.015
"""By what factor neighbouring methods are moved apart, so that their intervals can be told from each other."""


@dataclass(frozen=True)
class Point:
    """A row: its cost for a chunk, and its SI-SDRi in dB with its 95 % interval; NaN where unknown.

    Seconds that were rounded to 0 count as unknown: they have no place on a logarithmic axis.
    """

    calls: int
    seconds: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """A method, by growing cost, and what it was measured ``on``, in the words of its file."""

    label: str
    points: tuple[Point, ...]
    on: dict[str, str]


def main(arguments: Sequence[str]) -> Path:
    """Draw the figure of the command line."""
    if len(arguments) < 2:
        raise BadInputError(f"usage: {USAGE}")
    out, *words = arguments
    curves = [read(word) for word in words]
    for one, other in pairwise(curves):
        for key in ("digest", "protocol", "metric"):
            if one.on[key] != other.on[key]:
                raise NotComparableError(
                    f"{one.label} and {other.label} were measured with another {key}; draw them apart"
                )
    draw(curves, Path(out))
    return Path(out)


def read(word: str) -> Curve:
    """The curve of ``LABEL=FILE`` or ``LABEL@FACTOR=FILE``; incomplete rows are left out, with a message."""
    found = WORD.fullmatch(word)
    if not found:
        raise BadInputError(f"{word}: is not LABEL=FILE or LABEL@FACTOR=FILE; usage: {USAGE}")
    label, factor, more, file = found.groups()
    content = _content(Path(file))
    if not content["on"]["metric"].startswith(f"{METRIC}|"):
        raise BadInputError(f"{file}: was decided by {content['on']['metric']}, which is not SI-SDRi")
    points = [point for row in content["rows"] if (point := _point(row, int(factor or 1), int(more or 0), file))]
    points.sort(key=lambda point: point.calls)
    for one, other in pairwise(points):
        if one.calls == other.calls:
            raise BadInputError(
                f"{file}: two rows take {one.calls} calls; sweep one system, and nothing but {', '.join(COUNTED)}"
            )
    return Curve(label, tuple(points), content["on"])


def _content(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInputError(f"{path}: {one_line(error)}") from None
    if not isinstance(content, dict) or not {"on", "rows"} <= set(content):
        raise BadInputError(f"{path}: no file that `gmsdi tune` wrote")
    return content


def _point(row: dict[str, Any], factor: int, more: int, file: str) -> Point | None:
    keys = {key.rpartition(".")[2]: value for key, value in (each.split("=", 1) for each in row["overrides"])}
    counts = [int(keys[name]) for name in COUNTED if name in keys]
    if not counts:
        raise BadInputError(f"{file}: row {row['row']!r} names none of {', '.join(COUNTED)}; sweep one of them")
    finished, _, due = row["songs"].partition("/")
    if row["all"] is None or finished != due:
        say(f"{file}: {row['row']} was measured on {row['songs']} songs; left out")
        return None
    low, high = (math.nan if bound is None else bound for bound in row["interval"])
    return Point(factor * math.prod(counts) + more, row["seconds"] or math.nan, row["all"], low, high)


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Two panels with one y axis: against the denoiser's calls, and against seconds."""
    on = curves[0].on
    with canvas.figure("whitegrid", 9.0, 4.4, path) as figure:
        by_calls, by_seconds = figure.subplots(1, 2, sharey=True)
        _panel(by_calls, curves, [[float(point.calls) for point in curve.points] for curve in curves])
        _panel(by_seconds, curves, [[point.seconds for point in curve.points] for curve in curves])
        by_calls.set(
            xlabel="network evaluations per chunk (calls of the denoiser)", ylabel="SI-SDRi in dB, mean of the stems"
        )
        by_seconds.set(xlabel="seconds per chunk, on the machine that measured it")
        handles, labels = by_calls.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(curves)), frameon=False)
        figure.suptitle(f"SI-SDRi against cost — {on['dataset']}", fontsize=12, fontweight="bold")
        by_calls.set_title(f"{on['decided by']}, 95 % intervals over songs\n{on['protocol']}", loc="left", color="0.35")


def _panel(axes: Axes, curves: Sequence[Curve], costs: Sequence[Sequence[float]]) -> None:
    colours = color_palette("colorblind", len(curves))
    for n, (curve, cost) in enumerate(zip(curves, costs, strict=True)):
        shift = APART ** (n - (len(curves) - 1) / 2)
        values = [point.value for point in curve.points]
        below = [point.value - point.low for point in curve.points]
        above = [point.high - point.value for point in curve.points]
        axes.errorbar(
            [shift * each for each in cost],
            values,
            yerr=[below, above],
            label=curve.label,
            color=colours[n],
            marker=MARKERS[n % len(MARKERS)],
            markersize=5,
            linewidth=1.4,
            elinewidth=0.9,
            capsize=2,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


if __name__ == "__main__":
    sys.exit(canvas.command(main, sys.argv[1:]))
