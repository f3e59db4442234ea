"""The stair of the house: imports go down, and the map in CONTRIBUTING.md shows the stair that is held."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def stair() -> list[str]:
    """The floors of the harness from the roof down, as the contract in pyproject.toml has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (rooms,) = (each for each in contracts if "containers" in each)
    return rooms["layers"]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    return subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)


def test_imports_go_down() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


def test_an_import_that_goes_up_is_found(tmp_path: Path) -> None:
    for package in ("gmsdi", "baselines", "benchmarks"):
        (tmp_path / package).symlink_to(ROOT / package)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    assert lint(tmp_path).returncode == 0
    (tmp_path / "gmsdi").unlink()
    (tmp_path / "gmsdi").mkdir()
    for path in (ROOT / "gmsdi").iterdir():
        (tmp_path / "gmsdi" / path.name).symlink_to(path)
    (tmp_path / "gmsdi" / "upward.py").write_text(
        "def later():\n    from benchmarks.store import store\n\n    return store\n"
    )
    done = lint(tmp_path)
    assert done.returncode == 1
    assert "gmsdi.upward -> benchmarks.store" in done.stdout


def test_the_map_shows_the_stair() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    drawn = page.partition("```\n")[2].partition("```")[0].splitlines()
    floors = [line.split()[0] for line in drawn]
    assert floors == [name.strip() for floor in stair() for name in floor.split("|")]
