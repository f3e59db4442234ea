"""From outputs to scores: a track's excerpts are checked against their hashes, joined, and measured as a whole."""

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
from benchmarks.plan.units import WorkUnit
from benchmarks.run.job import Job
from benchmarks.store.journal import Record
from benchmarks.store.store import Store
from gmsdi import STEMS, audio

NOT_SEPARATED = "the system does not separate this stem"


@dataclass(frozen=True)
class ScoreTask:
    """A score that can be made: one metric of one track through one system, all of whose units are done."""

    key: str
    metric: Metric | Judge
    track: Track
    units: tuple[WorkUnit, ...]


def score_key(metric: Metric | Judge, units: Sequence[WorkUnit], store: Store) -> str | None:
    """What a score is stored under: a hash of the metric's signature, the excerpts and the outputs. None while a unit is not done."""
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
    """Whether the store has a score, and the embeddings that it refers to."""
    return key in store.scores and store.has_embeddings(store.scores[key])


def score(system: SystemSpec, job: Job) -> bool:
    """Score those tracks of ``system`` that have no score yet and whose audio is complete. Memory does not grow with the tracks.

    Returns whether there were any. Raises ``IntegrityError`` for an output or a reference that is not what was recorded.
    """
    store = job.store

    def pending(tasks: list[ScoreTask]) -> list[ScoreTask]:
        store.refresh()
        return [task for task in tasks if not is_scored(task.key, store) and is_there(task)]

    def is_there(task: ScoreTask) -> bool:
        return all(store.has_output(unit.id) for unit in task.units)

    missing = pending(list(_tasks(system, job)))
    workers = cores()
    with (
        store.leases() as leases,
        progress(f"scoring: {system.name}", len(missing)) as advance,
        ThreadPoolExecutor(workers) as pool,
    ):
        for batch in leases.share(missing, lambda task: f"score-{task.key}", pending, 4 * workers):
            store.record_scores(pool.map(lambda task: _score(task, job), batch))
            advance(len(batch))
    return bool(missing)


def _tasks(system: SystemSpec, job: Job) -> Iterator[ScoreTask]:
    for track in job.plan.tracks:
        units = job.plan.units.get((system.id, track.name), ())
        for metric in job.metrics if units else ():
            if (key := score_key(metric, units, job.store)) is not None:
                yield ScoreTask(key, metric, track, units)


def _score(task: ScoreTask, job: Job) -> Record:
    """The record of a score: what it is of, and what was measured, which differs between separation and generation."""
    measure = _separated if isinstance(task.metric, Metric) else _generated
    return {
        "key": task.key,
        "metric": task.metric.signature,
        "signatures": task.metric.columns,
        "system": task.units[0].system.id,
        "track": task.track.name,
        "units": [unit.id for unit in task.units],
        "outputs": [job.store.outputs[unit.id].sha256 for unit in task.units],
        **measure(task, job.dataset, job.store),
        "run": job.run,
    }


def _separated(task: ScoreTask, dataset: Dataset, store: Store) -> Record:
    """What is measured of a track's excerpts, joined, against its true stems."""
    references = dataset.stems(task.track, verify=True)
    references = np.concatenate([_excerpt(references, unit) for unit in task.units], axis=1)
    estimates = np.concatenate([store.read_output(unit) for unit in task.units], axis=1)
    assert isinstance(task.metric, Metric)
    columns = task.metric(estimates, references, dataset.manifest.rate)
    stems = task.units[0].system.stems
    defined = {name: to_json(_defined(scores, stems)) for name, scores in columns.items()}
    return {"pooling": task.metric.pooling, "columns": defined}


def _generated(task: ScoreTask, dataset: Dataset, store: Store) -> Record:
    """What is measured of each excerpt by itself."""
    assert isinstance(task.metric, Judge)
    wanted = task.units[0].system.task
    assert wanted is not None
    found = []
    for unit in task.units:
        real = dataset.stretch(task.track, unit.excerpt.start, unit.excerpt.length)
        piece = Piece(wanted, store.read_output(unit), real, dataset.manifest.rate)
        found.append(task.metric.judge(piece, store.embed))
    return {"stems": list(wanted.stems), "given": list(wanted.given), "excerpts": found}


def _defined(scores: WindowScores, stems: tuple[str, ...]) -> WindowScores:
    """Scores without the stems that the system does not separate, which it outputs as zeros."""
    if stems == STEMS:
        return scores
    absent = np.array([stem not in stems for stem in STEMS])[:, None]
    return WindowScores(np.where(absent, np.nan, scores.values), np.where(absent, NOT_SEPARATED, scores.reasons))


def _excerpt(stems: audio.Samples, unit: WorkUnit) -> audio.Samples:
    return stems[:, unit.excerpt.start : unit.excerpt.start + unit.excerpt.length]


def to_json(scores: WindowScores) -> Record:
    """Values by stem, null where undefined, and by reason the indices of the undefined ones in the flattened values."""
    flat = scores.reasons.ravel()
    return {
        "values": [[None if np.isnan(value) else value for value in row] for row in scores.values.tolist()],
        "undefined": {str(reason): np.flatnonzero(flat == reason).tolist() for reason in np.unique(flat) if reason},
    }


def from_json(record: Record) -> WindowScores:
    """The scores of a column of a score record: the inverse of ``to_json``."""
    values = np.array(record["values"], dtype=np.float64)
    reasons = np.full(values.size, "", dtype=object)
    for reason, places in record["undefined"].items():
        reasons[places] = reason
    return WindowScores(values, reasons.reshape(values.shape).astype(str))
