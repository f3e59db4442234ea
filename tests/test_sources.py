"""What tells one state of the code from another: what it says, not how it is laid out or explained."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import sources
from gmsdi import SAMPLE_RATE, STEMS

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
def meaning(tmp_path: Path) -> Callable[[str], str]:
    """The digest of a module with a text, in a process that has never seen another."""

    def of(text: str) -> str:
        (tmp_path / "module.py").write_text(text)
        return asked(tmp_path, "print(sources.digests(['module'])['module'])")

    return of


def asked(folder: Path, question: str) -> str:
    """What a process in ``folder`` prints."""
    program = f"import sys; sys.path.insert(0, {str(folder)!r}); from benchmarks import sources; {question}"
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_words_and_layout_do_not_count(meaning: Callable[[str], str]) -> None:
    bare = (
        re.sub(r'^ *""".*"""\n', "", CODE, flags=re.M)
        .replace("  # as it is", "")
        .replace("class Empty:\n", "class Empty: pass\n")
    )
    ast.parse(bare)
    assert meaning(CODE) == meaning(bare)
    assert '"""' not in bare


@pytest.mark.parametrize(("old", "new"), [("1.0", "1.5"), ("2.0", "2.5"), ("LEVEL * self", "self"), ("Gain", "Gains")])
def test_everything_else_counts(meaning: Callable[[str], str], old: str, new: str) -> None:
    assert old in CODE
    assert meaning(CODE) != meaning(CODE.replace(old, new))


def test_the_code_of_a_number_is_all_that_lies_between_an_excerpt_and_a_cell() -> None:
    found = sources.closure(["benchmarks.run.execute", "benchmarks.run.score", "benchmarks.cells.tables"])
    for module in (
        *("benchmarks.plan.units", "benchmarks.data.dataset", "benchmarks.store.store", "benchmarks.run.execute"),
        *("benchmarks.run.score", "benchmarks.cells.measures", "benchmarks.cells.stats", "gmsdi.audio", "gmsdi.files"),
    ):
        assert module in found
    assert not any(module.startswith(("torch", "numpy", "hydra", "benchmarks.verbs")) for module in found)


def test_a_persons_own_modules_count_wherever_they_lie(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("from . import inner\n")
    (package / "inner.py").write_text("import json, torch\nfrom .deep import x\n")
    (package / "deep.py").write_text("def f():\n    import helper\nx = 1\n")
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "unrelated.py").write_text("")
    found = asked(tmp_path, "print(*sorted(sources.closure(['mine'])))")
    assert found.split() == ["helper", "mine", "mine.deep", "mine.inner"]


def test_what_has_no_source_is_unknown(tmp_path: Path) -> None:
    assert asked(tmp_path, "print(sources.digests(['nowhere', '_thread']))") == repr(
        {"_thread": sources.UNKNOWN, "nowhere": sources.UNKNOWN}
    )


def test_an_edit_after_the_beginning_changes_nothing_here(tmp_path: Path) -> None:
    """The project's code is that of the first import; a person's own that of when it was first asked for."""
    (tmp_path / "mine.py").write_text("x = 1\n")
    ask = "before = sources.digests(['mine', 'gmsdi.sampler']);"
    edit = "open('mine.py', 'w').write('x = 2');"
    assert asked(tmp_path, f"{ask} {edit} print(before == sources.digests(['mine', 'gmsdi.sampler']))") == "True"


# In a table

SYSTEM = """
import torch

from gmsdi.system import Separator
from own_helper import gain


class Mine(Separator):
    def separate(self, batch):
        return gain() * batch.mixtures[:, None].repeat(1, 4, 1)
"""


@pytest.fixture
def own(tmp_path: Path, noise: Callable[..., object], write_track: Callable[..., None]) -> Callable[..., object]:
    """``own(VERB)``: a process that runs a verb with a system of the user's own, which lies in a folder of its own."""
    for t in range(3):
        write_track(tmp_path / "data" / "test" / f"T{t}", {stem: noise(10 * t + k) for k, stem in enumerate(STEMS)})
    code = tmp_path / "code"
    code.mkdir()
    (code / "own_system.py").write_text(SYSTEM)
    (code / "own_helper.py").write_text("def gain():\n    return 0.25\n")
    overrides = [
        *(
            "dataset=msdm_layout",
            "system=[mixture]",
            "device=cpu",
            f"protocol.chunk={SAMPLE_RATE // 2}",
            "launcher=local",
        ),
        *("+systems.mine.label=Mine", "+systems.mine.separator._target_=own_system.Mine"),
        *(f"{name}={tmp_path / name}" for name in ("data", "cache", "store", "out")),
    ]

    def run(verb: str) -> dict[str, str]:
        program = f"import sys; sys.path.insert(0, {str(code)!r}); from benchmarks import cli; sys.exit(cli.main({[verb, *overrides]}))"
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
        if verb == "run":
            return {}
        rows = json.loads((tmp_path / "out" / "separation.json").read_text())["rows"]
        return {row["name"]: " ".join(row["notes"]) for row in rows}

    return run


def test_a_helper_of_a_users_own_system_that_changed_after_the_run_is_noted(
    own: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    own("run")
    assert own("table") == {"mixture": "", "mine": ""}
    helper = tmp_path / "code" / "own_helper.py"
    helper.write_text(f"# better said\n{helper.read_text()}")
    assert own("table") == {"mixture": "", "mine": ""}
    helper.write_text("def gain():\n    return 0.3\n")
    found = own("table")
    assert found["mixture"] == ""
    assert found["mine"] == "made by other code of own_helper than this; store=DIR makes it anew"
