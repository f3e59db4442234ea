"""Two processes at work on one store: each unit is computed by one of them, and either can finish without the other."""

import time
from collections import Counter

import pytest
from tinyruns import CHUNKS, TRACKS, results, system, until

UNITS = len(TRACKS) * CHUNKS
MEAN = system("mean", target="gmsdi.ensemble.Mean", of="slow", samples=3)


def test_two_runs_share_the_work(suite, tmp_path):
    log = tmp_path / "log"
    suite.run(tmp_path / "alone")
    pair = [suite.start(tmp_path / "shared", *system("slow", seconds=0.05, log=log)) for _ in range(2)]
    for process in pair:
        process.join()

    assert [process.exitcode for process in pair] == [0, 0]
    assert sorted(computed(log).values()) == [1] * UNITS
    assert len(workers(log)) == 2
    assert results(tmp_path / "shared") == results(tmp_path / "alone")


def test_two_runs_that_drop_the_audio_share_the_work_too(suite, tmp_path):
    log = tmp_path / "log"
    overrides = [*system("slow", seconds=0.02, log=log), "keep_audio=flac"]
    pair = [suite.start(tmp_path / "shared", *overrides) for _ in range(2)]
    for process in pair:
        process.join()

    assert [process.exitcode for process in pair] == [0, 0]
    assert sorted(computed(log).values()) == [1] * UNITS
    assert not list((tmp_path / "shared" / "audio").glob("*/*"))
    assert len(list((tmp_path / "shared" / "flac").rglob("*.flac"))) == 4 * UNITS


@pytest.mark.parametrize("keep_audio", ["float32", "false"])
def test_two_runs_share_what_a_system_is_made_of(suite, tmp_path, keep_audio):
    log = tmp_path / "log"
    suite.run(tmp_path / "alone", *system("slow"), *MEAN)
    overrides = [*system("slow", seconds=0.02, log=log), *MEAN, f"keep_audio={keep_audio}"]
    pair = [suite.start(tmp_path / "shared", *overrides) for _ in range(2)]
    for process in pair:
        process.join()

    assert [process.exitcode for process in pair] == [0, 0]
    assert sorted(computed(log).values()) == [3] * UNITS
    assert len(workers(log)) == 2
    assert results(tmp_path / "shared") == results(tmp_path / "alone")
    audio = list((tmp_path / "shared" / "audio").glob("??/*"))
    assert len(audio) == (4 * UNITS if keep_audio == "float32" else 0)


def test_the_survivor_of_two_runs_finishes_all(suite, tmp_path):
    log = tmp_path / "log"
    suite.run(tmp_path / "alone")
    victim, survivor = (suite.start(tmp_path / "shared", *system("slow", seconds=0.1, log=log)) for _ in range(2))
    until(lambda: victim.pid in workers(log))
    victim.kill()
    began = time.monotonic()
    survivor.join()

    assert survivor.exitcode == 0
    assert time.monotonic() - began < 60  # it took over at once, and did not wait for a heartbeat to be missed
    assert len(computed(log)) == UNITS
    assert results(tmp_path / "shared") == results(tmp_path / "alone")


def computed(log):
    """How often each unit was computed."""
    return Counter(line.rsplit(" ", 1)[0] for line in log.read_text().splitlines())


def workers(log):
    """The ids of the processes that computed anything."""
    return {int(line.split()[-1]) for line in log.read_text().splitlines()} if log.exists() else set()
