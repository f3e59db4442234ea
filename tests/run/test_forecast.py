"""How long a job will take: closed forms with a clock that is set by hand, and what is not known is said to be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from benchmarks.data.dataset import Dataset
from benchmarks.data.manifest import DatasetManifest, Stem, Track
from benchmarks.identity import digest
from benchmarks.metrics.si_sdr import SiSDR
from benchmarks.notices import about
from benchmarks.plan.systems import Input, SystemSpec
from benchmarks.plan.units import Protocol, WorkUnit, make_plan
from benchmarks.run import timings
from benchmarks.run.forecast import Forecast
from benchmarks.run.job import Job
from benchmarks.run.timings import TRUST, Timings
from benchmarks.store.store import Output, Store
from gmsdi import SAMPLE_RATE, STEMS

CHUNK = 1000
UNITS = 10
MACHINE = "a machine of 1999"
BY = f", by the timings of {MACHINE} that ship with the suite"
EVALUATIONS = {"steps": 20, "few-steps": 5}
"""Of the systems that have any, by name; they have the same networks."""


def system(name: str, networks: str = "", inputs: tuple[Input, ...] = ()) -> SystemSpec:
    config = OmegaConf.create({"_target_": "baselines.bounds.Mixture"})
    return SystemSpec(name, name, digest(name), "{}", config, inputs, about=networks)


QUICK, SLOW, OWN = system("quick"), system("slow"), system("own")
STEPS, FEW = (system(name, "network: trained on noise") for name in EVALUATIONS)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Job]:
    """``job(SYSTEM, …, shipped={NAME: SECONDS})``: a plan of ``UNITS`` units a system. No audio is needed for its seconds."""
    monkeypatch.setattr(timings, "evaluations", lambda system: EVALUATIONS.get(system.name))

    def make(*systems: SystemSpec, shipped: Mapping[str, float] | None = None, store: str = "store") -> Job:
        file = tmp_path / "timings.yaml"
        monkeypatch.setattr(timings, "SHIPPED", file)
        if shipped is not None:
            file.write_text(
                yaml.safe_dump({"machine": MACHINE, "chunk": CHUNK, "systems": dict(map(entry, shipped.items()))})
            )
        tracks = tuple(Track(f"T{n}", CHUNK, {s: Stem(digest([n, s]), ()) for s in STEMS}) for n in range(UNITS))
        manifest = DatasetManifest("tiny", "test", SAMPLE_RATE, tracks)
        plan = make_plan(manifest, Protocol("tiny", CHUNK), systems, 0)
        return Job(plan, Dataset(tmp_path, manifest), (SiSDR(),), Store(tmp_path / store), 2, "float32", "cpu")

    return make


def entry(named: tuple[str, float]) -> tuple[str, dict[str, object]]:
    """A system's entry in a file of timings."""
    name, seconds = named
    networks = "network: trained on noise" if name in EVALUATIONS else ""
    return name, {"networks": networks, "evaluations": EVALUATIONS.get(name), "seconds": seconds}


def compute(job: Job, units: list[WorkUnit], seconds: float) -> list[WorkUnit]:
    """Have units' outputs recorded as having taken so many seconds each."""
    job.store.outputs |= {unit.id: Output(unit.id, ("",) * len(STEMS), seconds, 0, "cpu", "run") for unit in units}
    return units


def units_of(job: Job, system: SystemSpec) -> list[WorkUnit]:
    return list(job.plan.of_system(system))


def seconds(job: Job, throughput: float | None = None) -> dict[str, float]:
    made = Timings(job, throughput)
    return {made.systems[key].name: timing.seconds for key, timing in made.known().items()}


# What is known of a system


def test_shipped_timings_grow_with_the_chunk_and_the_evaluations(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job(QUICK, STEPS, shipped={"quick": 2.0, "steps": 6.0})
    longer = replace(made, plan=replace(made.plan, protocol=Protocol("tiny", 3 * CHUNK)))
    monkeypatch.setitem(EVALUATIONS, "steps", 10)
    assert seconds(longer) == {"quick": 6.0, "steps": 9.0}


def test_what_has_the_name_of_a_shipped_system_and_other_networks_is_not_known(job: Callable[..., Job]) -> None:
    assert seconds(job(system("quick", "network: of another person"), SLOW, shipped={"quick": 2.0, "slow": 3.0})) == {
        "slow": 3.0
    }


@pytest.mark.parametrize("shipped", [None, {}])
def test_without_shipped_timings_nothing_is_known_and_it_is_said(
    job: Callable[..., Job], shipped: Mapping[str, float] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    made = job(QUICK, STEPS, shipped=shipped)
    assert seconds(made) == {}
    Forecast(made).announce()
    assert capsys.readouterr().err == f"2 systems, {2 * UNITS} excerpts to compute; how long that takes is not known\n"


def test_what_the_store_measured_goes_first_and_tells_how_slow_this_machine_is(job: Callable[..., Job]) -> None:
    made = job(QUICK, SLOW, shipped={"quick": 4.0, "slow": 100.0})
    compute(made, units_of(made, QUICK)[:5], 10.0)
    assert seconds(made) == {"quick": 10.0, "slow": pytest.approx(100.0 * (5 * 10.0 + TRUST) / (5 * 4.0 + TRUST))}


def test_systems_with_the_same_networks_take_as_long_as_their_evaluations(job: Callable[..., Job]) -> None:
    made = job(STEPS, FEW, OWN, shipped={})
    compute(made, units_of(made, STEPS)[:3], 8.0)
    assert seconds(made) == {"steps": 8.0, "few-steps": pytest.approx(8.0 * 5 / 20)}


def test_a_given_throughput_goes_before_shipped_timings_and_behind_the_stores_own(job: Callable[..., Job]) -> None:
    made = job(STEPS, FEW, shipped={"steps": 1.0, "few-steps": 1.0})
    compute(made, units_of(made, FEW)[:1], 8.0)
    assert seconds(made, throughput=4.0) == {"steps": 5.0, "few-steps": 8.0}


# A job on its way


def test_what_is_left_is_corrected_by_what_is_done(
    job: Callable[..., Job], clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """The machine is slower than the one that was timed, weights take a while to read, and a row takes two seconds to score."""
    made = job(QUICK, SLOW, shipped={"quick": 1.0, "slow": 6.0})
    forecast = Forecast(made, clock=clock)
    forecast.announce()
    assert capsys.readouterr().err == f"2 systems, 20 excerpts to compute: about 70 s{BY}; scoring not counted\n"
    assert forecast.state() == (0.0, "0 % of all, about 70 s left; scoring not counted")

    clock.now += 50
    forecast.done(compute(made, units_of(made, QUICK), 4.0))
    slower, pace = (40 + TRUST) / (10 + TRUST), (50 + TRUST) / (40 + TRUST)
    left = 10 * 6 * slower * pace
    assert forecast.state() == (pytest.approx(50 / (50 + left)), "21 % of all, about 3 min left; scoring not counted")

    clock.now += 2
    forecast.finished(QUICK.id)
    fraction, said = forecast.state()
    assert fraction == pytest.approx(52 / (52 + left + 2))
    assert said == "22 % of all, about 3 min left"

    clock.now += 60
    forecast.done(compute(made, units_of(made, SLOW), 6.0))
    assert forecast.state()[0] == pytest.approx(112 / (112 + 2))
    forecast.finished(SLOW.id)
    assert forecast.state() == (0.99, "99 % of all, a few seconds left")


def test_units_that_are_computed_side_by_side_take_part_of_the_time(
    job: Callable[..., Job], clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    made = job(SLOW, shipped={"slow": 60.0})
    forecast = Forecast(made, abreast=4, clock=clock)
    forecast.announce()
    assert f"10 excerpts to compute: about 2 min{BY};" in capsys.readouterr().err
    clock.now += 30
    forecast.done(compute(made, units_of(made, SLOW)[:2], 60.0))  # two abreast, where four were hoped for
    left = 8 * 60 * (30 + TRUST / 4) / (120 + TRUST)
    assert forecast.state()[0] == pytest.approx(30 / (30 + left))


def test_systems_whose_time_is_not_known_are_counted_until_it_is(
    job: Callable[..., Job], clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the bar they take as long as the others; nothing is said of how long that is."""
    made = job(SLOW, OWN, shipped={"slow": 6.0})
    forecast = Forecast(made, clock=clock)
    forecast.announce()
    told = "about 60 s{}, and 1 system whose time is not known; scoring not counted"
    assert capsys.readouterr().err == f"2 systems, 20 excerpts to compute: {told.format(BY)}\n"
    clock.now += 60
    forecast.done(compute(made, units_of(made, SLOW), 6.0))
    forecast.finished(SLOW.id)
    assert forecast.state() == (0.5, "50 % of all, a few seconds left, and 1 system whose time is not known")
    clock.now += 20
    forecast.done(compute(made, units_of(made, OWN)[:1], 20.0))
    fraction, said = forecast.state()
    assert fraction == pytest.approx(80 / (80 + 9 * 20))
    assert said == "30 % of all, about 3 min left"


def test_what_is_made_of_others_costs_what_they_cost_once(
    job: Callable[..., Job], capsys: pytest.CaptureFixture[str]
) -> None:
    made_of = [system(f"of {n}", inputs=tuple(Input(SLOW, k) for k in range(n))) for n in (2, 3)]
    made = job(SLOW, *made_of, shipped={"slow": 6.0})
    forecast = Forecast(made)
    assert forecast.to_compute == {SLOW.id: 3 * UNITS}
    forecast.announce()
    assert f"3 systems, {5 * UNITS} excerpts to compute: about 3 min{BY}" in capsys.readouterr().err


def test_units_that_fail_are_no_longer_left_and_are_counted_once(job: Callable[..., Job], clock: Clock) -> None:
    made = job(SLOW, shipped={"slow": 6.0})
    forecast = Forecast(made, clock=clock)
    for _ in range(3):
        forecast.done(units_of(made, SLOW)[:4])
    assert forecast.to_compute == {SLOW.id: UNITS - 4}


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (0, "a few seconds"),
        (9.9, "a few seconds"),
        (44, "about 40 s"),
        (89, "about 90 s"),
        (91, "about 2 min"),
        (89 * 60, "about 89 min"),
        (2.54 * 3600, "about 2.5 h"),
        (50 * 3600, "about 2 days"),
    ],
)
def test_durations_are_told_as_precisely_as_they_are_known(length: float, words: str) -> None:
    assert about(length) == words
