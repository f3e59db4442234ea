"""How long a job will take, said when it begins and corrected while it goes on."""

import time
from collections import Counter
from collections.abc import Callable, Iterable

from benchmarks.notices import about, count, say
from benchmarks.plan.units import WorkUnit
from benchmarks.run.job import Job
from benchmarks.run.timings import TRUST, Timing, Timings
from benchmarks.run.todo import by_track, to_do


class Forecast:
    """What is left of a job, told what is done as it gets done.

    Left are units to compute, at the seconds of ``Timings``, and of each row the rest (what is put together, scored, dropped), at
    the mean of the rows that are finished. The clock goes on faster or slower than those seconds add up: weights are read, and
    ``abreast`` units are computed at once. What is left is corrected by how it went until now.
    """

    def __init__(self, job: Job, abreast: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = job.store
        self.abreast = abreast
        self.timings = Timings(job)
        self._left = to_do(job)
        self.to_compute = Counter(unit.system.id for unit in self._left.values() if not unit.inputs)
        self._to_finish = {
            system.id
            for system in job.plan.systems
            if not all(scored for scored, _ in by_track(job.plan.of_system(system), job))
        }
        self._finished = 0
        self._computed = self._computing = self._finishing = 0.0  # seconds: by the outputs' records; by the clock
        self._clock = clock
        self._began = self._last = clock()

    def announce(self, on: str = "") -> None:
        """Say what there is to compute and how long that will take (``on`` what, if not here), unless there is nothing."""
        if self._left:
            say(self._announcement(on))

    def _announcement(self, on: str) -> str:
        systems = len({unit.system.id for unit in self._left.values()})
        what = f"{count(systems, 'system')}, {count(len(self._left), 'excerpt')} to compute"
        known = self.timings.known()
        sources = "; ".join(dict.fromkeys(known[key].source for key in self.to_compute if key in known))
        if not sources:
            return f"{what}; how long that takes is not known" if self.to_compute else what
        seconds = self._seconds(known) / self.abreast
        return f"{what}: {about(seconds)}{on}, by {sources}{self._unknown(known)}; scoring not counted"

    def done(self, units: Iterable[WorkUnit]) -> None:
        """Units are computed, by whoever did it, or will not be; those that were told before do not matter."""
        new = [unit for unit in units if self._left.pop(unit.id, None)]
        if not new:
            return
        lap = self._lap()
        if new[0].inputs:
            self._finishing += lap
            return
        self._computing += lap
        for unit in new:
            self.to_compute[unit.system.id] -= 1
            if output := self.store.outputs.get(unit.id):
                self.timings.add(unit.system.id, output)
                self._computed += output.seconds
        self.to_compute += Counter()  # drops those of which nothing is left

    def finished(self, system: str) -> None:
        """The row of a system, by its id, is finished."""
        lap = self._lap()
        if system in self._to_finish:
            self._to_finish.remove(system)
            self._finishing += lap
            self._finished += 1

    def state(self) -> tuple[float, str]:
        """How much of the whole is done, from 0 to less than 1, and in words what is left."""
        known = self.timings.known()
        rest = len(self._to_finish) * self._finishing / self._finished if self._finished else 0.0
        left = self._seconds(known) * self._pace() + rest
        usual = [timing.seconds for timing in known.values()] or [1.0]
        guess = sum(n for key, n in self.to_compute.items() if key not in known) * sum(usual) / len(usual)
        elapsed = self._clock() - self._began
        whole = elapsed + left + guess
        fraction = min(0.99, elapsed / whole) if whole else 0.0
        scoring = "" if self._finished else "; scoring not counted"
        return fraction, f"{int(100 * fraction)} % of all, {about(left)} left{self._unknown(known)}{scoring}"

    def _seconds(self, known: dict[str, Timing]) -> float:
        """That the units left would take one after the other, as far as they are known."""
        return sum(n * known[key].seconds for key, n in self.to_compute.items() if key in known)

    def _pace(self) -> float:
        """Seconds on the clock for each that a unit is recorded to have taken."""
        return (self._computing + TRUST / self.abreast) / (self._computed + TRUST)

    def _unknown(self, known: dict[str, Timing]) -> str:
        unknown = sum(key not in known for key in self.to_compute)
        return f", and {count(unknown, 'system')} whose time is not known" if unknown else ""

    def _lap(self) -> float:
        """Seconds since this was last asked."""
        now = self._clock()
        lap, self._last = now - self._last, now
        return lap
