"""From a config to units of work: every (system, excerpt, replicate) of a table, addressed by content."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.data.manifest import DatasetManifest, Excerpt, Track, excerpts
from benchmarks.spec import SystemSpec
from gmsdi.errors import BadInputError

TASK = "separation"


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """One excerpt through one system. ``id`` covers the system, the excerpt's content, the task, the base seed and the replicate.

    ``seed`` leaves the system out: all systems meet the same noise, which sharpens paired tests.
    """

    id: str
    system: SystemSpec
    excerpt: Excerpt
    seed: int
    replicate: int


@dataclass(frozen=True)
class Protocol:
    """Which excerpts are run: chunks of ``chunk`` samples, of which the first ``chunks_per_track`` (all if None).

    The default is MSDM's rule: whole, adjacent chunks of 262 144 samples (11.89 s), remainder dropped.
    """

    name: str
    chunk: int = 262_144
    chunks_per_track: int | None = None

    def __post_init__(self) -> None:
        if self.chunk < 1 or (self.chunks_per_track is not None and self.chunks_per_track < 1):
            raise BadInputError(f"protocol {self.name}: chunk and chunks_per_track must be at least 1")

    def describe(self, rate: int) -> str:
        """In words, for a table's caption."""
        which = "all whole chunks" if self.chunks_per_track is None else f"the first {self.chunks_per_track} chunk(s)"
        return f"protocol {self.name}: {which} of {self.chunk / rate:.2f} s of each song"

    def excerpts(self, track: Track) -> list[Excerpt]:
        """The excerpts of a track; none if it is shorter than one chunk."""
        return list(excerpts(track, self.chunk))[: self.chunks_per_track]


@dataclass(frozen=True)
class Plan:
    """The work of one table: for every system and track the units whose outputs, put together, are scored."""

    manifest: DatasetManifest
    protocol: Protocol
    systems: tuple[SystemSpec, ...]
    units: dict[tuple[str, str], tuple[WorkUnit, ...]]  # by system id and track name

    def of_system(self, system: SystemSpec) -> Iterator[WorkUnit]:
        """The units of one system, track by track."""
        for track in self.manifest.tracks:
            yield from self.units.get((system.id, track.name), ())

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks that have at least one excerpt."""
        scored = {name for _, name in self.units}
        return tuple(track for track in self.manifest.tracks if track.name in scored)


def make_plan(
    manifest: DatasetManifest, protocol: Protocol, systems: Sequence[SystemSpec], seed: int, replicate: int = 0
) -> Plan:
    """Plan every system on every excerpt. ``BadInputError`` when no track is as long as one chunk."""
    units: dict[tuple[str, str], tuple[WorkUnit, ...]] = {}
    for track in manifest.tracks:
        pieces = [(excerpt, _item_seed(seed, excerpt.id, replicate)) for excerpt in protocol.excerpts(track)]
        for system in systems if pieces else ():
            units[system.id, track.name] = tuple(
                WorkUnit(_unit_id(system.id, excerpt.id, seed, replicate), system, excerpt, item_seed, replicate)
                for excerpt, item_seed in pieces
            )
    if not units:
        raise BadInputError(
            f"{manifest.title} {manifest.split}: no track holds a chunk of {protocol.chunk / manifest.rate:.2f} s, "
            f"so there is nothing to do under protocol={protocol.name}"
        )
    return Plan(manifest, protocol, tuple(systems), units)


def _unit_id(system: str, excerpt: str, seed: int, replicate: int) -> str:
    return hashlib.sha256(f"{TASK}\n{system}\n{excerpt}\n{seed}\n{replicate}".encode()).hexdigest()


def _item_seed(seed: int, excerpt: str, replicate: int) -> int:
    """63 bits from the base seed, the excerpt and the replicate."""
    return int.from_bytes(hashlib.sha256(f"{seed}\n{excerpt}\n{replicate}".encode()).digest()[:8], "big") >> 1
