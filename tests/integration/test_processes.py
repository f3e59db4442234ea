"""``launcher=processes``: what several processes make is what one makes, and a worker that dies costs nothing but time."""

import os
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from tinyruns import CHUNKS, TRACKS, Suite, results, system, until

UNITS = len(TRACKS) * CHUNKS
MEAN = system("mean", target="gmsdi.ensemble.Mean", of="slow", samples=3)
THREE = ["launcher=processes", "launcher.workers=3"]


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def computed(log: Path) -> Counter[str]:
    """How often each unit was computed; ``MEAN`` takes three replicates of each excerpt."""
    return Counter(line.rsplit(" ", 1)[0] for line in lines(log))


@pytest.mark.parametrize("keep_audio", ["float32", "false"])
def test_three_processes_make_what_one_makes(suite: Suite, tmp_path: Path, keep_audio: str) -> None:
    log = tmp_path / "log"
    suite.run(tmp_path / "alone", *system("slow"), *MEAN)
    code, said = suite.run(
        tmp_path / "store", *THREE, *system("slow", seconds=0.02, log=log), *MEAN, f"keep_audio={keep_audio}"
    )
    assert code == 0, said
    assert results(tmp_path / "store") == results(tmp_path / "alone")
    assert set(computed(log).values()) == {3}
    assert len({line.split()[-1] for line in lines(log)}) == 3
    audio = list((tmp_path / "store" / "audio").glob("??/*"))
    assert len(audio) == (4 * UNITS if keep_audio == "float32" else 0)


def test_a_worker_that_is_killed_loses_nothing_and_is_told_of(suite: Suite, tmp_path: Path) -> None:
    log = tmp_path / "log"
    suite.run(tmp_path / "alone")
    run = suite.start(tmp_path / "store", *THREE, *system("slow", seconds=0.15, log=log))
    until(lambda: len(lines(log)) >= 4)
    victim = int(lines(log)[-1].split()[-1])
    os.kill(victim, signal.SIGKILL)
    run.join()
    said = (tmp_path / "store.stderr").read_text()
    assert run.exitcode == 0, said
    assert f"(process {victim}) was killed by signal 9; what it finished is kept, another takes over" in said
    assert results(tmp_path / "store") == results(tmp_path / "alone")
    assert sum(computed(log).values()) <= UNITS + 2  # at most the batch that it was at was done again


@pytest.mark.parametrize("way", ["deadly", "poison"])
def test_a_unit_that_ends_every_worker_keeps_no_other_from_being_done(suite: Suite, tmp_path: Path, way: str) -> None:
    code, said = suite.run(
        tmp_path / "store", *THREE, "batch_size=4", *system("slow", **{way: f"[{TRACKS[2]},{2 * 22050}]"})
    )
    assert code == 2, said
    assert "1 of 24 excerpts failed" in said
    scores, outputs, failures = results(tmp_path / "store")
    assert (len(scores), len(outputs)) == (len(TRACKS) - 1, UNITS - 1)
    (failure,) = failures.values()
    assert (
        failure["message"]
        == "3 workers ended while at it: a crash, out of memory, killed, cancelled or preempted; their logs may say"
    )


def test_a_unit_that_fails_is_tried_as_often_as_told_and_no_more(suite: Suite, tmp_path: Path) -> None:
    bad = system("slow", fails=f"[{TRACKS[2]},{2 * 22050}]")
    code, said = suite.run(tmp_path / "store", *THREE, "launcher.attempts=3", *bad)
    assert code == 2, said
    (failure,) = results(tmp_path / "store")[2].values()
    assert (failure["attempt"], failure["message"]) == (3, "this one never works")
    assert len(results(tmp_path / "store")[1]) == UNITS - 1


def test_a_launcher_without_workers_is_refused(suite: Suite, tmp_path: Path) -> None:
    code, said = suite.run(tmp_path / "store", *THREE, "launcher.workers=0", *system("slow"))
    assert (code, said) == (4, "error: launcher.workers=0: must be a whole number of at least 1\n")


@pytest.mark.parametrize("launcher", [["launcher=local"], THREE])
def test_a_run_says_what_there_is_to_compute_and_how_long_that_will_take(
    suite: Suite, tmp_path: Path, launcher: list[str]
) -> None:
    store = tmp_path / "store"
    suite.run(store, *launcher, *system("slow"))
    code, said = suite.run(store, *launcher, *system("slow"), *MEAN)
    assert code == 0, said
    suite.run(store, *launcher, *system("slow"), *MEAN)
    assert re.findall(r".* to compute.*", suite.said(store).read_text()) == [
        f"1 system, {UNITS} excerpts to compute; how long that takes is not known",
        f"2 systems, {3 * UNITS} excerpts to compute: a few seconds, by this store's own, on cpu; scoring not counted",
    ]
    headlines = re.findall(r"^(\w+): msdm -?[\d.]+ dB, active -?[\d.]+ dB, mean of the stems$", said, re.MULTILINE)
    assert headlines == ["slow", "mean"]  # each once, when it is scored
