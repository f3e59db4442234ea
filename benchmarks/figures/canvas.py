"""What all figures share: their looks, their files, and how their commands end."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from seaborn import axes_style

from benchmarks.notices import say
from gmsdi import audio
from gmsdi.errors import GmsdiError

DPI = 120
COLOURS = 64
"""Colours of the file's palette, which makes it a third as large."""


@contextmanager
def figure(style: str, width: float, height: float, path: Path) -> Iterator[Figure]:
    """A figure of ``width`` by ``height`` inches to draw on, in a style of seaborn's; at the end it is written to ``path`` as PNG."""
    sizes = {"font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8}
    with mpl.rc_context(axes_style(style) | sizes | {"text.parse_math": False}):  # a dollar in a label is a dollar
        made = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(made)
        yield made
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    with audio.atomic(path) as temporary:
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(temporary, format="PNG", optimize=True)


def command(make: Callable[[Sequence[str]], Path], arguments: Sequence[str]) -> int:
    """Make the figure that ``arguments`` ask for and say where it is; an error is one line. Returns an exit code."""
    try:
        say(f"wrote {make(arguments)}")
    except GmsdiError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0
