"""What tells one state of the code from another: what it says, not how it is laid out or explained."""

import ast
import re

import pytest

from benchmarks.store import provenance

CODE = '''"""A module."""

LEVEL = 1.0
"""Of what."""


class Gain:
    """Louder."""

    factor: float = 2.0
    """Of amplitude."""

    def __call__(self, x):
        """Apply."""
        return LEVEL * self.factor * x  # as it is


class Empty:
    """Nothing else."""
'''


@pytest.fixture
def meaning(monkeypatch, tmp_path):
    """What a module's text says."""

    def of(text: str) -> str:
        path = tmp_path / "module.py"
        path.write_text(text)
        monkeypatch.setattr(provenance, "_path", lambda module: path)
        provenance._parsed.cache_clear()
        provenance._meaning.cache_clear()
        return provenance._meaning("module")

    yield of
    provenance._parsed.cache_clear()
    provenance._meaning.cache_clear()


def test_words_and_layout_do_not_count(meaning):
    bare = (
        re.sub(r'^ *""".*"""\n', "", CODE, flags=re.M)
        .replace("  # as it is", "")
        .replace("class Empty:\n", "class Empty: pass\n")
    )
    ast.parse(bare)
    assert meaning(CODE) == meaning(bare)
    assert '"""' not in bare


@pytest.mark.parametrize(("old", "new"), [("1.0", "1.5"), ("2.0", "2.5"), ("LEVEL * self", "self"), ("Gain", "Gains")])
def test_everything_else_counts(meaning, old, new):
    assert old in CODE
    assert meaning(CODE) != meaning(CODE.replace(old, new))
