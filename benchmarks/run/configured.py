"""From a composed config to the job that it asks for, and that job carried out."""

from dataclasses import replace
from typing import Any, cast, get_args

from omegaconf import DictConfig, OmegaConf

from benchmarks.config import build, require_count, show
from benchmarks.data.dataset import Dataset
from benchmarks.device import chosen
from benchmarks.metrics.judges import Judge
from benchmarks.metrics.scores import Metric
from benchmarks.notices import warn
from benchmarks.plan.systems import resolve_all
from benchmarks.plan.tasks import Task, tasks_of
from benchmarks.plan.units import make_plan
from benchmarks.run.execute import Failures
from benchmarks.run.job import Headline, Job
from benchmarks.run.launch import Launcher
from benchmarks.store.provenance import provenance
from benchmarks.store.store import KeepAudio, Store, open_store
from gmsdi.errors import BadInputError, near


def carry_out(config: DictConfig, headline: Headline | None = None) -> tuple[Job, Failures | None]:
    """Do what a config asks for and its store lacks; no failures are known where it has only been handed over."""
    launcher: Launcher = build(config.launcher)
    job = replace(job_of(config, open_store(config.store)), headline=headline, config=show(config))
    job = replace(job, run=job.store.record_run(provenance(chosen(job.device), job.modules)))
    for system in job.plan.systems:
        if system.lacks and not system.task:  # what a generator cannot do is usual, and said in its cells
            warn(f"{system.name} {system.lacks}; its row stays empty")
    failures = launcher.run(job)
    job.store.compact()
    return job, failures


def job_of(config: DictConfig, store: Store) -> Job:
    """What a config asks for, planned, on a store."""
    keep_audio = str(config.keep_audio).lower()
    if keep_audio not in get_args(KeepAudio):
        raise BadInputError(f"keep_audio={config.keep_audio}: choose one of {', '.join(get_args(KeepAudio))}")
    if not config.systems or not config.metrics:
        raise BadInputError("there is nothing to do: give at least one system=[…] and one metric=[…]")
    require_count("batch_size", config.batch_size)
    tasks = tasks_asked(config)
    systems = resolve_all(config.systems, tasks)
    metrics: tuple[Metric | Judge, ...] = tuple(build(metric) for metric in config.metrics.values())
    for name, metric in zip(config.metrics, metrics, strict=True):
        if isinstance(metric, Judge) != bool(tasks):
            use = "separation" if tasks else "generation"
            raise BadInputError(f"metric={name} is for {use}, which table={config.table.name} is not")
    dataset = dataset_of(config)
    plan = make_plan(dataset.manifest, build(config.protocol), systems, config.seed)
    seconds = plan.protocol.chunk / plan.manifest.rate
    for name, metric in zip(config.metrics, metrics, strict=True):
        if isinstance(metric, Judge) and seconds < metric.shortest:
            raise BadInputError(
                f"protocol.chunk={plan.protocol.chunk}: {seconds:.2f} s are too short for metric={name}, "
                f"which needs {metric.shortest:.2f} s"
            )
    return Job(plan, dataset, metrics, store, config.batch_size, cast(KeepAudio, keep_audio), config.device)


def dataset_of(config: DictConfig) -> Dataset:
    """The split that a config names, prepared."""
    return build(config.dataset).split(config.split)


def tasks_asked(config: DictConfig) -> tuple[Task, ...]:
    """What generators are to do for the table; nothing for a table of separation."""
    return tasks_of(described(config))


def described(config: DictConfig) -> dict[str, Any]:
    """The table that a composed config asks for: its node of configs/table, with what ``baseline`` and ``reported`` say.

    ``BadInputError`` for a ``baseline`` that is none of the systems.
    """
    content: dict[str, Any] = OmegaConf.to_container(config.table, resolve=True)  # type: ignore[assignment]
    if config.baseline is not None:
        if config.baseline not in config.systems:
            names = [str(name) for name in config.systems]
            raise BadInputError(
                f"baseline={config.baseline}: none of system=[{','.join(names)}]{near(config.baseline, names)}"
            )
        content["baseline"] = config.baseline
    if config.reported != "auto":
        content["reported"] = config.reported
    return content
