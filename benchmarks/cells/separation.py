"""From scores to a table: reads the store, computes nothing of audio."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.cells.found import Scores, invalidated_tracks, keys_of, run_digest, runs_of, scores_of, seconds_of
from benchmarks.cells.notes import left_out, notes_of, require_labels
from benchmarks.cells.reported import NOT_REPORTED, reported_rows
from benchmarks.cells.stats import FEWEST, TrackStatistics, holm, interval, sign_flip, signature
from benchmarks.metrics.scores import Metric, Pooling, WindowScores
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import Plan
from benchmarks.run.job import Job
from benchmarks.run.score import from_json
from benchmarks.store.journal import Record
from benchmarks.store.store import Store
from benchmarks.tables import wording
from benchmarks.tables.table import (
    COLUMNS,
    Group,
    Measured,
    MeasuredRow,
    Table,
    arrange,
)
from gmsdi import STEMS
from gmsdi.errors import BadInputError

INTERVALS: dict[Pooling, str] = {"window-mean": "studentised bootstrap", "track-median": "order statistics"}
"""What the intervals are, by how windows become a cell."""


@dataclass(frozen=True)
class ColumnGroup:
    """A group of a table's columns as its yaml names it: a metric of the config and one of its columns."""

    metric: str
    column: str
    title: str


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
