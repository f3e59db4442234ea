"""What a system *is*: its resolved config with all defaults, and the content of the files that the config names."""

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_class, get_object
from omegaconf import DictConfig, OmegaConf

from benchmarks.config import build
from benchmarks.identity import canonical, digest
from benchmarks.plan.tasks import Task
from gmsdi import STEMS
from gmsdi.errors import BadInputError, one_line
from gmsdi.system import Derived, Generator, Separator, Source


@dataclass(frozen=True)
class SystemSpec:
    """A system, and the name that tables show it under. Two systems are the same if and only if their ``id`` is.

    A system that is made of others has ``inputs``, and ``derived``, which combines them. That object holds no weights, so it is made
    here, together with the id, and cannot be another one later.
    """

    name: str
    label: str
    id: str
    identity: str  # canonical JSON, whose sha256 is the id
    config: DictConfig
    inputs: tuple["Input", ...] = ()
    derived: Derived | None = field(default=None, compare=False)
    about: str = field(default="", compare=False)  # its networks and what they were trained on, for a reader
    stems: tuple[str, ...] = STEMS  # those that it separates, or generates
    task: Task | None = None  # of a generator; one row of a table has a system for each task
    row: str = ""  # the node of ``systems`` that it was made from
    lacks: str = ""  # why it cannot do its task
    borrows: Source | None = None  # see ``Generator.borrows``
    family: str = ""  # the block of rows that tables show it in

    def build(self) -> Any:
        """The ``Separator`` or ``Generator`` itself. It loads weights, so this is called only where it runs."""
        return build(self.config)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The stems that there are files of: all for a separator, those of its task for a generator."""
        return self.task.stems if self.task else STEMS

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules of its class, of the classes that its config makes for it, and the same of its inputs."""
        targets = _targets(OmegaConf.to_container(self.config, resolve=True))
        own = [get_object(target).__module__ for target in targets]
        return tuple(dict.fromkeys([*own, *(name for each in self.inputs for name in each.system.modules)]))


@dataclass(frozen=True)
class Input:
    """What a derived system is made of: one sample of another system. ``replicate`` 0 is the one in that system's own row."""

    system: SystemSpec
    replicate: int


def resolve(name: str, node: DictConfig) -> SystemSpec:
    """``resolve_all`` of one system that is not made of others."""
    return resolve_all({name: node})[0]


def resolve_all(nodes: Mapping[str, DictConfig], tasks: Sequence[Task] = ()) -> list[SystemSpec]:
    """Resolve the nodes of ``systems`` (``label``, ``separator``, and ``family`` if it has one), as hydra composed them.

    They may name each other. With ``tasks`` each node has a ``generator`` instead, and becomes one system for each task.

    The identity of a system is its class and all arguments of the constructor. Defaults are filled in, objects among the arguments
    are given by their class and their own arguments, and paths by the sha256 of the files. So another default anywhere, or another
    checkpoint under the same name, is another system. A derived system's identity is its class, what ``Derived.identity`` adds, and
    the ids of its inputs.
    """
    if tasks:
        return [spec for name, node in nodes.items() for spec in _resolve_generator(name, node, tasks)]
    specs: dict[str, SystemSpec] = {}
    return [_resolve(name, nodes, specs, ()) for name in nodes]


def stands_alone(name: str, node: DictConfig) -> bool:
    """Whether a system is made without other systems."""
    return not issubclass(_read(name, node, "separator", (Separator, Derived))[0], Derived)


def _resolve_generator(name: str, node: DictConfig, tasks: Sequence[Task]) -> Iterator[SystemSpec]:
    """The systems of a node with a ``generator``: one a task."""
    target, config, arguments = _read(name, node, "generator", Generator)
    with _blaming(name):
        borrows = target.borrows(**arguments)
        identity, about = {"class": _path(target), "is": target.identify(**arguments)}, target.describe(**arguments)
    for task in tasks:
        of_task = {**identity, "stems": list(task.stems), "given": list(task.given)}
        yield SystemSpec(
            name=f"{name} {task.name}",
            label=str(node.label),
            id=digest(of_task),
            identity=canonical(of_task),
            config=config,
            about=about,
            stems=task.stems,
            task=task,
            row=name,
            lacks=target.lacks(task.stems, task.given),
            borrows=borrows,
            family=_family(node),
        )


def _resolve(
    name: str, nodes: Mapping[str, DictConfig], specs: dict[str, SystemSpec], users: tuple[str, ...]
) -> SystemSpec:
    """The system ``name``, from ``specs`` or added to it; ``users`` is the chain of systems that need it."""
    if name in users:
        raise BadInputError(f"system {name}: is made of itself, by way of {' and '.join(users)}")
    if name not in nodes:
        raise BadInputError(f"system {users[-1]} is made of {name}; add {name} to system=[…]")
    if name not in specs:
        target, config, arguments = _read(name, nodes[name], "separator", (Separator, Derived))
        derived = _make_derived(name, config) if issubclass(target, Derived) else None
        inputs = tuple(
            Input(_resolve(of, nodes, specs, (*users, name)), replicate)
            for of, replicate in (derived.inputs if derived else ())
        )
        _require_replicates(name, inputs)
        if derived is None:
            with _blaming(name):
                identity = {"class": _path(target), "is": target.identify(**arguments)}
                about, stems = target.describe(**arguments), target.stems(**arguments)
        else:
            made_of = [[each.system.id, each.replicate] for each in inputs]
            identity = {"class": _path(target), "is": derived.identity(), "inputs": made_of}
            about = ""
            stems = derived.stems([each.system.stems for each in inputs])
        label = str(nodes[name].label)
        specs[name] = SystemSpec(
            name,
            label,
            digest(identity),
            canonical(identity),
            config,
            inputs,
            derived,
            about,
            stems,
            row=name,
            family=_family(nodes[name]),
        )
    return specs[name]


def _family(node: DictConfig) -> str:
    return str(node.get("family") or "")


def _read(name: str, node: DictConfig, key: str, kinds: Any) -> tuple[Any, DictConfig, dict[str, Any]]:
    """The class under ``key`` of a node of ``systems``, one of ``kinds``, its config, and all arguments of its constructor."""
    config = node.get(key)
    if config is None or "_target_" not in config or "label" not in node:
        raise BadInputError(f"system {name}: needs a label and a {key} with a _target_; see configs/system/")
    given: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    given.pop("_target_")
    try:
        target = get_class(config._target_)
        if not issubclass(target, kinds):
            raise BadInputError(f"{target.__name__} is no {key} (gmsdi/system.py)")
        return target, config, _arguments(target, given)
    except (ImportError, ValueError, BadInputError) as error:
        raise BadInputError(f"system {name}: {one_line(error)}; see configs/system/{name}.yaml") from None


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Name the system in an error about its files."""
    try:
        yield
    except BadInputError as error:
        raise BadInputError(f"system {name}: {error}; mend that, or leave it out of system=[…]") from None


def _make_derived(name: str, config: DictConfig) -> Derived:
    try:
        derived: Derived = build(config)
    except BadInputError as error:
        raise BadInputError(f"system {name}: {error}") from None
    return derived


def _require_replicates(name: str, inputs: tuple[Input, ...]) -> None:
    """Raise for a second sample of a derived system: it has no noise of its own, so all its samples are equal."""
    for each in inputs:
        if each.replicate and each.system.inputs:
            raise BadInputError(
                f"system {name}: takes several samples of {each.system.name}, which is itself made of others; "
                "take them of what that is made of"
            )


def _targets(node: Any) -> Iterator[str]:
    """Every ``_target_`` of a config."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _targets(item)


def _arguments(target: Callable[..., Any], given: Mapping[str, Any], partial: bool = False) -> dict[str, Any]:
    """All arguments of a call as JSON can hold them, with defaults; of a ``partial`` call those that are given already."""
    signature = inspect.signature(target)
    try:
        bound = (signature.bind_partial if partial else signature.bind)(**{**_made_defaults(target), **given})
    except TypeError as error:
        raise BadInputError(f"{target.__name__} {error}") from None
    bound.apply_defaults()
    return {name: _plain(value, f"{target.__name__}.{name}") for name, value in bound.arguments.items()}


def _made_defaults(target: Callable[..., Any]) -> dict[str, Any]:
    """A dataclass's defaults that come from a ``default_factory``, which its signature does not show."""
    if not is_dataclass(target):
        return {}
    return {each.name: each.default_factory() for each in fields(target) if each.default_factory is not MISSING}


def _plain(value: Any, where: str) -> Any:
    """A value as JSON can hold it; an object becomes its class and its arguments, whether the config or a default makes it.

    So spelling out a default changes nothing. ``BadInputError`` for an object that cannot be described like this.
    """
    match value:
        case {"_target_": path}:
            given = {str(name): item for name, item in value.items() if name not in ("_target_", "_partial_")}
            return _call(get_object(path), given, partial=bool(value.get("_partial_")))
        case dict():
            return {str(name): _plain(item, f"{where}.{name}") for name, item in value.items()}
        case list() | tuple():
            return [_plain(item, where) for item in value]
        case float() if not math.isfinite(value):
            raise BadInputError(f"{where}: {value} is no number that an identity can hold")
        case None | bool() | int() | float() | str() | Path():
            return value
        case functools.partial():
            return _call(value.func, value.keywords, partial=True)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return _call(type(value), {each.name: getattr(value, each.name) for each in fields(value) if each.init})
        case _ if "<" not in getattr(value, "__qualname__", "<"):  # a class or a function that can be found by its name
            return _call(value, {}, partial=True)
    raise BadInputError(
        f"{where}: nothing tells one {type(value).__name__} from another; it must be a number, a name or a _target_"
    )


def _call(target: Callable[..., Any], given: Mapping[str, Any], partial: bool = False) -> dict[str, Any]:
    return {"class": _path(target), "is": _arguments(target, given, partial)}


def _path(target: Callable[..., Any]) -> str:
    return f"{target.__module__}.{target.__qualname__}"
