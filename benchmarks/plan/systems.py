"""What a system *is*: its resolved config with all defaults, and the content of the files that the config names."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from hydra.utils import get_class, get_object
from omegaconf import DictConfig, OmegaConf

from benchmarks.config import build, targets_of
from benchmarks.identity import canonical, digest, short
from benchmarks.plan.arguments import arguments_of, as_text, located, path_of
from benchmarks.plan.tasks import Task
from gmsdi import STEMS, files
from gmsdi.ensemble import BestPerStem
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
    lacks: str = ""  # why it cannot do its task, or must not
    borrows: Source | None = None  # see ``Generator.borrows``
    family: str = ""  # the block of rows that tables show it in
    files: Mapping[str, str] = field(
        default_factory=dict, compare=False
    )  # that its identity was made from, pinned to their sha256
    reads_places: bool = False  # whether a track's name is part of what it, or one of its inputs, is told
    best_of: tuple[
        "SystemSpec", ...
    ] = ()  # the systems whose best numbers are its own; see ``gmsdi.ensemble.BestPerStem``

    def build(self) -> Any:
        """The ``Separator`` or ``Generator`` itself. It loads weights, so this is called only where it runs.

        ``IntegrityError`` if a file is not the one that the identity was made from.
        """
        with files.loading(self.files):
            return build(self.config)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The stems that there are files of: all for a separator, those of its task for a generator."""
        return self.task.stems if self.task else STEMS

    @property
    def own_modules(self) -> tuple[str, ...]:
        """The modules of its class, and of the classes that its config makes for it."""
        targets = targets_of(OmegaConf.to_container(self.config, resolve=True))
        return tuple(dict.fromkeys(get_object(target).__module__ for target in targets))

    @property
    def modules(self) -> tuple[str, ...]:
        """Its own, and those of what it is made of."""
        others = [*(each.system for each in self.inputs), *self.best_of]
        return tuple(dict.fromkeys([*self.own_modules, *(name for each in others for name in each.modules)]))


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
    with _blaming(name), files.noted() as pins:
        borrows = target.borrows(**arguments)
        identity, about = {"class": path_of(target), "is": target.identify(**arguments)}, target.describe(**arguments)
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
            files=pins,
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
        target, config, arguments = _read(name, nodes[name], "separator", (Separator, Derived, BestPerStem))
        make = _alone if issubclass(target, Separator) else _made_of if issubclass(target, Derived) else _best_of

        def other(of: str) -> SystemSpec:
            return _resolve(of, nodes, specs, (*users, name))

        found = make(name, nodes[name], target, config, arguments, other)
        specs[name] = replace(found, row=name, family=_family(nodes[name]))
    return specs[name]


Other = Callable[[str], SystemSpec]
"""Another system by its name."""

Arguments = dict[str, Any]


def _alone(name: str, node: DictConfig, target: Any, config: DictConfig, arguments: Arguments, _: Other) -> SystemSpec:
    """A separator."""
    with _blaming(name), files.noted() as pins:
        identity = {"class": path_of(target), "is": target.identify(**arguments)}
        about, stems = target.describe(**arguments), target.stems(**arguments)
    return SystemSpec(
        name,
        str(node.label),
        digest(identity),
        canonical(identity),
        config,
        about=about,
        stems=stems,
        files=pins,
        reads_places=target.reads_places,
    )


def _made_of(
    name: str, node: DictConfig, target: Any, config: DictConfig, arguments: Arguments, other: Other
) -> SystemSpec:
    """A derived system, and with it those that it is made of."""
    try:
        with files.noted() as pins:
            own = target.identify(**arguments)
        with files.pinned(pins):
            derived: Derived = build(config)
    except BadInputError as error:
        raise BadInputError(f"system {name}: {error}") from None
    inputs = tuple(Input(other(of), replicate) for of, replicate in derived.inputs)
    _require_replicates(name, inputs)
    lacks = _chosen_among_others(name, derived.chosen_among, other) or _lacks([each.system for each in inputs])
    identity = {"class": path_of(target), "is": own, "inputs": [[each.system.id, each.replicate] for each in inputs]}
    return SystemSpec(
        name,
        str(node.label),
        digest(identity),
        canonical(identity),
        config,
        inputs,
        derived,
        stems=derived.stems([each.system.stems for each in inputs]),
        lacks=lacks,
        reads_places=any(each.system.reads_places for each in inputs),
    )


def _best_of(
    name: str, node: DictConfig, target: Any, config: DictConfig, arguments: Arguments, other: Other
) -> SystemSpec:
    """What takes the best numbers of other systems."""
    members = tuple(map(other, arguments["members"]))
    identity = {"class": path_of(target), "members": [member.id for member in members]}
    stems = tuple(stem for stem in STEMS if all(stem in member.stems for member in members))
    label = str(node.label)
    return SystemSpec(
        name,
        label,
        digest(identity),
        canonical(identity),
        config,
        stems=stems,
        lacks=_lacks(members),
        best_of=members,
    )


def _lacks(systems: Iterable[SystemSpec]) -> str:
    """Why a system cannot be made of others; "" if it can."""
    return next((f"{each.name} {each.lacks}" for each in systems if each.lacks), "")


def _family(node: DictConfig) -> str:
    return str(node.get("family") or "")


def _read(name: str, node: DictConfig, key: str, kinds: Any) -> tuple[Any, DictConfig, dict[str, Any]]:
    """The class under ``key`` of a node of ``systems``, one of ``kinds``, its config, and all arguments of its constructor."""
    config = node.get(key)
    if config is None or "_target_" not in config or "label" not in node:
        raise BadInputError(f"system {name}: needs a label and a {key} with a _target_; see configs/system/")
    try:
        target = get_class(config._target_)
        if not issubclass(target, kinds):
            raise BadInputError(f"{target.__name__} is no {key} (gmsdi/system.py)")
        given = located(OmegaConf.to_container(config, resolve=True))
        arguments = {name: value for name, value in given.items() if name != "_target_"}
        return target, OmegaConf.create(as_text(given)), arguments_of(target, arguments)
    except (ImportError, ValueError, BadInputError) as error:
        raise BadInputError(f"system {name}: {one_line(error)}; see configs/system/{name}.yaml") from None


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    """Name the system in an error about its files."""
    try:
        yield
    except BadInputError as error:
        raise BadInputError(f"system {name}: {error}; mend that, or leave it out of system=[…]") from None


def _require_replicates(name: str, inputs: tuple[Input, ...]) -> None:
    """Raise for a second sample of a derived system: it has no noise of its own, so all its samples are equal."""
    for each in inputs:
        if each.replicate and each.system.inputs:
            raise BadInputError(
                f"system {name}: takes several samples of {each.system.name}, which is itself made of others; "
                "take them of what that is made of"
            )


def _chosen_among_others(name: str, among: Mapping[str, str], other: Other) -> str:
    """What is wrong if a choice was made among other systems than those that have these names now; "" if nothing is."""
    for member, then in among.items():
        if (now := other(member).id) != then:
            return (
                f"was chosen among another {member} ({short(then)}, not {short(now)}), of other weights or settings; choose again with "
                f"`gmsdi tune system=[{','.join(among)}] tuned=NAME` and the same overrides, then give "
                f"systems.{name}.separator.choice=results/tuned/NAME.yaml"
            )
    return ""
