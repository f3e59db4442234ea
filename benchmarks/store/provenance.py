"""What made a number: commit, dirty flag, a digest of the code, versions, machine."""

import ast
import hashlib
import platform
import socket
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "numpy", "scipy", "numba", "soundfile", "soxr", "hydra-core", "demucs", "julius")
CODE = ("gmsdi", "baselines", "benchmarks", "configs")


def provenance(device: str) -> dict[str, Any]:
    """The facts of this run, and nothing that differs between two runs of the same code on the same machine."""
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--", *CODE)),
        "code": code_digests(),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "machine": {"host": socket.gethostname(), "platform": platform.platform(), "device": device},
    }


@cache
def code_digests() -> dict[str, str]:
    """For each module of the project that defines systems or metrics, the sha256 of its code and of all code that it imports."""
    folders = ("gmsdi", "baselines", "benchmarks/metrics")
    modules = [_name(path) for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {module: _digest(_closure(module)) for module in modules}


def _closure(module: str) -> set[str]:
    """A module of the project and all modules of the project that it imports, directly or not."""
    found: set[str] = set()
    todo = [module]
    while todo:
        if (name := todo.pop()) not in found and _path(name) is not None:
            found.add(name)
            todo += _imports(name)
    return found


def _imports(module: str) -> list[str]:
    names = []
    for node in ast.walk(_parsed(module)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def _digest(modules: set[str]) -> str:
    return hashlib.sha256("\n".join(f"{module}\n{_meaning(module)}" for module in sorted(modules)).encode()).hexdigest()


@cache
def _meaning(module: str) -> str:
    """A module's code as text, without comments, docstrings and layout."""
    return ast.unparse(_parsed(module))


@cache
def _parsed(module: str) -> ast.Module:
    """A module's code without docstrings."""
    path = _path(module)
    assert path is not None
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _path(module: str) -> Path | None:
    """The file of a module of the project; None for anything else."""
    place = ROOT.joinpath(*module.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.is_file() and module.split(".")[0] in CODE), None)


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
