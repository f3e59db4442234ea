"""What every system here is: it separates mixtures, generates stems to go with others, or makes stems of other systems' stems."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from gmsdi import STEMS, files
from gmsdi.errors import BadInputError


@dataclass(frozen=True)
class Place:
    """Where an excerpt is from: the name of its track, where it starts there, and how long that track is (samples)."""

    track: str
    start: int
    frames: int


@dataclass(frozen=True)
class Batch:
    """What a separator may know of ``B`` excerpts.

    ``seeds`` are the items' own: an item's result must not depend on what else is in the batch. ``places`` is given only to separators
    that declare ``reads_places``, ``references`` only to those that declare ``reads_references``.
    """

    mixtures: torch.Tensor  # [B, T] float32
    rate: int
    seeds: tuple[int, ...]
    places: tuple[Place, ...] | None = None
    references: torch.Tensor | None = None  # [B, K, T]

    @property
    def tracks(self) -> tuple[str, ...]:
        """The names of the tracks, of ``places``."""
        return tuple(place.track for place in self._told())

    @property
    def starts(self) -> tuple[int, ...]:
        """Where the excerpts start in their tracks (samples), of ``places``."""
        return tuple(place.start for place in self._told())

    @property
    def frames(self) -> tuple[int, ...]:
        """The lengths of the tracks (samples), of ``places``."""
        return tuple(place.frames for place in self._told())

    def _told(self) -> tuple[Place, ...]:
        if self.places is None:
            raise BadInputError("a separator that looks at tracks, starts or frames declares reads_places = True")
        return self.places


def item_seed(seed: int, content: str, number: int) -> int:
    """The seed of an item of a batch: 63 bits from a base seed, a hash of the item's content, and which of several it is."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{content}\n{number}".encode()).digest()[:8], "big") >> 1


class System:
    """What can be told of a system by the arguments of its constructor, without building it."""

    @classmethod
    def identify(cls, **arguments: Any) -> dict[str, Any]:
        """What the constructor's arguments mean by content: a ``Path`` becomes the sha256 of the file, or of the files, that lie there.

        An argument that the constructor declares as a path comes as a ``Path``, whatever it looks like; any other is never one.
        The identity of everything that the system outputs is made from this. What it hashes by ``gmsdi.files`` has to be the same
        when the system is at work.
        """
        return {name: files.by_content(value) for name, value in arguments.items()}

    @classmethod
    def describe(cls, **arguments: Any) -> str:
        """What a reader of a table should know of the system with these arguments, such as what it was trained on."""
        return ""

    @classmethod
    def passes(cls, stems: int) -> int | None:
        """How often an item goes through a network in one step, for so many stems; None if it does not walk down noise levels."""
        return None


class Separator(System, ABC):
    """A system that the separation table can have a row for: one class and one yaml."""

    reads_references: ClassVar[bool] = False
    """An oracle: it is handed the true stems, and its row is a bound, not a result."""

    reads_places: ClassVar[bool] = False
    """It is told which track an excerpt is from and where it starts there. Then the track's name is part of its work's identity."""

    @classmethod
    def stems(cls, **arguments: Any) -> tuple[str, ...]:
        """The stems that a system with these arguments separates; the others are undefined in its row, whatever it outputs for them."""
        return STEMS

    def covers(self, track: str) -> bool:
        """Whether the system has anything to say of a track; its row lacks the others. Asked if it ``reads_places``."""
        return True

    @abstractmethod
    def separate(self, batch: Batch) -> torch.Tensor:
        """The stems ``[B, K, T]`` of the mixtures, float32, in the order of ``gmsdi.STEMS``."""


Source = Literal["itself", "song", "others"]
"""Where real stems are borrowed from: the very excerpt, another place in its song, or other songs, for each stem another one."""


@dataclass(frozen=True)
class Request:
    """What is asked of a generator, ``B`` times: ``stems`` that go with those that are ``given``.

    ``seeds`` are the items' own, as for ``Batch``. ``elsewhere`` are real stems of another place or song, for generators that borrow.
    """

    stems: tuple[str, ...]
    given: Mapping[str, torch.Tensor]  # [B, T] each
    seeds: tuple[int, ...]
    length: int  # samples
    device: str
    elsewhere: torch.Tensor | None = None  # [B, J, T], of ``stems``


class Generator(System, ABC):
    """A system that the generation tables can have a row for: one class and one yaml."""

    @classmethod
    def lacks(cls, stems: Sequence[str], given: Sequence[str]) -> str:
        """Why it cannot generate ``stems`` to go with ``given``; empty if it can."""
        return ""

    @classmethod
    def borrows(cls, **arguments: Any) -> Source | None:
        """A bound that is made of real stems: where from; None for what generates."""
        return None

    @abstractmethod
    def generate(self, request: Request) -> torch.Tensor:
        """The stems ``[B, J, T]`` that were asked for, float32, in the order of the request."""


class Derived(System, ABC):
    """A system that is made of the outputs of others, so that nothing is sampled twice: also one class and one yaml.

    It covers what all its inputs cover, and costs what they cost. It must not depend on anything but its constructor's arguments.
    ``identify`` says what decides its output besides the identities of its inputs; names of systems need take no part.
    """

    @property
    @abstractmethod
    def inputs(self) -> tuple[tuple[str, int], ...]:
        """What it is made of: names under ``systems``, each with a replicate; 0 is that system's own row, 1, 2, … are more samples."""

    @abstractmethod
    def combine(self, outputs: torch.Tensor) -> torch.Tensor:
        """The stems ``[K, T]`` of one excerpt, from those of all ``inputs``, ``[I, K, T]``; float32, in the order of ``gmsdi.STEMS``.

        One excerpt at a time, so that no excerpt can depend on its batch, and memory does not grow with it.
        """

    def stems(self, inputs: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        """The stems that it has, from those that its inputs have."""
        return tuple(stem for stem in STEMS if all(stem in each for each in inputs))

    @property
    def chosen_among(self) -> Mapping[str, str]:
        """If it follows a choice: the names under ``systems`` that the choice was made among, and the ids that they had then."""
        return {}
