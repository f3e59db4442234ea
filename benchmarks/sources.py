"""The code that makes numbers, as this process runs it: for every module the sha256 of what its source says.

The sources of the project are read when its first module is imported, those of a person's own modules when they are first asked for,
which is when they have just been imported. So an edit while a run goes on changes nothing here; a process that imports the new code
says so.
"""

import ast
import hashlib
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OWN = ("gmsdi", "baselines", "benchmarks")

PACKAGES = (
    "torch",
    "torchaudio",
    "numpy",
    "scipy",
    "numba",
    "soundfile",
    "soxr",
    "demucs",
    "julius",
    "hydra",
    "omegaconf",
)
"""Installed packages that count by their versions alone (``benchmarks.store.provenance``)."""

UNKNOWN = "unknown"
"""The digest of a module whose source cannot be read."""


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


_TEXTS: dict[str, bytes | None] = {
    _name(path): path.read_bytes() for package in OWN for path in (ROOT / package).rglob("*.py")
}
"""The sources by module; None for what has none."""


def digests(modules: Iterable[str]) -> dict[str, str]:
    """The sha256 of each of ``modules`` and of all that they import, directly or not, without comments, docstrings and layout."""
    return {module: _digest(module) for module in sorted(closure(modules))}


def closure(modules: Iterable[str]) -> set[str]:
    """``modules`` and all that they import, directly or not, of the project and of a person's own code.

    Installed packages count by their versions. But a system may lie in one; then what it imports of that package is there, too.
    """
    return set().union(*map(_closure, modules))


@cache
def _closure(module: str) -> frozenset[str]:
    package = module.partition(".")[0]
    found: set[str] = set()
    todo = [module]
    while todo:
        if (name := todo.pop()) not in found and (name == module or _counts(name, package)):
            found.add(name)
            todo += _imports(name)
    return frozenset(found)


@cache
def _counts(module: str, package: str) -> bool:
    """Whether a module that is imported by one of ``package`` is the project's, the package's, or a person's own."""
    top = module.partition(".")[0]
    if top in OWN:
        return module in _TEXTS
    if top in sys.stdlib_module_names or top in PACKAGES or (top != package and _is_installed(top)):
        return False
    return _path(module) is not None


@cache
def _is_installed(top: str) -> bool:
    """Whether a package is one of those that are installed, rather than a person's own."""
    homes = [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")]
    places = [place.resolve() for place in _places(top)]
    return not places or any(place.is_relative_to(home) for place in places for home in homes)


@cache
def _path(module: str) -> Path | None:
    """The file that a module is made from, if it is made from one. Nothing is imported for that."""
    loaded = sys.modules.get(module)
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        return Path(file).resolve() if file else None
    top, *rest = module.split(".")
    places = _places(top)
    found = (place.joinpath(*rest) for place in places)
    files = (file for place in found for file in (place.with_suffix(".py"), place / "__init__.py"))
    return next((file.resolve() for file in files if file.is_file()), None)


@cache
def _places(top: str) -> tuple[Path, ...]:
    """Where the modules of a package lie, or the one of its name that is no package."""
    try:
        spec = PathFinder.find_spec(top)
    except (ImportError, ValueError):
        return ()
    if spec is None or not spec.submodule_search_locations:
        return (Path(spec.origin).with_suffix(""),) if spec and spec.origin and spec.has_location else ()
    return tuple(map(Path, spec.submodule_search_locations))


def _imports(module: str) -> list[str]:
    """The modules that a module imports, and names in modules, which may be modules."""
    tree, path = _parsed(module), _path(module)
    parts = [*module.split("."), *(["__init__"] if path and path.name == "__init__.py" else [])]
    names: list[str] = []
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = parts[: -node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [name for name in names if name]


@cache
def _digest(module: str) -> str:
    tree = _parsed(module)
    if tree is None:
        return UNKNOWN
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


@cache
def _parsed(module: str) -> ast.Module | None:
    """A module's code without docstrings, also those below constants; None if it has no source."""
    if module not in _TEXTS:
        path = _path(module)
        _TEXTS[module] = path.read_bytes() if path is not None and path.suffix == ".py" and path.is_file() else None
    text = _TEXTS[module]
    try:
        return None if text is None else _WithoutDocstrings().visit(ast.parse(text))
    except SyntaxError:
        return None


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
