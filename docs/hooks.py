"""What the site needs beyond its theme: the files of the repository that pages link to, and a proof that it asks nobody for anything.

Pages link to the repository as it is, ``../results/…``, so that the links work where it is read as files. The site gets a copy of
each file that is linked, below ``repository/``.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)")
"""A link that leaves docs/; one to a file that is not there is left as it is, and mkdocs warns of it."""

REQUEST = re.compile(
    r"""<(?:script|img|iframe|source)[^>]*\ssrc=["']?(?:https?:)?//|<link[^>]*\shref=["']?(?:https?:)?//"""
)
"""What a browser fetches from elsewhere without being asked; a link that a reader may follow is none."""


def on_files(files: Files, config: Any) -> Files:
    """Add what is linked."""
    root = Path(config.docs_dir).parent
    linked = {path for page in files.documentation_pages() for path in OUTSIDE.findall(page.content_string)}
    for path in sorted(linked):
        if (root / path).is_file():
            files.append(File.generated(config, f"repository/{path}", abs_src_path=str(root / path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead the links to the copies."""
    return OUTSIDE.sub(r"](repository/\1", markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """``PluginError`` for a page that needs the internet."""
    if found := REQUEST.search(output):
        raise PluginError(f"{page.file.src_uri}: asks the internet for something: {found.group()}")
    return output
