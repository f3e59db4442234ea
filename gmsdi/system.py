"""What every system here is: it separates mixtures, generates stems to go with others, or makes stems of other systems' stems."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from gmsdi import STEMS, audio


@dataclass(frozen=True)
class Batch:
    """What a separator may know of ``B`` excerpts.

    ``seeds`` are the items' own: an item's result must not depend on what else is in the batch. ``tracks``, ``starts`` and ``frames``
    say which track an item comes from, where it starts there, and how long that track is (samples). ``references`` is given only to
    separators that declare ``reads_references``.
    """

    mixtures: torch.Tensor  # [B, T] float32
    rate: int
    seeds: tuple[int, ...]
    tracks: tuple[str, ...]
    starts: tuple[int, ...]
    frames: tuple[int, ...]
    references: torch.Tensor | None = None  # [B, K, T]


def item_seed(seed: int, content: str, number: int) -> int:
    """The seed of an item of a batch: 63 bits from a base seed, a hash of the item's content, and which of several it is."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{content}\n{number}".encode()).digest()[:8], "big") >> 1


class System:
    """What can be told of a system by the arguments of its constructor, without building it."""

    @classmethod
    def identify(cls, **arguments: Any) -> dict[str, Any]:
        """What the constructor's arguments mean by content: a path becomes the sha256 of the file, or of the files, that lie there.

        The identity of everything that the system outputs is made from this.
        """
        return {name: _content(value) for name, value in arguments.items()}

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

    @classmethod
    def stems(cls, **arguments: Any) -> tuple[str, ...]:
        """The stems that a system with these arguments separates; the others are undefined in its row, whatever it outputs for them."""
        return STEMS

    def covers(self, track: str) -> bool:
        """Whether the system has anything to say of a track; its row lacks those that it does not cover."""
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


class Derived(ABC):
    """A system that is made of the outputs of others, so that nothing is sampled twice: also one class and one yaml.

    It covers what all its inputs cover, and costs what they cost. It must not depend on anything but its constructor's arguments.
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

    def identity(self) -> Any:
        """What decides the output besides the class and the identities of the inputs, as JSON can hold it. Names take no part."""
        return {}


def _content(value: Any) -> Any:
    """The sha256 of what a path leads to, also in lists and mappings; anything else as it is.

    A word without slash or suffix is never taken for a path.
    """
    if isinstance(value, Mapping):
        return {name: _content(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_content(item) for item in value]
    if not isinstance(value, str | Path) or ("/" not in str(value) and not Path(value).suffix):
        return value
    path = Path(value)
    if path.is_dir():
        return {
            str(file.relative_to(path)): audio.file_sha256(file) for file in sorted(path.rglob("*")) if file.is_file()
        }
    return _sha256(path, path.stat().st_mtime_ns) if path.is_file() else value


@cache
def _sha256(path: Path, changed: int) -> str:
    """Of a file as it was last ``changed``: systems share weights, and those of the papers' size are gigabytes."""
    return audio.file_sha256(path)
