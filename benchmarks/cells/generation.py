"""From findings to a table of generation: reads the store, computes distances of embeddings and nothing of audio.

A row is a node of ``systems``, which is a system for each task; a column is the mean over one task or several.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks.cells.found import (
    Scores,
    invalidated_tracks,
    keys_of,
    run_digest,
    runs_of,
    scores_of,
    seconds_of,
)
from benchmarks.cells.measures import (
    FEWEST,
    INTERVAL,
    Estimate,
    Floats,
    Measure,
    average,
    difference,
    interval,
    p_value,
    signature,
)
from benchmarks.cells.notes import left_out, notes_of, require_labels
from benchmarks.cells.reported import reported_rows
from benchmarks.cells.stats import holm
from benchmarks.config import build
from benchmarks.identity import digest
from benchmarks.metrics.judges import Judge
from benchmarks.metrics.kernel import Related
from benchmarks.notices import Advance, progress
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import Plan, WorkUnit
from benchmarks.store.journal import Record
from benchmarks.store.store import Store
from benchmarks.tables.table import Group, Measured, MeasuredRow, Table, arrange
from gmsdi.errors import BadInputError


@dataclass(frozen=True)
class Row:
    """A node of ``systems``: its systems by the names of their tasks, and what was found of them, by task, metric and track."""

    systems: dict[str, SystemSpec]
    findings: dict[str, Scores]

    @property
    def able(self) -> list[SystemSpec]:
        """Those of its systems that can do their tasks."""
        return [system for system in self.systems.values() if not system.lacks]

    @property
    def label(self) -> str:
        """What tables call it."""
        return next(iter(self.systems.values())).label

    @property
    def family(self) -> str:
        """The block of rows that it stands in."""
        return next(iter(self.systems.values())).family


@dataclass(frozen=True)
class Maker:
    """How the estimates of a table are made. ``measures`` are a metric's name each, and what is made of its findings."""

    plan: Plan
    store: Store
    measures: dict[str, tuple[str, Measure]]
    without: Floats  # [tracks, tracks], 1 but for the track that a replica lacks

    def estimate(self, row: Row, name: str, task: str) -> Estimate:
        """Of one system."""
        metric, measure = self.measures[name]
        if lacks := row.systems[task].lacks:
            return Estimate(None, reason=lacks)
        scores = row.findings[task][metric]
        present = [place for place, track in enumerate(self.plan.tracks) if track.name in scores]
        if len(present) < FEWEST:
            return Estimate(None, reason=f"{len(present)} songs are scored, which is too few")
        names = tuple(self.plan.tracks[place].name for place in present)
        excerpts = [scores[name]["excerpts"] for name in names]
        related = self._related(row.systems[task], names)
        found = measure(excerpts, self.without[:, present], self.store.read_embeddings, related)
        return replace(found, tracks=names if found.places is None else tuple(names[place] for place in found.places))

    def _related(self, system: SystemSpec, names: Sequence[str]) -> Related:
        """Which of the tracks borrowed stems from each other, ``[tracks, tracks]``."""
        places = {name: place for place, name in enumerate(names)}
        related = np.zeros((len(names), len(names)), dtype=np.bool_)
        for name, place in places.items():
            for unit in self.plan.units[system.id, name]:
                lenders = [places[each.track] for each in unit.elsewhere if each.track in places]
                related[place, lenders] = related[lenders, place] = True
        return related

    def estimates(self, row: Row, groups: Sequence[Mapping[str, Any]], advance: Advance) -> list[list[Estimate]]:
        """Of one row: of each group the columns, each the mean over its tasks."""
        of_task = {}
        for name, task in _wanted(groups):
            of_task[name, task] = self.estimate(row, name, task)
            advance()
        return [
            [average([of_task[group["measure"], task] for task in tasks]) for tasks in group["columns"].values()]
            for group in groups
        ]

    def counts(self, row: Row, tasks: Sequence[str]) -> tuple[int, int]:
        """How many tracks are scored, and how many there should be, of that task of a row that lacks most."""
        counts = [
            (
                min(len(found) for found in row.findings[task].values()),
                sum(bool(self.plan.units.get((row.systems[task].id, track.name))) for track in self.plan.tracks),
            )
            for task in tasks
            if not row.systems[task].lacks
        ]
        return min(counts, key=lambda pair: pair[0] - pair[1], default=(0, 0))


def make_table(
    config: dict[str, Any], plan: Plan, metrics: Mapping[str, Judge], store: Store, provenance: Record
) -> Table:
    """The table that ``config`` (a node of configs/table with ``given``) describes, from what the store holds of ``plan``."""
    measures = {
        name: (node["metric"], build(OmegaConf.create(node["of"]))) for name, node in config["measures"].items()
    }
    used = {name: measures[name] for name in dict.fromkeys(group["measure"] for group in config["groups"])}
    for name, (metric, _) in used.items():
        if metric not in metrics:
            raise BadInputError(f"table {config['name']}: {name} needs metric {metric!r}; add metric=[{metric}]")
    shown = {metric: metrics[metric] for metric, _ in used.values()}
    rows = _rows(plan, shown, store)
    count = len(plan.tracks)
    maker = Maker(plan, store, used, 1 - np.eye(count))
    with progress("comparing distributions", len(rows) * len(_wanted(config["groups"]))) as advance:
        estimates = {name: maker.estimates(row, config["groups"], advance) for name, row in rows.items()}
    require_labels([row.label for row in rows.values()])
    baseline = config["baseline"] if config["baseline"] in rows else None
    measured = [
        MeasuredRow(
            name=name,
            label=row.label,
            family=row.family,
            system=digest([system.id for system in row.systems.values()]),
            cells=tuple(
                _cells(maker, row, group, found, estimates[baseline][g] if baseline not in (None, name) else None)
                for g, (group, found) in enumerate(zip(config["groups"], estimates[name], strict=True))
            ),
            tracks=tracks,
            expected=expected,
            units=tuple(unit.id for unit in units),
            notes=_notes(row, plan, shown, store, provenance),
            scores=tuple(key for found in row.findings.values() for key in keys_of(found)),
            runs=tuple(sorted({run for found in row.findings.values() for run in runs_of(units, found, store)})),
            invalidated=max(len(invalidated_tracks(system, plan, store)) for system in row.systems.values()),
            seconds=seconds_of(units, store),
        )
        for name, row in rows.items()
        for tracks, expected in [maker.counts(row, list(row.systems))]
        for units in [list(_scored_units(row, plan))]
    ]
    groups = tuple(
        Group(
            group["title"],
            _signature(group, used, metrics),
            tuple(group["columns"]),
            sums_up(group),
            used[group["measure"]][1].better,
        )
        for group in config["groups"]
    )
    return Table(
        name=config["name"],
        title=config["title"],
        dataset=f"{plan.manifest.title} {plan.manifest.split}",
        dataset_digest=plan.manifest.digest,
        songs=count,
        protocol=plan.protocol.describe(plan.manifest.rate),
        groups=groups,
        rows=arrange(measured, groups),
        baseline=baseline or "",
        floor="",
        caption=tuple(_caption(config, plan, rows, estimates)),
        reported=reported_rows(
            config["reported"], [(group["measure"], list(group["columns"])) for group in config["groups"]]
        )
        if config["reported"]
        else None,
        provenance=provenance,
        statistics=signature(),
        seed=plan.seed,
        run_digest=run_digest(measured, plan, [*(group.signature for group in groups), signature()], store),
        pieces=used[config["groups"][-1]["measure"]][1].pieces,
    )


def _wanted(groups: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The measures and tasks of all columns, each pair once: groups share them."""
    pairs = ((group["measure"], task) for group in groups for tasks in group["columns"].values() for task in tasks)
    return list(dict.fromkeys(pairs))


def _signature(
    group: Mapping[str, Any], measures: Mapping[str, tuple[str, Measure]], metrics: Mapping[str, Judge]
) -> str:
    metric, measure = measures[group["measure"]]
    return measure.full_signature(metrics[metric])


def _rows(plan: Plan, metrics: Mapping[str, Judge], store: Store) -> dict[str, Row]:
    """By the names of the nodes, in their order."""
    rows: dict[str, Row] = {}
    for system in plan.systems:
        assert system.task is not None
        row = rows.setdefault(system.row, Row({}, {}))
        row.systems[system.task.name] = system
        row.findings[system.task.name] = scores_of(system, plan, metrics, store)
    return rows


def _scored_units(row: Row, plan: Plan) -> Iterator[WorkUnit]:
    for task, system in row.systems.items():
        scored = {track for found in row.findings[task].values() for track in found}
        yield from (unit for unit in plan.of_system(system) if unit.excerpt.track in scored)


def _notes(row: Row, plan: Plan, metrics: Mapping[str, Judge], store: Store, provenance: Record) -> tuple[str, ...]:
    """Those of all its systems, each once."""
    each = [
        notes_of(system, row.findings[task], plan, metrics, store, provenance)
        for task, system in row.systems.items()
        if not system.lacks
    ]
    return tuple(dict.fromkeys(note for notes in each for note in notes))


def _cells(
    maker: Maker, row: Row, group: Mapping[str, Any], found: Sequence[Estimate], against: Sequence[Estimate] | None
) -> tuple[Measured, ...]:
    """The cells of a row under a group; tests are Holm-corrected over its columns, without one that sums the others up."""
    p = np.array(
        [p_value(one, other) for one, other in zip(found, against, strict=True)] if against else [np.nan] * len(found)
    )
    columns = slice(len(p) - 1 if sums_up(group) else None)
    p[columns] = holm(p[columns])
    cells = []
    for estimate, tasks, chance in zip(found, group["columns"].values(), p.tolist(), strict=True):
        tracks, expected = maker.counts(row, tasks)
        low, high = interval(estimate, maker.measures[group["measure"]][1].least)
        chance = chance if math.isfinite(chance) else None
        cells.append(
            Measured(estimate.value, low, high, tracks, expected, estimate.count, chance, reason=estimate.reason)
        )
    return tuple(cells)


def sums_up(group: Mapping[str, Any]) -> bool:
    """Whether the last column of a group is the mean over the tasks of all others."""
    *others, last = group["columns"].values()
    return len(last) > 1 and set(last) == {task for tasks in others for task in tasks}


def _caption(
    config: dict[str, Any], plan: Plan, rows: Mapping[str, Row], estimates: Mapping[str, list[list[Estimate]]]
) -> Iterator[str]:
    excerpts = {unit.excerpt.id for units in plan.units.values() for unit in units}
    yield (
        f"Measured on {plan.manifest.title} {plan.manifest.split}: {len(plan.tracks)} songs, {len(excerpts)} excerpts; "
        f"{plan.protocol.describe(plan.manifest.rate)}."
    )
    yield from config["reading"]
    yield f"Intervals: 95 %, jackknife over songs with Student's t; none below {INTERVAL} songs."
    if config["baseline"] in rows:
        yield "Tests: differences over their jackknife error against Student's t, Holm-corrected over the columns of a group."
    notes = sorted({each.note for of_row in estimates.values() for group in of_row for each in group if each.note})
    yield from (f"{note[0].upper()}{note[1:]}." for note in notes)
    yield from left_out(plan)
    if networks := dict.fromkeys(system.about for row in rows.values() for system in row.able if system.about):
        yield f"Networks: {'; '.join(networks)}."
    if contrast := config.get("contrast"):
        yield from _contrast(contrast, config["groups"][-1], rows, estimates)


def _contrast(
    contrast: Mapping[str, str],
    group: Mapping[str, Any],
    rows: Mapping[str, Row],
    estimates: Mapping[str, list[list[Estimate]]],
) -> Iterator[str]:
    """By how much two rows differ in what sums the last group up."""
    one, other = contrast["row"], contrast["against"]
    found = difference(estimates[one][-1][-1], estimates[other][-1][-1]) if one in rows and other in rows else None
    if found is not None:
        low, high = interval(found)
        within = "" if low is None else f" [{low:+.2f}, {high:+.2f}]"
        what = f"{group['title']}, {list(group['columns'])[-1]}"
        yield f"{what}, {rows[one].label} less {rows[other].label}: {found.value:+.2f}{within}."
