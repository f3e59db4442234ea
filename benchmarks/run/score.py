"""From outputs to scores: the chunks of a track are put together, checked against their hashes, and measured whole."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.data.dataset import Dataset
from benchmarks.data.manifest import Track
from benchmarks.device import cores
from benchmarks.identity import digest
from benchmarks.metrics.judges import Judge, Piece
from benchmarks.metrics.scores import Metric, WindowScores
from benchmarks.notices import progress
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import Plan, WorkUnit
from benchmarks.store.journal import Record
from benchmarks.store.store import Store
from gmsdi import STEMS, audio

NOT_SEPARATED = "the system does not separate this stem"


@dataclass(frozen=True)
class ScoreTask:
    """One metric of one track through one system: all the track's units are done."""

    key: str
    metric: Metric | Judge
    track: Track
    units: tuple[WorkUnit, ...]


def score_key(metric: Metric | Judge, units: Sequence[WorkUnit], store: Store) -> str | None:
    """The address of a score: the metric's signature, the excerpts' content and the outputs' hashes. None while a unit is not done."""
    outputs = [store.outputs.get(unit.id) for unit in units]
    if any(output is None for output in outputs):
        return None
    measured: list[Any] = [
        metric.signature,
        [unit.excerpt.id for unit in units],
        [output.sha256 for output in outputs if output],
    ]
    stems = units[0].system.stems
    task = units[0].system.task
    if task:
        return digest([*measured, task.stems, task.given])
    return digest(measured if stems == STEMS else [*measured, stems])


def is_scored(key: str | None, store: Store) -> bool:
    """Whether the store has a score, and all that it speaks of."""
    return key in store.scores and store.has_embeddings(store.scores[key])


def score(
    system: SystemSpec, plan: Plan, metrics: Sequence[Metric | Judge], dataset: Dataset, store: Store, run: str
) -> None:
    """Score every track of ``system`` whose audio is all there and that has no score yet. Memory does not grow with the tracks.

    Raises ``IntegrityError`` for an output or a reference that is not what was recorded.
    """

    def pending(tasks: list[ScoreTask]) -> list[ScoreTask]:
        store.refresh()
        return [task for task in tasks if not is_scored(task.key, store) and is_there(task)]

    def is_there(task: ScoreTask) -> bool:
        return all(store.has_output(unit.id) for unit in task.units)

    missing = pending(list(_tasks(system, plan, metrics, store)))
    workers = cores()
    with (
        store.leases() as leases,
        progress(f"scoring: {system.name}", len(missing)) as advance,
        ThreadPoolExecutor(workers) as pool,
    ):
        for batch in leases.share(missing, lambda task: f"score-{task.key}", pending, 4 * workers):
            store.record_scores(pool.map(lambda task: _score(task, dataset, store, run), batch))
            advance(len(batch))


def _tasks(system: SystemSpec, plan: Plan, metrics: Sequence[Metric | Judge], store: Store) -> Iterator[ScoreTask]:
    for track in plan.tracks:
        units = plan.units.get((system.id, track.name), ())
        for metric in metrics if units else ():
            if (key := score_key(metric, units, store)) is not None:
                yield ScoreTask(key, metric, track, units)


def _score(task: ScoreTask, dataset: Dataset, store: Store, run: str) -> Record:
    """The record of a score. What it holds beside what it is of depends on whether stems were separated or generated."""
    measure = _separated if isinstance(task.metric, Metric) else _generated
    return {
        "key": task.key,
        "metric": task.metric.signature,
        "system": task.units[0].system.id,
        "track": task.track.name,
        "units": [unit.id for unit in task.units],
        "outputs": [store.outputs[unit.id].sha256 for unit in task.units],
        **measure(task, dataset, store),
        "run": run,
    }


def _separated(task: ScoreTask, dataset: Dataset, store: Store) -> Record:
    """A track's excerpts put together, measured against its true stems."""
    references = dataset.stems(task.track, verify=True)
    references = np.concatenate([_excerpt(references, unit) for unit in task.units], axis=1)
    estimates = np.concatenate([store.read_output(unit) for unit in task.units], axis=1)
    assert isinstance(task.metric, Metric)
    columns = task.metric(estimates, references, dataset.manifest.rate)
    stems = task.units[0].system.stems
    return {"columns": {name: _to_json(_defined(scores, stems)) for name, scores in columns.items()}}


def _generated(task: ScoreTask, dataset: Dataset, store: Store) -> Record:
    """What is found of each excerpt by itself."""
    assert isinstance(task.metric, Judge)
    found = []
    for unit in task.units:
        assert unit.system.task is not None
        real = dataset.stretch(task.track, unit.excerpt.start, unit.excerpt.length)
        piece = Piece(unit.system.task, store.read_output(unit), real, dataset.manifest.rate)
        found.append(task.metric.judge(piece, store.embed))
    return {"excerpts": found}


def _defined(scores: WindowScores, stems: tuple[str, ...]) -> WindowScores:
    """Scores of the stems that the system separates; those of others would be of zeros that it never claimed."""
    if stems == STEMS:
        return scores
    absent = np.array([stem not in stems for stem in STEMS])[:, None]
    return WindowScores(np.where(absent, np.nan, scores.values), np.where(absent, NOT_SEPARATED, scores.reasons))


def _excerpt(stems: audio.Samples, unit: WorkUnit) -> audio.Samples:
    return stems[:, unit.excerpt.start : unit.excerpt.start + unit.excerpt.length]


def _to_json(scores: WindowScores) -> Record:
    """Values by stem with null where undefined, and under each reason the flat indices of the values that it holds for."""
    flat = scores.reasons.ravel()
    return {
        "values": [[None if np.isnan(value) else value for value in row] for row in scores.values.tolist()],
        "undefined": {str(reason): np.flatnonzero(flat == reason).tolist() for reason in np.unique(flat) if reason},
    }


def from_json(record: Record) -> WindowScores:
    """The inverse of what a score record holds of a column."""
    values = np.array(record["values"], dtype=np.float64)
    reasons = np.full(values.size, "", dtype=object)
    for reason, places in record["undefined"].items():
        reasons[places] = reason
    return WindowScores(values, reasons.reshape(values.shape).astype(str))
