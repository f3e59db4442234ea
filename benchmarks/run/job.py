"""A plan and everything that it takes to carry it out."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.data.dataset import Dataset
from benchmarks.metrics.judges import Judge
from benchmarks.metrics.scores import Metric
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import Plan
from benchmarks.store.store import KeepAudio, Store


@dataclass(frozen=True)
class Job:
    """What is to be computed and scored, from which data, into which store, and how."""

    plan: Plan
    dataset: Dataset
    metrics: tuple[Metric | Judge, ...]
    store: Store
    batch_size: int
    keep_audio: KeepAudio
    device: str  # as in the config: what ``auto`` means is decided where the work is done
    run: str = ""  # the provenance of the outputs and scores that it makes; empty while a job is only looked at
    headline: "Headline | None" = None
    config: str = ""  # the whole config as yaml, for a later process that takes over a job handed to Slurm

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules of all that it computes and scores with."""
        every = [*self.plan.systems, *self.metrics]
        return tuple(dict.fromkeys(module for each in every for module in each.modules))


Headline = Callable[[SystemSpec, Job], str]
"""What to say of a system's row as soon as it is scored."""
