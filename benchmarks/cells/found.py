"""What the store holds of a row of a table: its scores, and where they are from."""

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.cells.stats import TrackStatistics
from benchmarks.identity import digest
from benchmarks.metrics.judges import Judge
from benchmarks.metrics.scores import Metric, WindowScores
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import Plan, WorkUnit, with_inputs
from benchmarks.run.score import from_json, score_key, to_json
from benchmarks.store.journal import Record
from benchmarks.store.store import Store
from benchmarks.tables.table import MeasuredRow

Scores = dict[str, dict[str, Record]]
"""The score records of one system: by metric, then by track."""


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


def runs_of(units: Sequence[WorkUnit], scores: Scores, store: Store) -> tuple[str, ...]:
    """The provenance of outputs, of what they are made of, and of their scores."""
    made = {store.outputs[unit].run for unit in with_inputs(units) if unit in store.outputs}
    return tuple(sorted(made | {record["run"] for records in scores.values() for record in records.values()}))


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
