"""What made a number: commit, dirty flag, a digest of the code, versions, machine."""

import platform
import socket
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from benchmarks import sources
from benchmarks.device import cpu_name
from benchmarks.sources import ROOT
from gmsdi.errors import BadInputError, one_line
from gmsdi.precision import computes_bfloat16

PACKAGES = ("torch", "numpy", "scipy", "numba", "soundfile", "soxr", "hydra-core", "demucs", "julius")
CODE = ("gmsdi", "baselines", "benchmarks", "configs")


MAKES = "benchmarks.run.execute"
SCORES = "benchmarks.run.score"
COUNTS = "benchmarks.cells.tables"
"""The harness's own way from an excerpt to its output, to scores, and to the cells of a table."""


def provenance(device: str, modules: Iterable[str] = ()) -> dict[str, Any]:
    """The facts of this run, and nothing that differs between two runs of the same code on the same machine.

    ``modules`` are those of its systems and metrics, wherever they lie.
    """
    # an installed package may lie in somebody else's repository
    commit = _git("rev-parse", "HEAD") if (ROOT / ".git").exists() else ""
    return {
        "commit": commit or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--", *CODE)) if commit else None,
        "code": sources.digests([MAKES, SCORES, COUNTS, *modules]),
        "versions": {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        "machine": {"host": socket.gethostname(), "platform": platform.platform(), **_computes(device)},
    }


def _computes(device: str) -> dict[str, Any]:
    """What computes, and how: its name, its instructions, and whether networks that may use bfloat16 do so on it."""
    import torch  # takes long, and the help of a verb must not wait for it

    try:
        where = torch.device(device)
    except RuntimeError as error:
        raise BadInputError(f"device={device}: {one_line(error)}") from None
    if where.type == "cuda" and (where.index or 0) >= torch.cuda.device_count():  # a login node's jobs run elsewhere
        return {"device": device, "processor": "none", "instructions": "none", "bfloat16": False}
    is_gpu = where.type == "cuda"
    return {
        "device": device,
        "processor": torch.cuda.get_device_name(where) if is_gpu else cpu_name(),
        "instructions": f"CUDA {torch.version.cuda}" if is_gpu else torch.backends.cpu.get_cpu_capability(),
        "bfloat16": computes_bfloat16(where),
    }


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
