"""Systems that are made of other systems' outputs: the mean of several samples, and for each stem the system that is best at it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from gmsdi import STEMS
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

    @property
    def inputs(self) -> tuple[tuple[str, int], ...]:
        return tuple((self.of, replicate) for replicate in range(self.samples))

    def combine(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs.double().mean(dim=0).float()  # in float64, for which the order of the terms does not matter


class Ensemble(Derived):
    """Each stem from one of the systems ``members``: the one that the yaml file ``choice`` says, under the key ``choice``.

    Members that are chosen for no stem are not computed. What else the file holds is for people: how it came to be.
    """

    def __init__(self, members: Sequence[str], choice: str) -> None:
        chosen = _read_choice(Path(choice), list(members))
        self._names = list(dict.fromkeys(chosen[stem] for stem in STEMS))
        self._places = [self._names.index(chosen[stem]) for stem in STEMS]  # [K]

    @property
    def inputs(self) -> tuple[tuple[str, int], ...]:
        return tuple((name, 0) for name in self._names)

    def combine(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs[self._places, range(len(STEMS))]

    def stems(self, inputs: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        return tuple(stem for stem, place in zip(STEMS, self._places, strict=True) if stem in inputs[place])

    def identity(self) -> Any:
        return dict(zip(STEMS, self._places, strict=True))


def _read_choice(path: Path, members: list[str]) -> dict[str, str]:
    """A member for every stem; ``BadInputError`` for anything else."""
    remedy = f"write `choice: {{{', '.join(f'{stem}: …' for stem in STEMS)}}}`, each one of {', '.join(members)}"
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise BadInputError(f"{path}: there is no choice of systems here; {remedy}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInputError(f"{path}: {one_line(error)}; {remedy}") from None
    choice = content.get("choice") if isinstance(content, dict) else None
    if not isinstance(choice, dict) or set(choice) != set(STEMS):
        raise BadInputError(f"{path}: chooses no system for each of {', '.join(STEMS)} and nothing else; {remedy}")
    for stem, name in choice.items():
        if name not in members:
            raise BadInputError(f"{path}: chooses {name!r} for {stem}, which is no member{near(str(name), members)}")
    return choice
