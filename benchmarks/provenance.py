"""What made a number: commit, dirty flag, a digest of the code, versions, machine."""

import ast
import hashlib
import platform
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "numpy", "scipy", "numba", "soundfile", "soxr", "hydra-core")
SYSTEM_CODE = ("gmsdi", "baselines")
METRIC_CODE = ("benchmarks/metrics",)


def provenance(device: str) -> dict[str, Any]:
    """The facts of this run, and nothing that differs between two runs of the same code on the same machine."""
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "code": {"systems": code_digest(SYSTEM_CODE), "metrics": code_digest(METRIC_CODE)},
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "machine": {"host": socket.gethostname(), "platform": platform.platform(), "device": device},
    }


def code_digest(folders: tuple[str, ...]) -> str:
    """sha256 of what the Python code below ``folders`` says: comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}\n{_meaning(path)}\n".encode())
    return digest.hexdigest()


def _meaning(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
