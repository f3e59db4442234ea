"""A picture as SVG whose text stays text: the same bytes each time, and fit to stand in a page."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render(figure: "Figure", name: str) -> str:
    """The text of the SVG file. ``name`` is what its ids are made of, in place of chance; there is no date in it."""
    import matplotlib as mpl

    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return file.getvalue()


def element(text: str) -> str:
    """The element of an SVG file alone, without what may only stand at the head of a file."""
    return text[text.index("<svg") :]
