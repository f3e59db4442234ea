"""Systems that are made of other systems' outputs: the mean of several samples, and for each stem the system that is best at it.

GMSDI's Ensemble takes per stem the better of Separator and Extractor. The paper does not say on which data that is found out; its
printed row is the better of each two figures on test. Here a choice is made on validation data (``Ensemble``); the printed rule is
``BestPerStem``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from gmsdi import STEMS, files
from gmsdi.errors import BadInputError, near, one_line
from gmsdi.system import Derived


class Mean(Derived):
    """The mean of ``samples`` samples that the system ``of`` draws of a mixture.

    It tends to the posterior's mean, the estimate of least squared error, as samples get many; more samples cost in proportion.
    """

    def __init__(self, of: str, samples: int) -> None:
        if samples < 1:
            raise BadInputError(f"samples={samples}: at least 1 is needed")
        self.of = of
        self.samples = samples

    @classmethod
    def identify(cls, **arguments: Any) -> dict[str, Any]:
        """Nothing: it is the mean of its inputs, however many and whatever they are called."""
        return {}

    @property
    def inputs(self) -> tuple[tuple[str, int], ...]:
        return tuple((self.of, replicate) for replicate in range(self.samples))

    def combine(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.double().mean(dim=0).float()  # in float64, for which the order of the terms does not matter


class Ensemble(Derived):
    """Each stem from one of the systems ``members``: the one that the yaml file ``choice`` says, which `gmsdi tune` has written.

    ``choice`` there names a member for each stem; ``rows`` has the ids that the members had when they were compared. Of members with
    other ids the choice says nothing, and is refused. Members that are chosen for no stem are no part of it.
    """

    def __init__(self, members: Sequence[str], choice: Path | str) -> None:
        chosen, self._among = _read_choice(Path(choice), list(members))
        self._names = list(dict.fromkeys(chosen[stem] for stem in STEMS))
        self._places = [self._names.index(chosen[stem]) for stem in STEMS]  # [K]

    @classmethod
    def identify(cls, **arguments: Any) -> dict[str, Any]:
        """Which of its inputs each stem is from; neither their names nor what else the file says."""
        chosen, _ = _read_choice(Path(arguments["choice"]), list(arguments["members"]))
        names = list(dict.fromkeys(chosen[stem] for stem in STEMS))
        return {stem: names.index(chosen[stem]) for stem in STEMS}

    @property
    def inputs(self) -> tuple[tuple[str, int], ...]:
        return tuple((name, 0) for name in self._names)

    @property
    def chosen_among(self) -> Mapping[str, str]:
        return self._among

    def combine(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs[self._places, range(len(STEMS))]

    def stems(self, inputs: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        return tuple(stem for stem, place in zip(STEMS, self._places, strict=True) if stem in inputs[place])


@dataclass(frozen=True)
class BestPerStem:
    """In each column of a table the numbers of that one of ``members`` that is best in it: the rule of the paper's printed Ensemble.

    It looks at the very scores that it is judged by. So it is no system but a bound: it has no outputs, and a table makes its row of
    the rows of its members.
    """

    members: tuple[str, ...]


def _read_choice(path: Path, members: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """A member for every stem, and the id of every member; ``BadInputError`` for anything else."""
    remedy = f"make one: `gmsdi tune system=[{','.join(members)}] tuned=NAME`"
    if not path.is_file():
        raise BadInputError(f"{path}: there is no choice of systems here; {remedy}")
    try:
        content = yaml.safe_load(files.read(path)[0].decode())
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInputError(f"{path}: {one_line(error)}; {remedy}") from None
    choice, rows = (content.get(key) if isinstance(content, dict) else None for key in ("choice", "rows"))
    if not isinstance(choice, dict) or set(choice) != set(STEMS):
        raise BadInputError(f"{path}: chooses no system for each of {', '.join(STEMS)} and nothing else; {remedy}")
    among = {row.get("row"): row.get("system") for row in rows or () if isinstance(row, dict)}
    if not set(members) <= set(among):
        raise BadInputError(f"{path}: does not record which {' and '.join(members)} were compared; {remedy}")
    for stem, name in choice.items():
        if name not in members:
            raise BadInputError(f"{path}: chooses {name!r} for {stem}, which is no member{near(str(name), members)}")
    return choice, {name: str(among[name]) for name in members}
