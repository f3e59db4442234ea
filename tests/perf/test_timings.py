"""The timings that ship: what the command writes is what is read, and the file that ships can be read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from benchmarks.config import load
from benchmarks.data.dataset import Dataset
from benchmarks.data.manifest import DatasetManifest, Stem, Track
from benchmarks.identity import digest
from benchmarks.metrics.si_sdr import SiSDR
from benchmarks.perf.timings import write
from benchmarks.plan.systems import resolve_all
from benchmarks.plan.units import Protocol, make_plan
from benchmarks.run import timings
from benchmarks.run.job import Job
from benchmarks.run.timings import Timings
from benchmarks.store.store import Output, Store
from gmsdi import SAMPLE_RATE, STEMS
from gmsdi.errors import BadInputError

BOUNDS = ("mixture", "silence")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Two systems and one that is made of one of them, on two tracks."""
    nodes: dict[str, Any] = {name: {"_target_": f"baselines.bounds.{name.title()}"} for name in BOUNDS}
    nodes["mean"] = {"_target_": "gmsdi.ensemble.Mean", "of": "mixture", "samples": 2}
    systems = resolve_all({name: OmegaConf.create({"label": name, "separator": node}) for name, node in nodes.items()})
    tracks = tuple(Track(f"T{n}", 100, {stem: Stem(digest([n, stem]), ()) for stem in STEMS}) for n in range(2))
    manifest = DatasetManifest("tiny", "test", SAMPLE_RATE, tracks)
    plan = make_plan(manifest, Protocol("tiny", 100), systems, 0)
    return Job(plan, Dataset(tmp_path, manifest), (SiSDR(),), Store(tmp_path / "store"), 2, "float32", "cpu")


def measured(job: Job, host: str) -> Job:
    """The job with outputs of all its units: those of the mixture took 1, 2, 3, … seconds, on a machine of that name."""
    run = job.store.record_run({"machine": {"host": host}})
    for n, unit in enumerate(job.plan.everything().values()):
        seconds = float(n) if unit.system.name == "mixture" else 7.0
        job.store.outputs[unit.id] = Output(unit.id, ("",) * len(STEMS), seconds, 0, "cpu", run)
    return job


def test_what_was_measured_here_is_what_is_known_elsewhere(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    file = tmp_path / "timings.yaml"
    before = Timings(measured(job, "here")).known()
    write(file, [job], "the command")
    content = yaml.safe_load(file.read_text())
    assert (content["command"], content["chunk"], content["systems"].keys()) == ("the command", 100, set(BOUNDS))
    monkeypatch.setattr(timings, "SHIPPED", file)
    after = Timings(replace(job, store=Store(tmp_path / "elsewhere"))).known()
    assert {key: timing.seconds for key, timing in after.items()} == {
        key: timing.seconds for key, timing in before.items()
    }
    assert all(timing.source.startswith(f"the timings of {content['machine']}") for timing in after.values())


def test_timings_of_another_machine_are_not_passed_off_as_this_ones(job: Job, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="has no outputs of these systems"):
        write(tmp_path / "timings.yaml", [job], "")
    with pytest.raises(BadInputError, match="has outputs of elsewhere; their timings are not this machine's"):
        write(tmp_path / "timings.yaml", [measured(job, "elsewhere")], "")
    assert not (tmp_path / "timings.yaml").exists()


def test_the_timings_that_ship_tell_of_most_rows_of_the_table() -> None:
    """By their names and networks: of few rows that are computed nothing is known, until their timings are made anew."""
    settings = load(["table=separation"])
    shipped = yaml.safe_load(timings.SHIPPED.read_text())
    systems = [system for system in resolve_all(settings.systems) if not system.inputs]
    known = [
        system.name
        for system in systems
        if timings._shipped_seconds(shipped, system, settings.protocol.chunk, timings.evaluations(system))
    ]
    assert len(known) > len(systems) / 2
