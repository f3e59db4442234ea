"""Work in shards: every unit in one of them, of the length that was asked for; a worker needs its shard and nothing else."""

import os
import pickle
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from baselines.bounds import Mixture, Silence
from benchmarks import config, notices
from benchmarks.data.msdm_layout import MsdmLayout
from benchmarks.device import cores
from benchmarks.metrics.si_sdr import SiSDR
from benchmarks.plan.systems import resolve_all
from benchmarks.plan.units import Protocol, make_plan
from benchmarks.run import launch, timings
from benchmarks.run.forecast import Forecast
from benchmarks.run.job import Job
from benchmarks.run.launch import Local, Unfinished, finish
from benchmarks.run.shards import Shard, pack, to_separate
from benchmarks.run.slurm import site
from benchmarks.run.slurm.launcher import FRUITLESS, Finisher, Slurm, Work, Worker
from benchmarks.run.timings import Timings
from benchmarks.run.todo import to_do
from benchmarks.store.lease import STALE
from benchmarks.store.store import open_store
from gmsdi import SAMPLE_RATE, STEMS
from gmsdi.errors import BadInputError, GmsdiError

CHUNK = SAMPLE_RATE // 2
TRACKS, CHUNKS = 3, 4
ROWS = {
    "mean": {"_target_": "gmsdi.ensemble.Mean", "of": "mixture", "samples": 3},
    "mixture": {"_target_": "baselines.bounds.Mixture"},
    "silence": {"_target_": "baselines.bounds.Silence"},
}
UNITS = TRACKS * CHUNKS * (3 + 1)  # three replicates of the mixture, and silence


@pytest.fixture
def job(tmp_path: Path, noise: Callable, write_track: Callable) -> Callable[..., Job]:
    """``job(store)``: three systems, one of them made of another, on a few tracks."""
    for t in range(TRACKS):
        stems = {stem: noise(10 * t + k, CHUNKS * CHUNK) for k, stem in enumerate(STEMS)}
        write_track(tmp_path / "data" / "test" / f"Track{t}", stems)
    dataset = MsdmLayout("tiny", tmp_path / "data", tmp_path / "cache").split("test")

    def make(store: str = "store") -> Job:
        nodes = {name: OmegaConf.create({"label": name, "separator": node}) for name, node in ROWS.items()}
        plan = make_plan(dataset.manifest, Protocol("tiny", CHUNK), resolve_all(nodes), 0)
        metrics = (SiSDR(window=0.5, hop=0.25),)
        return Job(plan, dataset, metrics, open_store(tmp_path / store), 2, "float32", "cpu", "run")

    return make


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of systems but from the store."""
    monkeypatch.setattr(timings, "SHIPPED", tmp_path / "no-timings.yaml")


def shards_of(job: Job, seconds: float) -> list[Shard]:
    return pack(job, to_separate(job), seconds, 1.0, 1)


def contents(job: Job) -> tuple[Any, ...]:
    store = open_store(job.store.root)
    scores = {key: {**score, "run": ""} for key, score in store.scores.items()}
    return scores, {unit: output.files for unit, output in store.outputs.items()}


@pytest.mark.parametrize("seconds", [0.5, 1, 5, 7.5, 1e9])
def test_every_unit_is_in_one_shard_and_no_shard_is_longer_than_told(job: Callable[..., Job], seconds: float) -> None:
    shards = shards_of(job(), seconds)
    units = [unit.id for shard in shards for unit in shard.units]
    assert len(units) == len(set(units)) == UNITS
    assert all(len(shard.units) <= 2 or shard.seconds <= seconds for shard in shards)  # a batch is left whole
    assert all(a.seconds + b.seconds > seconds for a, b in pairwise(shards))
    assert not any(unit.system.inputs for shard in shards for unit in shard.units)


@pytest.mark.parametrize("seconds", [1, 5, 7.5])
def test_batches_are_those_of_a_local_run(
    job: Callable[..., Job], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else is in a batch may change the last bits of a network."""
    batches: list[tuple[int, ...]] = []
    for bound in (Mixture, Silence):
        separate = bound.separate
        monkeypatch.setattr(
            bound, "separate", lambda self, batch, old=separate: batches.append(batch.seeds) or old(self, batch)
        )
    Local().run(job("alone"))
    alone = sorted(batches)
    batches.clear()
    for shard in shards_of(job("shared"), seconds):
        shard.run()
    assert sorted(batches) == alone


def test_shards_are_packed_by_the_timings_in_the_store(job: Callable[..., Job]) -> None:
    first = job()
    one = to_separate(first)[0][0]
    output = first.store.write_output(
        one, first.dataset.stems(first.plan.tracks[0])[:, :CHUNK], SAMPLE_RATE, 4.0, "cpu", "run"
    )
    first.store.record_outputs([output])
    again = job()
    assert Timings(again).known()[one.system.id].seconds == 4.0
    sizes = {len(shard.units) for shard in shards_of(again, 8) if shard.units[0].system.id == shard.units[-1].system.id}
    assert sizes == {2, 8}  # of four seconds each, and of the one that nothing is known of


@pytest.mark.parametrize("seconds", [1, 7, 1e9])
def test_shards_and_what_is_left_of_the_job_make_what_a_local_run_makes(
    job: Callable[..., Job], seconds: float
) -> None:
    alone, shared = job("alone"), job("shared")
    assert Local().run(alone) == {}
    for shard in reversed(shards_of(shared, seconds)):
        assert pickle.loads(pickle.dumps(shard)).run() == {}
    assert finish(shared) == {}
    assert contents(shared) == contents(alone)


def test_a_shard_that_comes_again_computes_nothing_even_when_its_audio_was_dropped(job: Callable[..., Job]) -> None:
    shared = replace(job(), keep_audio="false")
    shards = shards_of(shared, 7)
    for shard in shards:
        shard.run()
    finish(shared)
    before = contents(shared)
    assert not list(shared.store.root.glob("audio/??/*"))
    for shard in shards:
        assert pickle.loads(pickle.dumps(shard)).run() == {}
    assert contents(shared) == before
    assert not list(shared.store.root.glob("audio/??/*"))


def test_what_no_worker_came_to_is_unfinished_and_is_done_next_time(job: Callable[..., Job]) -> None:
    shared = job()
    shards = shards_of(shared, 7)
    for shard in shards[1:]:
        shard.run()
    lacking = finish(shared)
    assert {unit.id for unit in shards[0].units if unit.replicate == 0} <= lacking.keys()
    assert all(isinstance(failure, Unfinished) for failure in lacking.values())
    assert open_store(shared.store.root).failures == {}
    again = job()
    assert {unit for unit, each in to_do(again).items() if not each.system.inputs} == {
        unit.id for unit in shards[0].units
    }
    for shard in shards_of(again, 7):
        shard.run()
    assert finish(again) == {}


def test_units_at_which_workers_died_come_last_and_alone_through_one_system_that_is_built_once(
    job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = job()
    (shard,) = shards_of(shared, 1e9)
    risky = [unit for unit in shard.units if unit.replicate == 0][::2]
    for unit, deaths in zip(risky, cycle([1, 2]), strict=False):
        for _ in range(deaths):
            die_at(unit.id, shared)
    built: Counter[type] = Counter()
    batches: list[tuple[int, ...]] = []
    for bound in (Mixture, Silence):
        separate, build = bound.separate, bound.__init__
        monkeypatch.setattr(
            bound, "separate", lambda self, batch, old=separate: batches.append(batch.seeds) or old(self, batch)
        )
        monkeypatch.setattr(
            bound,
            "__init__",
            lambda self, *args, old=build, **more: built.update([type(self)]) or old(self, *args, **more),
        )
    assert shard.run() == {}
    assert [len(batch) for batch in batches[-len(risky) :]] == [1] * len(risky)
    assert built == {Mixture: 2 + 2, Silence: 1 + 2}  # for parts; for what one worker died at, and for what two died at


def die_at(unit: str, job: Job) -> None:
    """Take a unit's lease as a process of another machine that stops breathing at once."""
    leases = job.store.leases()
    leases.folder.mkdir(exist_ok=True)
    assert leases.acquire(unit)
    leases.abandon()
    path = max((leases.folder / unit[-2:]).glob(f"{unit}.*"))
    then = time.time() - STALE - 1
    os.utime(path, (then, then))


@pytest.mark.parametrize(
    "override",
    [
        *("slurm attempts=0", "slurm attempts=1.5", "slurm concurrency=0", "slurm minutes=null", "slurm minutes=true"),
        *("slurm max_jobs=-1", "slurm max_jobs=0", "slurm max_array=-1", "slurm max_array=0", "slurm max_array=1.5"),
        *("slurm shard_minutes=0", "slurm seconds_per_unit=soon", "slurm poll_seconds=-1", "slurm poll_seconds=.inf"),
        *("slurm grace_seconds=0", "slurm grace_seconds=14400", "slurm sbatch=gpu"),
        *("processes workers=0", "processes workers=1.5", "processes attempts=1.5", "processes attempts=0"),
    ],
)
def test_settings_of_a_launcher_that_make_no_sense_are_refused(override: str) -> None:
    launcher, setting = override.split()
    with pytest.raises(BadInputError, match=f"^launcher.{setting.split('=')[0]}=.*: must be "):
        config.build(config.load([f"launcher={launcher}", f"launcher.{setting}"]).launcher)


def test_settings_at_their_limits_are_taken() -> None:
    few = ["launcher=slurm", "launcher.max_jobs=1", "launcher.max_array=1", "launcher.minutes=1"]
    assert config.build(config.load([*few, "launcher.grace_seconds=59"]).launcher).max_jobs == 1


@pytest.mark.parametrize("kind", ["worker", "finisher"])
def test_a_job_that_gets_nowhere_is_not_queued_for_ever(job: Callable[..., Job], kind: str) -> None:
    shared = job()
    (shard,) = shards_of(shared, 1e9)
    work: Work = Worker(shard) if kind == "worker" else Finisher(shared)
    for _ in range(FRUITLESS - 1):
        work = work.checkpoint().function
    shard.run()
    hopeful = work.checkpoint().function  # the units have been done in between
    assert hopeful.fruitless == 0
    work._before = work.done()
    with pytest.raises(SystemExit, match=r"stopped 3 times before one .* was done: `gmsdi resume launcher.minutes=…`"):
        work.checkpoint()


@pytest.mark.parametrize("begun", [0, 1, 2])
@pytest.mark.parametrize("shared", [False, True])
def test_the_forecast_of_a_run_goes_up_to_its_end_and_counts_each_unit_once(
    job: Callable[..., Job],
    begun: int,
    shared: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whether shards or the run itself compute, from the beginning or from what is there; one excerpt fails."""
    monkeypatch.setattr(Silence, "reads_places", True)
    for shard in shards_of(job(), 7)[:begun]:
        shard.run()
    separate = Silence.separate
    first = job().plan.tracks[0].name

    def fail(self: Silence, batch: Any) -> Any:
        if (first, 0) in zip(batch.tracks, batch.starts, strict=True):
            raise RuntimeError("this one never works")
        return separate(self, batch)

    monkeypatch.setattr(Silence, "separate", fail)
    monkeypatch.setattr(notices, "LOG_EVERY", 0.0)
    made: list[Forecast] = []
    monkeypatch.setattr(launch, "Forecast", lambda *arguments: made.append(Forecast(*arguments)) or made[-1])
    whole = job()
    expected = Counter(unit.system.id for unit in to_do(whole).values() if not unit.inputs)
    capsys.readouterr()
    if shared:
        forecast = Forecast(whole)
        assert forecast.to_compute == expected
        for shard in shards_of(whole, 7):
            shard.run()
            whole.store.refresh()
            forecast.done(shard.units)
        assert not forecast.to_compute
        assert len(finish(whole, forecast)) == 1
    else:
        assert len(Local().run(whole)) == 1
        (forecast,) = made
        said = capsys.readouterr().err
        percents = [int(each) for each in re.findall(r"\((\d+) % of all", said)]
        assert percents and max(percents) < 100
        assert said.startswith(f"3 systems, {expected.total() + TRACKS * CHUNKS} excerpts to compute")
    assert forecast.state()[0] == 0.99
    assert not forecast.to_compute


def test_what_is_scored_is_recorded_soon(job: Callable[..., Job]) -> None:
    """A scorer that is stopped at the fifth score, on one core, has four."""
    first, *others = os.sched_getaffinity(0)
    shared = replace(job(), metrics=tuple(Interrupted(window=0.5, hop=hop) for hop in (0.25, 0.5)))
    for shard in shards_of(shared, 1e9):
        shard.run()
    os.sched_setaffinity(0, {first})
    try:
        assert cores() == 1
        with pytest.raises(KeyboardInterrupt):
            finish(shared)
    finally:
        os.sched_setaffinity(0, {first, *others})
    assert len(open_store(shared.store.root).scores) == Interrupted.AFTER


class Interrupted(SiSDR):
    """Somebody presses Ctrl-C while the fifth score is made."""

    AFTER = 4
    measured = 0

    def __call__(self, *arguments: Any) -> Any:
        Interrupted.measured += 1
        if Interrupted.measured > self.AFTER:
            raise KeyboardInterrupt
        return super().__call__(*arguments)


def test_a_machine_without_slurm_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(site.Silent, match="sbatch: no such command; is this a login node"):
        Slurm().check()
    assert issubclass(site.Silent, GmsdiError)
