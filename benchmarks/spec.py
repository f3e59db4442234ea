"""What a system *is*: its resolved config with every default, and the content of the files that it is made from."""

import inspect
from dataclasses import dataclass
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from benchmarks.config import build
from benchmarks.identity import canonical, digest
from gmsdi.errors import BadInputError, one_line
from gmsdi.system import Separator


@dataclass(frozen=True)
class SystemSpec:
    """A system under a name that tables show; two systems are the same if and only if their ``id`` is."""

    name: str
    label: str
    id: str
    identity: str  # canonical JSON of what the id is the sha256 of
    config: DictConfig

    def build(self) -> Separator:
        """The system itself: loads weights, so only where it runs."""
        separator: Separator = build(self.config)
        return separator

    @property
    def module(self) -> str:
        """Where its class is defined."""
        return get_class(self.config._target_).__module__


def resolve(name: str, node: DictConfig) -> SystemSpec:
    """Resolve a node of ``systems`` (``label`` and ``separator``), as hydra composed it.

    The identity holds the class, all arguments of its constructor with the defaults of the code filled in, and instead of each path
    the sha256 of what lies there: another default, or another checkpoint under the same name, is another system.
    """
    config = node.get("separator")
    if config is None or "_target_" not in config or "label" not in node:
        raise BadInputError(f"system {name}: needs a label and a separator with a _target_; see configs/system/")
    try:
        target: type[Separator] = get_class(config._target_)
    except (ImportError, ValueError) as error:
        raise BadInputError(f"system {name}: {one_line(error)}") from None
    given: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    given.pop("_target_")
    try:
        bound = inspect.signature(target).bind(**given)
    except TypeError as error:
        raise BadInputError(f"system {name}: {target.__name__} {error}; see configs/system/{name}.yaml") from None
    bound.apply_defaults()
    identity = {"class": f"{target.__module__}.{target.__qualname__}", "is": target.identify(**bound.arguments)}
    return SystemSpec(name, str(node.label), digest(identity), canonical(identity), config)
