"""What a reader must know beside the numbers: of a row, and of the data."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from benchmarks.cells.found import Scores, invalidated_tracks, runs_of
from benchmarks.data.manifest import SILENT_DB, Track
from benchmarks.metrics.judges import Judge
from benchmarks.metrics.scores import Metric
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import Plan, WorkUnit
from benchmarks.sources import UNKNOWN, closure
from benchmarks.store.journal import Record
from benchmarks.store.provenance import COUNTS, MAKES, SCORES
from benchmarks.store.store import Store
from gmsdi import STEMS
from gmsdi.errors import BadInputError


def notes_of(
    system: SystemSpec,
    own: Scores,
    plan: Plan,
    metrics: Mapping[str, Metric | Judge],
    store: Store,
    provenance: Record,
) -> list[str]:
    """What a reader must know of a row: units that failed, and code that is not the code at hand."""
    notes = []
    units = list(plan.of_system(system))
    failures = [store.failures[unit.id] for unit in units if unit.id in store.failures and unit.id not in store.outputs]
    if failures:
        notes.append(f"{len(failures)} of {len(units)} excerpts failed: {failures[0]['message']}")
    if worthless := invalidated_tracks(system, plan, store):
        said = dict.fromkeys(f"{each['why']} ({each['who']}, {each['when'][:10]})" for each in worthless.values())
        notes.append(f"{len(worthless)} of {len(plan.tracks)} songs invalidated: {'; '.join(said)}")
    for each in system.best_of or (system,):
        notes += _made_by_other_code(each, list(plan.of_system(each)), store, provenance)
    members = [unit for each in system.best_of or (system,) for unit in plan.of_system(each)]
    notes += _made_differently(runs_of(members, {}, store), store)
    scored = {record["run"] for records in own.values() for record in records.values()}
    modules = [module for name in own for module in metrics[name].modules]
    notes += _other_code("scored", {SCORES, *modules}, scored, store, provenance)
    notes += _other_code("counted", {COUNTS}, scored, store, provenance, but={SCORES, *modules})
    return list(dict.fromkeys(notes))


def _made_by_other_code(system: SystemSpec, units: Sequence[WorkUnit], store: Store, provenance: Record) -> list[str]:
    """Notes on all code that made a system's units, and what they are made of."""
    made = {store.outputs[unit.id].run for unit in units if unit.id in store.outputs}
    notes = _other_code("made", {MAKES, *system.own_modules}, made, store, provenance)
    for i, each in enumerate(system.inputs):
        notes += _made_by_other_code(each.system, [unit.inputs[i] for unit in units], store, provenance)
    return notes


def _made_differently(runs: Iterable[str], store: Store) -> list[str]:
    """A note if what computed was not the same for all of a row: another processor, precision or version of torch."""
    found = [(store.run(run)["machine"], store.run(run)["versions"]) for run in runs]
    kinds = sorted(
        {
            f"{machine['processor']} ({machine['instructions']}, {'bfloat16' if machine['bfloat16'] else 'float32'}, "
            f"torch {versions['torch']})"
            for machine, versions in found
        }
    )
    return [f"made on {' and on '.join(kinds)}"] if len(kinds) > 1 else []


def _other_code(
    verb: str, modules: set[str], runs: set[str], store: Store, provenance: Record, but: Iterable[str] = ()
) -> list[str]:
    """A note if ``modules`` or what they import, ``but`` for others and what those import, said something else in some of ``runs``.

    What cannot be read, or was not noted then, is taken for other code.
    """
    here, names = provenance["code"], closure(modules) - closure(but)
    codes = [store.run(run)["code"] for run in runs]
    others = sorted(
        name
        for name in names
        if any(here.get(name) in (UNKNOWN, None) or code.get(name) != here[name] for code in codes)
    )
    if not others:
        return []
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return [f"{verb} by other code of {others[0]}{more} than this; store=DIR makes it anew"]


def left_out(plan: Plan) -> Iterator[str]:
    """What of the data is not measured, or not there."""
    songs, copies = len(plan.manifest.tracks), len(plan.manifest.copies)
    if copies:
        yield f"Left out, as copies of others: {copies} of {songs} songs."
    if short_songs := songs - copies - len(plan.tracks):
        yield f"Left out, as they have too few whole chunks: {short_songs} of {songs} songs."
    if sharing := _sharing(plan.tracks):
        yield f"Not independent: {sharing} songs have a stem that another song has, too."
    if missing := sum(len(track.missing) for track in plan.tracks):
        yield f"The data lacks {missing} sources that it should have; they are taken as silence."
    absent = {stem: sum(stem not in track.stems for track in plan.tracks) for stem in STEMS}
    if any(absent.values()):
        counts = ", ".join(f"{stem} {count}" for stem, count in absent.items() if count)
        yield f"Songs without a file of a stem, which is silence there: {counts}."


def _sharing(tracks: Sequence[Track]) -> int:
    """How many tracks have an audible stem that another one has."""
    owners = Counter(
        sha256
        for track in tracks
        for sha256 in {stem.sha256 for stem in track.stems.values() if max(stem.levels, default=SILENT_DB) > SILENT_DB}
    )
    return sum(any(owners[stem.sha256] > 1 for stem in track.stems.values()) for track in tracks)


def require_labels(labels: Sequence[str]) -> None:
    """``BadInputError`` for two rows that a reader could not tell apart."""
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise BadInputError(f"two systems are called {twice[0]!r}; give one another name with systems.NAME.label=…")
