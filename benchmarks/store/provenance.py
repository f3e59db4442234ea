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
    # an installed package may lie in somebody else's repository
    commit = _git("rev-parse", "HEAD") if (ROOT / ".git").exists() else ""
    return {
        "commit": commit or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--", *CODE)) if commit else None,
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
    """A module's code without docstrings, also those below constants."""
    path = _path(module)
    assert path is not None
    return _WithoutDocstrings().visit(ast.parse(path.read_text()))


class _WithoutDocstrings(ast.NodeTransformer):
    """Drops statements that are nothing but a text; what had no other is left with ``pass``."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        return self._filled(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return self._filled(node)

    def _filled(self, node: Any) -> Any:
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node


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
