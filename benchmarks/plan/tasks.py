"""What generators are asked for: which stems to make, to go with which given stems."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gmsdi import STEMS
from gmsdi.errors import BadInputError, near

INITIALS = {stem[0].upper(): stem for stem in STEMS}


@dataclass(frozen=True)
class Task:
    """What a generator is to do: make ``stems`` that go with the ``given`` ones, which are real."""

    stems: tuple[str, ...]
    given: tuple[str, ...]

    @property
    def name(self) -> str:
        """The initials of the stems, as MSDM names the columns of sub-FAD."""
        return "".join(stem[0].upper() for stem in self.stems)


def tasks_of(config: Mapping[str, Any]) -> tuple[Task, ...]:
    """The tasks that the columns of a table name by the stems' initials, in their order; none for a table of separation.

    ``given: rest`` is accompaniment: all other stems are given. ``given: none`` is generation from nothing.
    """
    if "given" not in config:
        return ()
    names = dict.fromkeys(name for group in config["groups"] for tasks in group["columns"].values() for name in tasks)
    return tuple(_task(name, config["given"]) for name in names)


def _task(name: str, given: str) -> Task:
    for initial in name:
        if initial not in INITIALS:
            raise BadInputError(
                f"table: {initial!r} of {name!r} is the initial of no stem{near(initial, list(INITIALS))}"
            )
    stems = tuple(stem for initial, stem in INITIALS.items() if initial in name)
    task = Task(stems, tuple(stem for stem in STEMS if stem not in stems) if given == "rest" else ())
    if task.name != name:
        raise BadInputError(f"table: write {task.name} for {name!r}")
    return task
