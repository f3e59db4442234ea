"""Computing what is missing: exactly that, and a unit that fails fails alone."""

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from benchmarks import cli
from benchmarks.data.msdm_layout import MsdmLayout
from benchmarks.plan.systems import resolve
from benchmarks.plan.units import Protocol, make_plan
from benchmarks.run.execute import execute
from benchmarks.run.job import Job
from benchmarks.store import lease
from benchmarks.store import store as store_module
from benchmarks.store.store import Store, open_store
from gmsdi import SAMPLE_RATE, STEMS
from gmsdi.errors import one_line
from gmsdi.system import Batch, Separator

CHUNK = SAMPLE_RATE // 2
BAD = 2 * CHUNK
"""Where the excerpt starts that is spoilt."""


GPU = {
    "lost": "CUDA error: device-side assert triggered\nand more",
    "lost for lack of room": "CUDA error: out of memory",
}
"""What PyTorch says of a GPU."""


class Fragile(Separator):
    """Random gains of the mixture. As long as the file ``fault`` exists, what it says goes wrong with the excerpt at ``BAD``."""

    reads_places = True

    def __init__(self, fault: str = "", log: str = "") -> None:
        self.fault = Path(fault)
        self.log = log

    @classmethod
    def identify(cls, **arguments):
        return {}

    def separate(self, batch: Batch) -> torch.Tensor:
        if self.log:
            with Path(self.log).open("a") as log:
                log.writelines(f"{start}\n" for start in batch.starts)
        gains = torch.stack(
            [torch.rand(len(STEMS), 1, generator=torch.Generator().manual_seed(s)) for s in batch.seeds]
        )
        stems = gains * batch.mixtures[:, None]
        if self.fault.is_file() and BAD in batch.starts:
            return self._spoilt(self.fault.read_text(), stems, batch.starts.index(BAD))
        return stems

    def _spoilt(self, fault: str, stems: torch.Tensor, bad: int) -> torch.Tensor:
        match fault:
            case "raise":
                raise RuntimeError("out of\nluck")
            case "lost" | "lost for lack of room" as how:
                raise torch.AcceleratorError(GPU[how])
            case "nan":
                stems[bad, 0, SAMPLE_RATE // 4] = torch.nan
            case "short":
                return stems[:, :, :-1]
            case "no batch axis":
                return stems[0]
            case "three stems":
                return stems[:, :3]
        return stems


@pytest.fixture
def dataset(tmp_path, noise, write_track):
    """One track of four chunks."""
    write_track(tmp_path / "data" / "test" / "Track0", {stem: noise(k, 4 * CHUNK) for k, stem in enumerate(STEMS)})
    return MsdmLayout("tiny", tmp_path / "data", tmp_path / "cache").split("test")


@pytest.fixture
def fault(tmp_path):
    return tmp_path / "fault"


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def run(dataset, fault, log):
    """``run(store)``: execute ``Fragile`` on all chunks; returns what failed, and the units."""

    def run(store, batch_size=4):
        node = {"label": "", "separator": {"_target_": "test_execute.Fragile", "fault": str(fault), "log": str(log)}}
        spec = resolve("fragile", OmegaConf.create(node))
        plan = make_plan(dataset.manifest, Protocol("tiny", CHUNK), [spec], 0)
        job, units = Job(plan, dataset, (), store, batch_size, "float32", "cpu", "run"), list(plan.of_system(spec))

        def missing(some):
            return [unit for unit in some if not store.has_output(unit.id)]

        return execute(spec, units, missing, job, {}), units

    return run


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_what_is_there_is_not_computed_again(run, store, log):
    _, units = run(store)
    log.unlink()
    assert run(store) == ({}, units)
    assert not log.exists()


def test_exactly_the_units_that_are_missing_are_computed(run, store, fault, log):
    fault.write_text("raise")
    run(store)
    fault.unlink()
    log.unlink()
    run(store)
    assert log.read_text().split() == [str(BAD)]


def test_the_bytes_do_not_depend_on_the_batch_size(run, store, tmp_path):
    other = Store(tmp_path / "other")
    _, units = run(store, batch_size=1)
    run(other, batch_size=3)
    assert [store.outputs[unit.id].files for unit in units] == [other.outputs[unit.id].files for unit in units]


def test_one_bad_excerpt_of_a_batch_fails_alone(run, store, fault):
    fault.write_text("raise")
    failed, units = run(store)
    (bad,) = [unit for unit in units if unit.excerpt.start == BAD]
    assert failed.keys() == {bad.id}
    assert store.outputs.keys() == {unit.id for unit in units} - {bad.id}
    assert store.failures.keys() == {bad.id}
    assert (store.failures[bad.id]["error"], store.failures[bad.id]["message"]) == ("RuntimeError", "out of luck")


def test_a_failure_is_retried_and_its_attempts_are_counted(run, store, fault):
    fault.write_text("raise")
    run(store)
    run(Store(store.root).refresh())
    (failure,) = Store(store.root).refresh().failures.values()
    assert failure["attempt"] == 2
    fault.unlink()
    assert run(store)[0] == {}


def test_a_lost_gpu_ends_the_worker_and_counts_as_dead(run, store, fault):
    """Nothing that this process computes can succeed any more, so nothing is recorded as failed."""
    fault.write_text("lost")
    with pytest.raises(RuntimeError, match="device-side assert"):
        run(store, batch_size=1)
    assert (len(store.outputs), store.failures) == (2, {})
    (left,) = store.root.glob("leases/*/*")
    then = time.time() - lease.STALE - 1
    os.utime(left, (then, then))
    assert left.stem not in store.outputs
    assert store.leases().deaths([left.stem]) == {left.stem: 1}


def test_a_gpu_that_is_short_of_memory_is_not_lost(run, store, fault):
    fault.write_text("lost for lack of room")
    failed, units = run(store)
    assert len(failed) == 1
    assert len(store.outputs) == len(units) - 1


def test_what_another_took_over_and_finished_while_this_process_slept_stays_as_it_is(run, store, monkeypatch):
    """A process that is stopped for longer than a lease lives wakes up to find its unit done, in other bits on another device."""
    separate, kept = Fragile.separate, {}

    def sleep(self, batch):
        (held,) = store.root.glob("leases/*/*.0")
        then = time.time() - lease.STALE - 1
        os.utime(held, (then, then))
        (unit,) = [unit for unit in units if unit.id == held.stem]
        other = Store(store.root).refresh()
        if not kept:
            leases = other.leases()
            assert leases.acquire(unit.id)
            stems = np.zeros((len(STEMS), CHUNK), np.float32)
            kept[unit.id] = other.write_output(unit, stems, SAMPLE_RATE, 1.0, "elsewhere", "run")
            other.record_outputs(kept.values())
            leases.release([unit.id])
        return separate(self, batch)

    _, units = run(Store(store.root.with_name("plan")))
    monkeypatch.setattr(Fragile, "separate", sleep)
    assert run(store, batch_size=1)[0] == {}
    again = open_store(store.root)
    assert again.outputs.items() >= kept.items()
    assert len(again.outputs) == len(units)
    assert again.remove_damaged(units) == set()


def test_small_files_are_merged_while_the_work_goes_on(run, store, monkeypatch):
    monkeypatch.setattr(store_module, "MANY", 1)
    _, units = run(store, batch_size=1)
    assert len(units) == 4
    assert len(list(store.root.glob("outputs/*.jsonl"))) <= 3
    assert Store(store.root).refresh().outputs == store.outputs


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", "estimate: NaN or infinite samples, the first at 0.250 s"),
        ("short", rf"stems of shape \(1, 4, {CHUNK - 1}\) where \[B, K, T\] is \(1, 4, {CHUNK}\)"),
        ("no batch axis", rf"stems of shape \(4, {CHUNK}\) where"),
        ("three stems", rf"stems of shape \(1, 3, {CHUNK}\) where"),
    ],
)
def test_an_estimate_that_cannot_be_scored_is_a_failure_that_says_why(run, store, fault, kind, message):
    fault.write_text(kind)
    assert len(run(store)[0]) == 1
    (failure,) = store.failures.values()
    assert re.search(message, failure["message"])


@pytest.fixture
def overrides(dataset, tmp_path, fault):
    """What makes a run of ``Fragile`` alone."""
    return [
        "dataset=msdm_layout",
        f"data={tmp_path / 'data'}",
        f"cache={tmp_path / 'cache'}",
        f"store={tmp_path / 'store'}",
        f"protocol.chunk={CHUNK}",
        "system=[]",
        "+systems.fragile.label=Fragile",
        "+systems.fragile.separator._target_=test_execute.Fragile",
        f"+systems.fragile.separator.fault={fault}",
    ]


def test_a_lost_gpu_ends_the_command_in_one_line(overrides, fault, capsys):
    fault.write_text("lost")
    assert cli.main(["run", *overrides]) == 4
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert error == f"error: {one_line(GPU['lost'])}; what is finished is kept, run again"


def test_failed_excerpts_end_the_command_with_exit_code_2(overrides, fault, capsys):
    fault.write_text("raise")
    assert cli.main(["run", *overrides]) == 2
    said = capsys.readouterr().err
    assert "error: fragile, Track0 at 1.0 s: out of luck" in said
    assert "error: 1 of 4 excerpts failed, see above; run again to retry" in said
    fault.unlink()
    assert cli.main(["run", *overrides]) == 0
