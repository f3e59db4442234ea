"""From a config to units of work: every (system, excerpt, replicate) of a table, identified by content."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.data.manifest import DatasetManifest, Excerpt, Track, excerpts
from benchmarks.plan.systems import SystemSpec
from gmsdi.errors import BadInputError
from gmsdi.system import item_seed

SEPARATION = "separation"
GENERATION = "generation"


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """One excerpt through one system.

    ``id`` covers the system, the excerpt's content, the task, the base seed and the replicate, and the track's name if the system is
    told it: all that the system may look at.

    ``seed`` does not depend on the system: all systems get the same noise, which sharpens paired tests. ``inputs`` are the units on the
    same excerpt from which a derived system makes this one; those of replicate 0 are also in their own systems' rows. ``elsewhere``
    are the excerpts that a system borrows from, one for each stem of its task.
    """

    id: str
    system: SystemSpec
    excerpt: Excerpt
    seed: int
    replicate: int
    inputs: tuple["WorkUnit", ...] = ()
    elsewhere: tuple[Excerpt, ...] = ()
    base: int = 0  # the seed of the whole run, which ``seed`` was made from


@dataclass(frozen=True)
class Protocol:
    """Which excerpts are run: ``chunks_per_track`` chunks of ``chunk`` samples (None: all of them).

    The default is MSDM's rule: whole, adjacent chunks of 262 144 samples (11.89 s), remainder dropped. With ``chunks_per_track`` the
    song is cut into that many equal parts and the middle chunk of each is run, because songs begin and end with one instrument.
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

    def free(self, track: Track) -> list[Excerpt]:
        """The chunks of a track that are not run."""
        taken = {each.start for each in self.excerpts(track)}
        return [each for each in excerpts(track, self.chunk) if each.start not in taken]

    def elsewhere(self, track: Track, excerpt: Excerpt, stems: Sequence[str], plays: Sequence[bool]) -> Excerpt:
        """The one of a track's ``free`` chunks in which fewest ``stems`` differ from ``plays``, which says whether each should play.

        Among equals it is the one whose start is nearest to that of ``excerpt``, which may be of another track.
        """

        def differs(each: Excerpt) -> tuple[int, int]:
            unlike = sum(
                track.plays(stem, each.start, each.length) != wanted for stem, wanted in zip(stems, plays, strict=True)
            )
            return unlike, abs(each.start - excerpt.start)

        return min(self.free(track), key=differs)


@dataclass(frozen=True)
class Plan:
    """The work of one table: for every system and track the units whose outputs are joined and scored."""

    manifest: DatasetManifest
    protocol: Protocol
    systems: tuple[SystemSpec, ...]
    units: dict[tuple[str, str], tuple[WorkUnit, ...]]  # by system id and track name
    seed: int = 0

    def of_system(self, system: SystemSpec) -> Iterator[WorkUnit]:
        """The units of one system, track by track."""
        for track in self.manifest.tracks:
            yield from self.units.get((system.id, track.name), ())

    def everything(self) -> dict[str, WorkUnit]:
        """All units by id: those of the rows, and their inputs."""
        return with_inputs(unit for units in self.units.values() for unit in units)

    @property
    def tracks(self) -> tuple[Track, ...]:
        """The tracks that have at least one excerpt."""
        scored = {name for _, name in self.units}
        return tuple(track for track in self.manifest.tracks if track.name in scored)


def make_plan(manifest: DatasetManifest, protocol: Protocol, systems: Sequence[SystemSpec], seed: int) -> Plan:
    """Plan every system on every excerpt. ``BadInputError`` when no track is as long as one chunk."""
    units: dict[tuple[str, str], tuple[WorkUnit, ...]] = {}
    tracks = _tracks(manifest, protocol, systems)
    for place, track in enumerate(tracks):
        pieces = protocol.excerpts(track)
        for system in systems:
            if system.lacks or system.best_of:
                continue
            wanted = [excerpt for excerpt in pieces if _counts(system, track, excerpt)]
            units[system.id, track.name] = tuple(
                make_unit(system, excerpt, seed, elsewhere=_elsewhere(system, tracks, place, excerpt, protocol))
                for excerpt in wanted
            )
    if not units and (lacking := next((system for system in systems if system.lacks), None)):
        raise BadInputError(f"system {lacking.name} {lacking.lacks}")
    if not units:
        raise BadInputError(
            f"{manifest.title} {manifest.split}: no track holds a chunk of {protocol.chunk / manifest.rate:.2f} s, "
            f"so there is nothing to do under protocol={protocol.name}"
        )
    return Plan(manifest, protocol, tuple(systems), units, seed)


def _tracks(manifest: DatasetManifest, protocol: Protocol, systems: Sequence[SystemSpec]) -> list[Track]:
    """The tracks that are measured: all that hold a chunk, and a free one to borrow from if a system does that.

    Of equal ones only the first: copies of a song would count as independent songs.
    """
    copies = manifest.copies
    tracks = [track for track in manifest.tracks if protocol.excerpts(track) and track.name not in copies]
    if not any(system.borrows in ("song", "others") for system in systems):
        return tracks
    lenders = [track for track in tracks if protocol.free(track)]
    if tracks and not lenders:
        raise BadInputError(
            f"protocol={protocol.name} runs all chunks of all songs, which leaves none for systems of real stems; "
            "give protocol.chunks_per_track=N with a smaller N, or leave those systems out of system=[…]"
        )
    return lenders


def _counts(system: SystemSpec, track: Track, excerpt: Excerpt) -> bool:
    """Whether a system runs on an excerpt. Stems that are generated alone are compared with the real ones, one of which must play."""
    task = system.task
    return not task or bool(task.given) or any(track.plays(stem, excerpt.start, excerpt.length) for stem in task.stems)


def _elsewhere(
    system: SystemSpec, tracks: Sequence[Track], place: int, excerpt: Excerpt, protocol: Protocol
) -> tuple[Excerpt, ...]:
    """The excerpts that a system borrows the stems of its task from, one for each stem; empty if it does not borrow.

    Stems from the same song come from one place, so that they fit each other; stems from other songs come each from another song.
    """
    if system.borrows is None or system.task is None:
        return ()
    stems = system.task.stems
    plays = [tracks[place].plays(stem, excerpt.start, excerpt.length) for stem in stems]
    if system.borrows == "itself":
        return (excerpt,) * len(stems)
    if system.borrows == "song":
        return (protocol.elsewhere(tracks[place], excerpt, stems, plays),) * len(stems)
    others = [tracks[(place + 1 + k) % len(tracks)] for k in range(len(stems))]
    if tracks[place] in others:
        raise BadInputError(
            f"{len(tracks)} songs are too few for {system.row}, which takes stems of {len(stems)} others; leave it out of system=[…]"
        )
    return tuple(
        protocol.elsewhere(track, excerpt, [stem], [wanted])
        for track, stem, wanted in zip(others, stems, plays, strict=True)
    )


def make_unit(
    system: SystemSpec, excerpt: Excerpt, seed: int, replicate: int = 0, elsewhere: tuple[Excerpt, ...] = ()
) -> WorkUnit:
    """The unit of a system on an excerpt, with its inputs."""
    return WorkUnit(
        _unit_id(system, excerpt, seed, replicate, elsewhere),
        system,
        excerpt,
        item_seed(seed, excerpt.id, replicate),
        replicate,
        tuple(make_unit(each.system, excerpt, seed, each.replicate) for each in system.inputs),
        elsewhere,
        seed,
    )


def with_inputs(units: Iterable[WorkUnit]) -> dict[str, WorkUnit]:
    """Units, their inputs, the inputs of those and so on, by id."""
    found: dict[str, WorkUnit] = {}
    todo = list(units)
    while todo:
        found |= {unit.id: unit for unit in todo}
        todo = [each for unit in todo for each in unit.inputs if each.id not in found]
    return found


def _unit_id(system: SystemSpec, excerpt: Excerpt, seed: int, replicate: int, elsewhere: Sequence[Excerpt]) -> str:
    task = GENERATION if system.task else SEPARATION
    parts = [task, system.id, excerpt.id, seed, replicate, *(each.id for each in elsewhere)]
    if system.reads_places:
        parts.append(f"track {excerpt.track}")
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
