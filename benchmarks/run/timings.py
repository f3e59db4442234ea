"""How long a unit of a system takes, as far as anything is known: from this store, from the timings that ship, from its evaluations."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from hydra.utils import get_class

from benchmarks.config import SHIPPED as PLACE
from benchmarks.config import build
from benchmarks.plan.systems import SystemSpec
from benchmarks.run.job import Job
from benchmarks.store.store import Output

SHIPPED = PLACE / "results" / "reference" / "timings.yaml"
"""Written by ``python -m benchmarks.perf.timings``. It may be missing: then less is known."""

TRUST = 10.0
"""Seconds that count as if they had gone as expected: the first rows take no time, and must not decide how fast a machine is."""


@dataclass(frozen=True)
class Timing:
    """What a unit of a system takes on average, and in words how that is known."""

    seconds: float
    source: str


@dataclass
class Spent:
    """What units of one system took."""

    units: int = 0
    seconds: float = 0.0
    devices: set[str] = field(default_factory=set)

    @property
    def each(self) -> float:
        return self.seconds / self.units


class Timings:
    """The timings of a plan's systems. Those that are made of others have none: what takes time is computing what they are made of.

    What the store has measured goes first. Shipped timings are scaled by how much slower or faster this machine was at the systems
    that both know; they are for chunks of one length and a number of evaluations, and grow with both. A system that neither knows is
    taken to evaluate its networks as fast as others with the same networks do, or at ``throughput`` evaluations a second if that is
    given, which also goes before shipped timings.
    """

    def __init__(self, job: Job, throughput: float | None = None) -> None:
        self.throughput = throughput
        self.own: dict[str, Spent] = defaultdict(Spent)
        self.systems: dict[str, SystemSpec] = {}
        for unit in job.plan.everything().values():
            if not unit.inputs:
                self.systems[unit.system.id] = unit.system
                if unit.id in job.store.outputs:
                    self.add(unit.system.id, job.store.outputs[unit.id])
        self.evaluations = {key: evaluations(system) for key, system in self.systems.items()}
        shipped = _read_shipped()
        self._machine = shipped.get("machine", "")
        self._shipped = {
            key: seconds
            for key, system in self.systems.items()
            if (seconds := _shipped_seconds(shipped, system, job.plan.protocol.chunk, self.evaluations[key]))
            is not None
        }

    def add(self, system: str, output: Output) -> None:
        """Take in what a unit of a system took."""
        spent = self.own[system]
        spent.units += 1
        spent.seconds += output.seconds
        spent.devices.add(output.device)

    def known(self) -> dict[str, Timing]:
        """By system id, of the systems that anything is known of."""
        slower = self._slower()
        found = {
            key: Timing(seconds * slower, f"the timings of {self._machine} that ship with the suite")
            for key, seconds in self._shipped.items()
        }
        if self.throughput:
            given = f"evaluations_per_second={self.throughput:g}, as given"
            found |= {key: Timing(count / self.throughput, given) for key, count in self.evaluations.items() if count}
        for key, spent in self.own.items():
            found[key] = Timing(spent.each, f"this store's own, on {', '.join(sorted(spent.devices))}")
        return found | self._like_others(found)

    def _slower(self) -> float:
        """How many times longer than on the machine of the shipped timings things take here."""
        both = self.own.keys() & self._shipped.keys()
        here = sum(self.own[key].seconds for key in both)
        there = sum(self.own[key].units * self._shipped[key] for key in both)
        return (here + TRUST) / (there + TRUST)

    def _like_others(self, found: Mapping[str, Timing]) -> dict[str, Timing]:
        """The timings of systems that are not among those ``found`` but have the same networks as some of them."""
        seconds: dict[str, float] = defaultdict(float)
        counts: dict[str, int] = defaultdict(int)
        for key, timing in found.items():
            if (count := self.evaluations[key]) and (networks := self.systems[key].about):
                seconds[networks] += timing.seconds
                counts[networks] += count
        return {
            key: Timing(count * seconds[system.about] / counts[system.about], "other systems with the same networks")
            for key, system in self.systems.items()
            if key not in found and (count := self.evaluations[key]) and system.about in counts
        }


def evaluations(system: SystemSpec) -> int | None:
    """How often a chunk passes through a network; None where a system does not walk down noise levels."""
    target: Any = get_class(system.config._target_)
    passes = None if system.inputs else target.passes(len(system.outputs))
    if passes is None:
        return None
    steps = len(build(system.config.sigmas)) - 1
    return passes * steps * build(system.config.sampler).resamples


def _read_shipped() -> dict[str, Any]:
    return yaml.safe_load(SHIPPED.read_text()) if SHIPPED.is_file() else {}


def _shipped_seconds(shipped: Mapping[str, Any], system: SystemSpec, chunk: int, count: int | None) -> float | None:
    """Of a unit of ``chunk`` samples that takes ``count`` evaluations, if what has that name has the same networks, too."""
    timed = shipped.get("systems", {}).get(system.name)
    if timed is None or timed["networks"] != system.about or (count is None) != (timed["evaluations"] is None):
        return None
    return timed["seconds"] * chunk / shipped["chunk"] * (count / timed["evaluations"] if count else 1.0)
