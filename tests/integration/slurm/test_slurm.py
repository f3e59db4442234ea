"""``launcher=slurm`` on a real Slurm: what it makes is what a local run makes, whatever happens to jobs, nodes and the controller."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import Cluster
from omegaconf import OmegaConf
from slurmruns import (
    MAX_ARRAY,
    SLURM,
    UNITS,
    Fault,
    SlurmSuite,
    cancel_one,
    endure,
    finished_twice,
    kill_worker,
    leases,
    lose_node,
    preempt,
    requeue,
    running,
    stop_controller,
)
from tinyruns import TRACKS, results, system, until

MEAN = system("mean", target="gmsdi.ensemble.Mean", of="slow", samples=3)
BAD = f"[{TRACKS[2]},{2 * 22050}]"


def test_arrays_make_what_a_local_run_makes(
    slurm: SlurmSuite, cluster: Cluster, tmp_path: Path, local: Callable
) -> None:
    gpu = "launcher.sbatch.gres='gpu:1'"
    process = slurm.slurm(tmp_path / "store", gpu, *slurm.slow(0.01), *MEAN, shards=1)
    code, said = slurm.wait(tmp_path / "store", process)
    assert code == 0, said
    assert results(tmp_path / "store") == local(*MEAN)
    assert set(slurm.computed().values()) == {3}
    arrays = list((tmp_path / "store" / "slurm").glob("gmsdi-*/[0-9]*"))
    tasks = [len(list(array.glob("*_submitted.pkl"))) for array in arrays]
    assert sum(tasks) > MAX_ARRAY >= max(tasks)


def test_submitting_returns_at_once_and_the_last_job_finishes(
    slurm: SlurmSuite, cluster: Cluster, tmp_path: Path, local: Callable
) -> None:
    store = tmp_path / "store"
    gpu = "launcher.sbatch.gres='gpu:1'"
    code, said = slurm.wait(store, slurm.slurm(store, gpu, *slurm.slow(0.01), *MEAN, wait=False, shards=1))
    assert code == 0, said
    assert "3 shards submitted" in said
    code, said = slurm.wait(store, slurm.slurm(store, *slurm.slow(0.01), *MEAN, wait=False, shards=1))
    assert "0 shards submitted" in said.splitlines()[-1]  # all are in the queue already
    _, said = slurm.wait(store, slurm.verb("status", store))
    assert "3 shards: " in said
    until(lambda: not cluster.ask("squeue", "--noheader"))
    assert results(store) == local(*MEAN)
    scripts = [script.read_text() for script in (store / "slurm").glob("gmsdi-*/*/*_submission.sh")]
    assert {("--gres=gpu:1" in script, "--dependency" in script) for script in scripts} == {
        (True, False),
        (False, True),
    }
    _, said = slurm.wait(store, slurm.verb("status", store))
    assert said.splitlines()[-1] == f"3 shards: 3 done; {3 * UNITS} of {3 * UNITS} units done"


@pytest.mark.parametrize(
    "faults",
    [(kill_worker, cancel_one), (preempt, requeue), (lose_node, stop_controller)],
    ids=lambda faults: " and ".join(fault.__name__ for fault in faults),
)
def test_faults_cost_time_and_nothing_else(
    slurm: SlurmSuite, cluster: Cluster, tmp_path: Path, local: Callable, faults: tuple[Fault, ...]
) -> None:
    outcome = endure(cluster, slurm, tmp_path / "store", faults)
    assert outcome.code == 0, outcome.said
    assert (outcome.lost, outcome.twice) == (0, 0)
    assert outcome.again <= len(faults) * 2 * 2  # no more than the batches that two workers were at
    assert results(tmp_path / "store") == local()


def test_two_who_submit_the_same_compute_each_unit_once(
    slurm: SlurmSuite, cluster: Cluster, tmp_path: Path, local: Callable
) -> None:
    store = tmp_path / "store"
    pair = [slurm.slurm(store, shards=2, seconds=0.3) for _ in range(2)]
    for process in pair:
        process.join()
    assert [process.exitcode for process in pair] == [0, 0], slurm.said(store).read_text()
    assert results(store) == local()
    assert set(slurm.computed().values()) == {1}
    assert finished_twice(store) == 0


def test_a_shard_that_slurm_runs_again_while_another_does_is_no_harm(
    slurm: SlurmSuite, cluster: Cluster, tmp_path: Path, local: Callable
) -> None:
    """As after NODE_FAIL: submitit calls a job ended that Slurm starts anew, and whoever believes it submits the same again."""
    store = tmp_path / "store"
    process = slurm.slurm(store, shards=1, seconds=0.5)
    until(lambda: list((store / "slurm").glob("gmsdi-*/0/*_submitted.pkl")))
    (pickle,) = (store / "slurm").glob("gmsdi-*/0/*_submitted.pkl")
    (script,) = pickle.parent.glob("*_submission.sh")
    job = cluster.ask(
        "sbatch", "--hold", "--parsable", f"--export=ALL,PYTHONPATH={slurm.environment['PYTHONPATH']}", str(script)
    ).strip()
    (script.parent / f"{job}_submitted.pkl").write_bytes(pickle.read_bytes())
    cluster.ask("scontrol", "release", job)
    code, said = slurm.wait(store, process)
    assert code == 0, said
    until(lambda: not cluster.ask("squeue", "--noheader"))
    assert set(slurm.computed().values()) == {1}
    assert len({line.split()[-1] for line in slurm.lines()}) == 2  # both were at it
    assert results(store) == local()


def test_cancel_keeps_what_is_finished_and_resume_does_the_rest(
    slurm: SlurmSuite, cluster: Cluster, tmp_path: Path, local: Callable
) -> None:
    store = tmp_path / "store"
    gpu = "launcher.sbatch.gres='gpu:1'"
    slurm.wait(store, slurm.slurm(store, gpu, *slurm.slow(0.9), wait=False, shards=2))
    until(lambda: len(slurm.lines()) >= 4)
    assert slurm.wait(store, slurm.verb("cancel", store))[0] == 0
    until(lambda: not cluster.ask("squeue", "--noheader"))
    done = results(store)[1]
    assert 0 < len(done) < UNITS
    assert not leases(store)  # Slurm told the workers before it killed them
    _, said = slurm.wait(store, slurm.verb("status", store))
    assert "lost" in said and "CANCELLED" in said and "`gmsdi resume`" in said
    code, said = slurm.wait(store, slurm.verb("resume", store, "wait=true", "launcher=slurm", "launcher.minutes=77"))
    assert code == 0, said
    assert results(store) == local()
    before, again = (OmegaConf.load(file).launcher for file in sorted((store / "slurm").glob("gmsdi-*/config.yaml")))
    assert again == {**before, "minutes": 77, "wait": True}
    assert sum(slurm.computed().values()) <= UNITS + 4
    assert finished_twice(store) == 0


def test_a_job_that_is_told_to_end_is_queued_again_unless_it_was_cancelled(
    slurm: SlurmSuite, cluster: Cluster, tmp_path: Path
) -> None:
    """As by a preemption that leaves it time, on a site that sends no other signal."""
    store = tmp_path / "store"
    slurm.wait(store, slurm.slurm(store, wait=False, shards=2, seconds=0.5))
    until(lambda: len(slurm.lines()) >= 4)
    first, second = sorted(running(cluster))
    cluster.ask("scancel", "--signal=TERM", first)
    cluster.ask("scancel", second)
    until(lambda: not leases(store))
    until(lambda: not cluster.ask("squeue", "--noheader"))
    _, said = slurm.wait(store, slurm.verb("status", store))
    assert "2 shards: 1 done, 1 lost" in said
    assert UNITS // 2 <= len(results(store)[1]) < UNITS
    assert len({line.split()[-1] for line in slurm.lines()}) == 3


def test_runs_of_other_systems_on_the_same_store_are_not_waited_for(
    slurm: SlurmSuite, cluster: Cluster, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    slurm.wait(store, slurm.slurm(store, wait=False, shards=1, seconds=60))
    (long,) = running(cluster)
    code, said = slurm.wait(store, slurm.slurm(store, *system("other", variant=1), shards=1))
    assert code == 0, said
    code, said = slurm.wait(store, slurm.slurm(store, *system("third", variant=2), wait=False, shards=1))
    assert code == 0 and "0 jobs were there" in said.splitlines()[-1]
    until(lambda: len(results(store)[0]) == 2 * len(TRACKS))  # by a last job that waits for its own shards alone
    assert long in running(cluster)


def test_who_waits_hears_why_jobs_die(slurm: SlurmSuite, cluster: Cluster, tmp_path: Path) -> None:
    store = tmp_path / "store"
    few = ["launcher.attempts=2", "launcher.python=/nowhere/python"]
    code, said = slurm.wait(store, slurm.slurm(store, *slurm.slow(0), *few, shards=1))
    assert code == 2
    lost = [line for line in said.splitlines() if " was lost: " in line]
    assert len(lost) == 2  # before it is submitted again, and at the end
    for line in lost:
        assert "FAILED: " in line and "/nowhere/python" in line and f"see `gmsdi status store={store}`" in line
        assert "nowhere" in Path(line.split("its log is ")[1].split(";")[0]).read_text()


def test_who_interrupts_a_run_that_waits_hears_that_the_jobs_go_on(
    slurm: SlurmSuite, cluster: Cluster, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    waiting = slurm.slurm(store, *slurm.slow(60), shards=1)
    job = running(cluster)
    os.kill(waiting.pid, signal.SIGINT)
    code, said = slurm.wait(store, waiting)
    assert code == 130
    assert f"the jobs go on: `gmsdi status store={store}` follows them, `gmsdi cancel store={store}`" in said
    assert running(cluster) == job


def test_a_job_that_runs_out_of_time_goes_on_where_it_stopped(
    slurm: SlurmSuite, cluster: Cluster, tmp_path: Path, local: Callable
) -> None:
    """Slurm tells it up to a minute before; the limit is one minute and the work takes longer."""
    store = tmp_path / "store"
    process = slurm.start(
        store, *SLURM, "wait=true", "launcher.minutes=1", "launcher.grace_seconds=50", *slurm.slow(1.4)
    )
    code, said = slurm.wait(store, process)
    assert code == 0, said
    assert len({line.split()[-1] for line in slurm.lines()}) >= 2
    assert results(store) == local()
    assert finished_twice(store) == 0


def test_a_unit_that_fails_or_kills_its_worker_keeps_no_other_from_being_done(
    slurm: SlurmSuite, cluster: Cluster, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    bad = [*slurm.slow(0.01, fails=BAD), *system("deadly", variant=1, deadly=BAD)]
    code, said = slurm.wait(store, slurm.slurm(store, "batch_size=4", *bad, shards=1))
    assert code == 2, said
    assert "2 of 48 excerpts failed" in said
    scores, outputs, failures = results(store)
    assert (len(scores), len(outputs)) == (2 * (len(TRACKS) - 1), 2 * UNITS - 2)
    assert {(failure["attempt"], failure["message"]) for failure in failures.values()} == {
        (3, "this one never works"),
        (1, "3 workers ended while at it: a crash, out of memory, killed, cancelled or preempted; their logs may say"),
    }
    _, said = slurm.wait(store, slurm.verb("status", store))
    assert "4 shards: 2 done, 2 failed; 46 of 48 units done" in said
    assert " failed (this one never works): 23 of 24 units, 1 failed; " in said


def test_without_a_controller_nothing_is_submitted_and_nothing_lost(
    slurm: SlurmSuite, cluster: Cluster, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    slurm.run(store, *system("slow"))
    before = results(store)
    cluster.stop_controller()
    try:
        code, said = slurm.wait(store, slurm.slurm(store, *system("slow"), *system("other", variant=1)))
        assert code == 4
        assert "Unable to contact slurm controller" in said.splitlines()[-1]
        assert said.splitlines()[-1].startswith("error: ")
    finally:
        cluster.start_controller()
    assert results(store) == before


def test_what_slurm_refuses_is_one_line(slurm: SlurmSuite, cluster: Cluster, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for sbatch, expected in {
        "launcher.sbatch.partition=gone": "error: Slurm does not take the job: sbatch: error: invalid partition specified: gone",
        "+launcher.sbatch.partitions=gone": "error: launcher.sbatch: Unavailable parameter(s): ['partitions']",
    }.items():
        code, said = slurm.wait(store, slurm.slurm(store, *slurm.slow(0), sbatch))
        assert code == 4
        assert said.splitlines()[-1].startswith(expected), said
    code, said = slurm.wait(store, slurm.verb("status", store))
    assert code == 4 and "nothing was given to Slurm from this store" in said  # what was refused is not resumed


def test_who_waits_hears_of_a_cancel(slurm: SlurmSuite, cluster: Cluster, tmp_path: Path) -> None:
    store = tmp_path / "store"
    waiting = slurm.slurm(store, *slurm.slow(5.0), shards=2)
    until(lambda: cluster.ask("squeue", "--noheader", "--states", "RUNNING"))
    assert slurm.wait(store, slurm.verb("cancel", store))[0] == 0
    code, said = slurm.wait(store, waiting)
    assert code == 2 and "cancelled; what is finished is kept" in said
    assert "submitted again" not in said
    until(lambda: not cluster.ask("squeue", "--noheader"))


def test_doctor_says_what_slurm_is_here_and_what_it_lacks(slurm: SlurmSuite, tmp_path: Path) -> None:
    store = tmp_path / "store"
    few = ["dataset=msdm_layout", f"data={slurm.folder / 'data'}", "system=[mixture]", "launcher=slurm"]
    _, said = slurm.wait(store, slurm.verb("doctor", store, *few, "launcher.sbatch.partition=urgent"))
    assert f"partition urgent, arrays of up to {MAX_ARRAY}, 0 jobs" in " ".join(said.replace("│", " ").split())
    code, said = slurm.wait(store, slurm.verb("doctor", store, *few, "launcher.sbatch.partition=gone"))
    assert code == 4 and "cannot be used here" in said


def test_without_slurm_and_without_a_submission_there_is_one_line(slurm: SlurmSuite, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for verb in ("status", "resume", "cancel"):
        code, said = slurm.wait(store, slurm.verb(verb, store))
        assert (code, said.splitlines()[-1]) == (
            4,
            f"error: {store}: nothing was given to Slurm from this store (`gmsdi run launcher=slurm`)",
        )
