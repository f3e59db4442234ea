"""The table that a config asks for, of separation or of generation, from what the store holds."""

from typing import Any

from omegaconf import DictConfig

from benchmarks.cells import generation, separation
from benchmarks.device import chosen
from benchmarks.run.configured import described, tasks_asked
from benchmarks.run.job import Job
from benchmarks.store.provenance import provenance
from benchmarks.tables.table import Table


def table_of(config: DictConfig, job: Job) -> Table:
    """The table of a job that was made from ``config``; reads the store and computes nothing of audio."""
    metrics: dict[str, Any] = dict(zip(config.metrics, job.metrics, strict=True))
    make_table = generation.make_table if tasks_asked(config) else separation.make_table
    return make_table(described(config), job.plan, metrics, job.store, provenance(chosen(job.device), job.modules))
