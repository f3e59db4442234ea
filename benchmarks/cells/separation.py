"""From scores to a table: reads the store, computes nothing of audio."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import yaml

from benchmarks.cells.stats import FEWEST, TrackStatistics, holm, interval, sign_flip, signature
from benchmarks.config import SHIPPED
from benchmarks.data.manifest import SILENT_DB, Track
from benchmarks.identity import digest
from benchmarks.metrics.judges import Judge
from benchmarks.metrics.scores import Metric, Pooling, WindowScores
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import Plan, WorkUnit, with_inputs
from benchmarks.run.job import Job
from benchmarks.run.score import from_json, score_key, to_json
from benchmarks.sources import UNKNOWN, closure
from benchmarks.store.journal import Record
from benchmarks.store.provenance import COUNTS, MAKES, SCORES
from benchmarks.store.store import Store
from benchmarks.tables import wording
from benchmarks.tables.table import (
    COLUMNS,
    Group,
    Measured,
    MeasuredRow,
    Reported,
    ReportedRow,
    ReportedSection,
    Table,
    arrange,
)
from gmsdi import STEMS
from gmsdi.errors import BadInputError, near

INTERVALS: dict[Pooling, str] = {"window-mean": "studentised bootstrap", "track-median": "order statistics"}
"""What the intervals are, by how windows become a cell."""


@dataclass(frozen=True)
class ColumnGroup:
    """A group of a table's columns as its yaml names it: a metric of the config and one of its columns."""

    metric: str
    column: str
    title: str


Scores = dict[str, dict[str, Record]]
"""The score records of one system: by metric, then by track."""


def make_table(
    config: dict[str, Any], plan: Plan, metrics: dict[str, Metric], store: Store, provenance: Record
) -> Table:
    """The table that ``config`` (a node of configs/table) describes, from what the store holds of ``plan``."""
    groups = [ColumnGroup(**group) for group in config["groups"]]
    for group in groups:
        if group.metric not in metrics or group.column not in metrics[group.metric].columns:
            raise BadInputError(
                f"table {config['name']}: needs column {group.column!r} of metric {group.metric!r}; add metric=[{group.metric}]"
            )
    shown = {group.metric: metrics[group.metric] for group in groups}  # what else is configured says nothing of a row
    scores = {system.id: scores_of(system, plan, shown, store) for system in plan.systems}
    named = {system.name: system for system in plan.systems}
    baseline, floor = named.get(config["baseline"]), named.get(config.get("floor", ""))
    columns = tuple(Group(group.title, metrics[group.metric].columns[group.column]) for group in groups)
    require_labels([system.label for system in plan.systems])
    rows = [_row(system, baseline, floor, groups, plan, metrics, scores, store, provenance) for system in plan.systems]
    pooling = metrics[groups[0].metric].pooling
    wanted = config["reported"]
    reported = reported_rows(wanted, [(group.signature, COLUMNS) for group in columns]) if wanted else None
    return Table(
        name=config["name"],
        title=", ".join([config["title"], *dict.fromkeys(metrics[group.metric].title for group in groups)]),
        dataset=f"{plan.manifest.title} {plan.manifest.split}",
        dataset_digest=plan.manifest.digest,
        songs=len(plan.tracks),
        protocol=plan.protocol.describe(plan.manifest.rate),
        groups=columns,
        rows=arrange(rows, columns),
        baseline=baseline.name if baseline else "",
        floor=floor.name if floor else "",
        caption=(
            *_caption(plan, config["baseline"], baseline, floor, pooling),
            *([NOT_REPORTED] if wanted and not reported else []),
        ),
        reported=reported,
        provenance=provenance,
        statistics=signature(pooling),
        seed=plan.seed,
        run_digest=run_digest(rows, plan, [*(group.signature for group in columns), signature(pooling)], store),
    )


def scores_of(system: SystemSpec, plan: Plan, metrics: Mapping[str, Metric | Judge], store: Store) -> Scores:
    """The score records of a system, of the tracks that have them."""
    if system.best_of:
        return _best_of([scores_of(member, plan, metrics, store) for member in system.best_of], metrics)
    found: Scores = {name: {} for name in metrics}
    for track in plan.tracks:
        for name, metric in metrics.items():
            units = plan.units.get((system.id, track.name), ())
            key = score_key(metric, units, store) if units else None
            if key in store.scores and not any(map(store.is_invalidated, units)):
                found[name][track.name] = store.scores[key]
    return found


def invalidated_tracks(system: SystemSpec, plan: Plan, store: Store) -> dict[str, Record]:
    """The tracks of which a person has declared an output worthless, with the record that says so."""
    members = system.best_of or (system,)
    found = ((unit.excerpt.track, store.is_invalidated(unit)) for each in members for unit in plan.of_system(each))
    return {track: record for track, record in found if record}


def run_digest(rows: Sequence[MeasuredRow], plan: Plan, signatures: Sequence[str], store: Store) -> str:
    """What a table is a result of: of each row the excerpts and outputs, and how they were measured. Not where, when, or by whom."""
    units = plan.everything()
    content = {
        row.name: sorted([units[unit].excerpt.id, store.outputs[unit].sha256] for unit in row.units) for row in rows
    }
    return digest([content, list(signatures)])


def runs_of(units: Sequence[WorkUnit], scores: Scores, store: Store) -> tuple[str, ...]:
    """The provenance of outputs, of what they are made of, and of their scores."""
    made = {store.outputs[unit].run for unit in with_inputs(units) if unit in store.outputs}
    return tuple(sorted(made | {record["run"] for records in scores.values() for record in records.values()}))


def _best_of(members: Sequence[Scores], metrics: Mapping[str, Metric | Judge]) -> Scores:
    """Records of the tracks that all ``members`` have: in each column each stem of that member whose cell is the best one."""
    found: Scores = {}
    for name, metric in metrics.items():
        assert isinstance(metric, Metric)
        tracks = sorted(set.intersection(*(set(member[name]) for member in members)))
        columns = {column: _best_stems(column, metric, members, name, tracks) for column in metric.columns if tracks}
        found[name] = {
            track: {
                **members[0][name][track],
                "columns": {column: to_json(scores[place]) for column, scores in columns.items()},
                "made of": [member[name][track] for member in members],
            }
            for place, track in enumerate(tracks)
        }
    return found


def _best_stems(
    column: str, metric: Metric, members: Sequence[Scores], name: str, tracks: Sequence[str]
) -> list[WindowScores]:
    """The scores of each track, stem by stem of the member whose cell of it is the highest."""
    scores = [[from_json(member[name][track]["columns"][column]) for track in tracks] for member in members]
    cells = np.array([TrackStatistics.of(each, metric.pooling).cells()[:-1] for each in scores])  # [M, K]
    best = np.nan_to_num(cells, nan=-np.inf).argmax(axis=0)  # [K]
    return [
        WindowScores(
            np.stack([of_track[m].values[k] for k, m in enumerate(best)]),
            np.stack([of_track[m].reasons[k] for k, m in enumerate(best)]),
        )
        for of_track in zip(*scores, strict=True)
    ]


def headline(system: SystemSpec, job: Job) -> str:
    """The means of the stems, as a table will show them, in one line: enough to see early whether a system works at all.

    Empty if nothing is scored, or if the metrics are not of separation.
    """
    metrics = {metric.signature: metric for metric in job.metrics if isinstance(metric, Metric)}
    means = []
    for name, scores in scores_of(system, job.plan, metrics, job.store).items():
        for column in metrics[name].columns if scores else ():
            tracks = [from_json(record["columns"][column]) for record in scores.values()]
            mean = TrackStatistics.of(tracks, metrics[name].pooling).cells()[-1]
            means.append(f"{column} {mean:.2f} dB" if np.isfinite(mean) else f"{column} undefined")
    return f"{system.name}: {', '.join(means)}, mean of the stems" if means else ""


def _row(
    system: SystemSpec,
    baseline: SystemSpec | None,
    floor: SystemSpec | None,
    groups: Sequence[ColumnGroup],
    plan: Plan,
    metrics: dict[str, Metric],
    scores: dict[str, Scores],
    store: Store,
    provenance: Record,
) -> MeasuredRow:
    own = scores[system.id]
    against, below = (scores[other.id] if other and other.id != system.id else None for other in (baseline, floor))
    expected = 0 if system.lacks else len(plan.tracks)
    cells = tuple(_cells(group, metrics[group.metric], own, against, below, expected, system.lacks) for group in groups)
    scored = {track for records in own.values() for track in records}
    units = [
        unit for each in system.best_of or (system,) for unit in plan.of_system(each) if unit.excerpt.track in scored
    ]
    return MeasuredRow(
        name=system.name,
        label=system.label,
        family=system.family,
        system=system.id,
        cells=cells,
        tracks=min(len(records) for records in own.values()),
        expected=expected,
        units=tuple(unit.id for unit in units),
        notes=tuple(notes_of(system, own, plan, metrics, store, provenance)),
        scores=keys_of(own),
        runs=runs_of(units, own, store),
        invalidated=len(invalidated_tracks(system, plan, store)),
        seconds=seconds_of(units, store),
    )


def keys_of(scores: Scores) -> tuple[str, ...]:
    """The keys of score records, metric by metric."""
    return tuple(
        each["key"]
        for records in scores.values()
        for record in records.values()
        for each in record.get("made of", [record])
    )


def seconds_of(units: Sequence[WorkUnit], store: Store) -> float | None:
    """What a unit took on average; of one that is made of others, what those took together."""
    seconds = [store.outputs[unit.id].seconds for unit in units if unit.id in store.outputs]
    return round(sum(seconds) / len(seconds), 3) if seconds else None


def _cells(
    group: ColumnGroup,
    metric: Metric,
    own: Scores,
    against: Scores | None,
    below: Scores | None,
    expected: int,
    lacks: str,
) -> tuple[Measured, ...]:
    """The cells of one row under one group: the stems and their mean.

    They are tested to differ from those of ``against``, the baseline, and to be better than those of ``below``, the floor.
    """
    tracks = sorted(own[group.metric])
    if not tracks:
        nothing = Measured(None, None, None, 0, expected, 0, reason=lacks or "nothing is scored yet")
        return (nothing,) * len(COLUMNS)
    columns = _columns(own, group, tracks)
    statistics = TrackStatistics.of(columns, metric.pooling)
    values = statistics.cells()
    low, high = interval(statistics)
    p = _p_values(group, metric, own, against, "differs")
    p_floor = _p_values(group, metric, own, below, "greater")
    windows = sum(np.isfinite(track.values).sum(axis=1) for track in columns)  # [K]
    windows = np.append(windows, np.sum(windows))
    return tuple(
        Measured(
            value=float(values[c]) if np.isfinite(values[c]) else None,
            low=float(low[c]) if np.isfinite(low[c]) else None,
            high=float(high[c]) if np.isfinite(high[c]) else None,
            tracks=len(tracks),
            expected=expected,
            windows=int(windows[c]),
            p=float(p[c]) if np.isfinite(p[c]) else None,
            p_floor=float(p_floor[c]) if np.isfinite(p_floor[c]) else None,
            reason="" if np.isfinite(values[c]) else _reason(columns, c),
        )
        for c in range(len(COLUMNS))
    )


def _columns(scores: Scores, group: ColumnGroup, tracks: Sequence[str]) -> list[WindowScores]:
    return [from_json(scores[group.metric][track]["columns"][group.column]) for track in tracks]


def _p_values(
    group: ColumnGroup, metric: Metric, own: Scores, against: Scores | None, alternative: Literal["differs", "greater"]
) -> np.ndarray:
    """Of the paired test against another row on the tracks that both have: Holm over the stems, the mean on its own. ``[K + 1]``."""
    common = sorted(own[group.metric].keys() & against[group.metric].keys()) if against else []
    if against is None or not common:
        return np.full(len(COLUMNS), np.nan)
    ours, theirs = (TrackStatistics.of(_columns(scores, group, common), metric.pooling) for scores in (own, against))
    p = sign_flip(ours, theirs, alternative)
    return np.append(holm(p[:-1]), p[-1])


def _reason(columns: Sequence[WindowScores], c: int) -> str:
    """Why a stem, or the mean of all, is undefined: what is said of its own windows."""
    rows = slice(None) if c == len(STEMS) else slice(c, c + 1)
    reasons = {str(reason) for track in columns for reason in np.unique(track.reasons[rows]) if reason}
    return "; ".join(sorted(reasons)) or "no window counts"


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


def require_labels(labels: Sequence[str]) -> None:
    """``BadInputError`` for two rows that a reader could not tell apart."""
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise BadInputError(f"two systems are called {twice[0]!r}; give one another name with systems.NAME.label=…")


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


def _caption(
    plan: Plan, wanted: str, baseline: SystemSpec | None, floor: SystemSpec | None, pooling: Pooling
) -> tuple[str, ...]:
    chunks = sum(len(units) for (system, _), units in plan.units.items() if system == plan.systems[0].id)
    sentences = [
        f"Measured on {plan.manifest.title} {plan.manifest.split}: {len(plan.tracks)} songs, {chunks} chunks; "
        f"{plan.protocol.describe(plan.manifest.rate)}.",
        f"Intervals: 95 %, {INTERVALS[pooling]} over songs; none below {FEWEST} songs.",
    ]
    if networks := dict.fromkeys(system.about for system in plan.systems if system.about):
        sentences.append(f"Networks: {'; '.join(networks)}.")
    songs = len(plan.tracks)
    least = len(STEMS) * (1 if floor else 2) / 2**songs  # that p of a stem can be: one-sided against the floor
    if baseline is None:
        sentences.append(f"No tests that a row differs: the baseline, {wanted}, is not among the systems.")
    if baseline or floor:
        sentences.append(
            "Tests: paired sign flips over songs, Holm-corrected over the stems."
            if least < wording.SIGNIFICANT
            else f"No test of a stem can reach p < {wording.SIGNIFICANT} on {songs} songs (sign flips, Holm-corrected)."
        )
    return (*sentences, *left_out(plan))


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


REPORTED = SHIPPED / "results" / "reported"

NOT_REPORTED = "Published figures are not shown: they are of another measure than any group here."


def reported_rows(name: str, groups: Sequence[tuple[str, Sequence[str]]]) -> ReportedSection | None:
    """The literature's rows from results/reported, placed under the first of ``groups`` whose measure and columns they have.

    ``groups`` are, for each of the table's, what it measures, as those files have it, and the names of its columns. None if no group
    measures that.
    """
    path = REPORTED / f"{name}.yaml"
    if not path.is_file():
        raise BadInputError(
            f"reported={name}: there is no {path}{near(name, sorted(file.stem for file in REPORTED.glob('*.yaml')))}"
        )
    content = yaml.safe_load(path.read_text())
    figures = [{key for key in row if key not in ("label", "citation", "known")} for row in content["rows"]]
    fitting = [
        place
        for place, (measure, columns) in enumerate(groups)
        if measure == content["measure"] and set().union(*figures) <= set(columns)
    ]
    if not fitting:
        return None
    return ReportedSection(
        title=f"Reported on {content['dataset']} {content['split']}, not measured here",
        rows=tuple(
            ReportedRow(
                label=row["label"],
                group=fitting[0],
                cells=tuple(
                    Reported(row[column], row["citation"], row["known"]) if column in row else None
                    for column in groups[fitting[0]][1]
                ),
            )
            for row in content["rows"]
        ),
    )
