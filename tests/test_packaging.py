"""An installed package: a wheel holds all that a table needs, and nothing of a checkout is read where it is used."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import config
from benchmarks.plan.systems import resolve_all
from benchmarks.store.provenance import provenance
from gmsdi import SAMPLE_RATE, STEMS, audio

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gmsdi", "baselines", "benchmarks")
SHIPPED = ("configs", "results/reported", "results/reference")
ENSEMBLE = "gmsdi-separator-projected,gmsdi-extractor-projected,gmsdi-ensemble-projected"
SYSTEMS = ["weights=mini", "sampling=mini", f"system=[mixture,demucs,{ENSEMBLE}]"]

INSTALLED = """
import json, sys

def guard(event, arguments, checkout=sys.argv[1], own=sys.prefix):
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str):
        if arguments[0].startswith(checkout) and not arguments[0].startswith(own):
            raise RuntimeError(f"{arguments[0]}: is of the checkout")

sys.addaudithook(guard)
import benchmarks
from benchmarks import cli, config
from benchmarks.store.provenance import provenance
from benchmarks.plan.systems import resolve_all

codes = [cli.main(arguments) for arguments in json.loads(sys.argv[2])]
systems = resolve_all(config.load(json.loads(sys.argv[3])).systems)
ids = {system.name: system.id for system in systems}
facts = provenance("cpu", [module for system in systems for module in system.modules])
found = {"file": benchmarks.__file__, "codes": codes, "ids": ids, "provenance": facts}
print(json.dumps(found), file=sys.stderr)
"""


def files(folder: Path) -> list[str]:
    """All files below a folder of the repository, relative to it."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(str(path.relative_to(ROOT)) for path in found)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, as a build leaves its own files behind."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, *SHIPPED):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(out)], cwd=copy, check=True, capture_output=True)
    (made,) = out.iterdir()
    return made


def test_a_wheel_holds_the_code_its_data_and_what_ships(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    kinds = (".yaml", ".json", ".safetensors")  # the rest of results/reference are pictures and texts for people
    shipped = [name for folder in SHIPPED for name in files(ROOT / folder) if name.endswith(kinds)]
    assert any(name.endswith(".safetensors") for name in shipped)
    expected = {name for package in PACKAGES for name in files(ROOT / package)}
    expected |= {f"benchmarks/shipped/{name}" for name in shipped}
    assert {name for name in names if ".dist-info/" not in name} == expected


def test_a_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 60e6


def test_an_installed_package_runs_far_from_any_checkout(
    wheel: Path, tmp_path: Path, noise: Callable[..., audio.Samples], write_track: Callable[..., Path]
) -> None:
    """Systems with weights that ship, and one with a choice that ships; they are the same systems as in a checkout."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(site)
    song = {stem: noise(k, SAMPLE_RATE) for k, stem in enumerate(STEMS)}
    write_track(elsewhere / "songs" / "test" / "Track1", song)
    small = ["protocol.chunk=22050", "metrics.si_sdri.window=1.0", "metrics.si_sdri.hop=0.5"]
    overrides = ["dataset=msdm_layout", "dataset.title=Noise", "data=songs", "device=cpu", *SYSTEMS, *small]

    found = run(site, elsewhere, [[verb, *overrides] for verb in ("run", "table", "doctor")], SYSTEMS)
    assert found["codes"] == [0, 0, 0]
    assert Path(found["file"]).is_relative_to(site)
    assert found["ids"] == {system.name: system.id for system in resolve_all(config.load(SYSTEMS).systems)}
    assert {path.name for path in elsewhere.iterdir()} == {"songs", "data", "results"}
    rows = json.loads((elsewhere / "results" / "separation.json").read_text())["rows"]
    assert all(np.isfinite(row["cells"][0][-1]["value"]) for row in rows)

    made_by = found["provenance"]
    assert (made_by["commit"], made_by["dirty"]) == ("unknown", None)
    modules = [module for system in resolve_all(config.load(SYSTEMS).systems) for module in system.modules]
    assert made_by["code"] == provenance("cpu", modules)["code"]


def run(site: Path, folder: Path, commands: list[list[str]], systems: list[str]) -> dict[str, Any]:
    """What the package installed in ``site`` finds when it runs ``commands`` in ``folder``."""
    words = [f"{ROOT}/", json.dumps(commands), json.dumps(systems)]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", INSTALLED, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout, done.stderr)  # which pytest shows of a test that fails
    found: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    return found
