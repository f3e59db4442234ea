"""From a config to units of work: every (system, excerpt, replicate) of a table, addressed by content."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.data.manifest import DatasetManifest, Excerpt, Track, excerpts
from benchmarks.spec import SystemSpec
from gmsdi.errors import BadInputError
from gmsdi.system import item_seed

TASK = "separation"


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """One excerpt through one system. ``id`` covers the system, the excerpt's content, the task, the base seed and the replicate.

    ``seed`` leaves the system out: all systems meet the same noise, which sharpens paired tests. ``inputs`` are the units on the same
    excerpt that a derived system makes this one of; those of replicate 0 are their systems' own, the same that their rows have.
    """

    id: str
    system: SystemSpec
    excerpt: Excerpt
    seed: int
    replicate: int
    inputs: tuple["WorkUnit", ...] = ()


@dataclass(frozen=True)
class Protocol:
    """Which excerpts are run: chunks of ``chunk`` samples, of which ``chunks_per_track``, spread evenly (all if None).

    The default is MSDM's rule: whole, adjacent chunks of 262 144 samples (11.89 s), remainder dropped. Fewer are the middles of as many
    equal parts of the song, as songs begin with one instrument and end with one.
    """

    name: str
    chunk: int = 262_144
    chunks_per_track: int | None = None

    def __post_init__(self) -> None:
        if self.chunk < 1 or (self.chunks_per_track is not None and self.chunks_per_track < 1):
            raise BadInputError(f"protocol {self.name}: chunk and chunks_per_track must be at least 1")

    def describe(self, rate: int) -> str:
        """In words, for a table's caption."""
        which = {
            None: "all whole chunks",
            1: "the middle one of the whole chunks",
        }.get(self.chunks_per_track, f"{self.chunks_per_track} of the whole chunks, spread evenly,")
        return f"protocol {self.name}: {which} of {self.chunk / rate:.2f} s of each song"

    def excerpts(self, track: Track) -> list[Excerpt]:
        """The excerpts of a track; none if it is shorter than one chunk."""
        whole = list(excerpts(track, self.chunk))
        count = min(self.chunks_per_track or len(whole), len(whole))
        return [whole[(2 * i + 1) * len(whole) // (2 * count)] for i in range(count)]


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

    def everything(self) -> dict[str, WorkUnit]:
        """All units by id: those of the rows, and those that rows are made of."""
        return with_inputs(unit for units in self.units.values() for unit in units)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks that have at least one excerpt."""
        scored = {name for _, name in self.units}
        return tuple(track for track in self.manifest.tracks if track.name in scored)


def make_plan(manifest: DatasetManifest, protocol: Protocol, systems: Sequence[SystemSpec], seed: int) -> Plan:
    """Plan every system on every excerpt. ``BadInputError`` when no track is as long as one chunk."""
    units: dict[tuple[str, str], tuple[WorkUnit, ...]] = {}
    for track in manifest.tracks:
        pieces = protocol.excerpts(track)
        for system in systems if pieces else ():
            units[system.id, track.name] = tuple(make_unit(system, excerpt, seed) for excerpt in pieces)
    if not units:
        raise BadInputError(
            f"{manifest.title} {manifest.split}: no track holds a chunk of {protocol.chunk / manifest.rate:.2f} s, "
            f"so there is nothing to do under protocol={protocol.name}"
        )
    return Plan(manifest, protocol, tuple(systems), units)


def make_unit(system: SystemSpec, excerpt: Excerpt, seed: int, replicate: int = 0) -> WorkUnit:
    """The unit of a system on an excerpt, and all that it is made of."""
    return WorkUnit(
        _unit_id(system.id, excerpt.id, seed, replicate),
        system,
        excerpt,
        item_seed(seed, excerpt.id, replicate),
        replicate,
        tuple(make_unit(each.system, excerpt, seed, each.replicate) for each in system.inputs),
    )


def with_inputs(units: Iterable[WorkUnit]) -> dict[str, WorkUnit]:
    """Units and all that they are made of, by id."""
    found: dict[str, WorkUnit] = {}
    todo = list(units)
    while todo:
        found |= {unit.id: unit for unit in todo}
        todo = [each for unit in todo for each in unit.inputs if each.id not in found]
    return found


def _unit_id(system: str, excerpt: str, seed: int, replicate: int) -> str:
    return hashlib.sha256(f"{TASK}\n{system}\n{excerpt}\n{seed}\n{replicate}".encode()).hexdigest()
