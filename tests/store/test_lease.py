"""Leases between real processes: exclusive, and taken over from the dead, once."""

import json
import multiprocessing
import os
import time
from itertools import count
from pathlib import Path

import pytest

from benchmarks.store import lease
from benchmarks.store.lease import Leases

FORK = multiprocessing.get_context("fork")


def race(folder, keys, barrier, wins):
    """Try for each key at the same time as the others, and hold what was won until all have tried."""
    with Leases(folder) as leases:
        for key in keys:
            barrier.wait()
            if leases.acquire(key):
                wins.put(key)
        barrier.wait()


def racers(folder, keys, count=4):
    """The keys that ``count`` racing processes won."""
    barrier, wins = FORK.Barrier(count), FORK.SimpleQueue()
    processes = [FORK.Process(target=race, args=(folder, keys, barrier, wins)) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    won = []
    while not wins.empty():
        won.append(wins.get())
    return sorted(won)


def hold(folder, key, ready):
    with Leases(folder) as leases:
        assert leases.acquire(key)
        ready.set()
        time.sleep(60)


@pytest.fixture
def killed_holder(tmp_path):
    """The folder of a lease "key" whose holder was killed with SIGKILL."""
    ready = FORK.Event()
    holder = FORK.Process(target=hold, args=(tmp_path, "key", ready))
    holder.start()
    assert ready.wait(30)
    holder.kill()
    holder.join()
    return tmp_path


@pytest.fixture
def remote_lease(tmp_path):
    """The file of a lease "key" that a process on another machine holds."""
    path = lease_file(tmp_path)
    path.write_text(json.dumps({"host": "elsewhere", "pid": os.getpid(), "started": "1"}))
    return path


def lease_file(folder):
    """The file of the first lease on "key"."""
    (folder / "ey").mkdir(exist_ok=True)
    return folder / "ey" / "key.0"


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def stop_heartbeat(path):
    then = time.time() - lease.STALE - 1
    os.utime(path, (then, then))


def test_each_key_goes_to_exactly_one_of_racing_processes(tmp_path):
    keys = [f"{n:03d}" for n in range(100)]
    assert racers(tmp_path, keys) == keys


def test_a_lease_that_was_taken_since_the_folder_was_listed_is_respected(tmp_path, monkeypatch):
    with Leases(tmp_path) as first, Leases(tmp_path) as second:
        assert first.acquire("key")
        with monkeypatch.context() as patch:
            patch.setattr(second, "_generations", lambda key: [])
            assert not second.acquire("key")


def test_a_live_holder_is_respected_on_the_same_machine(tmp_path):
    with Leases(tmp_path) as first, Leases(tmp_path) as second:
        assert first.acquire("key")
        assert not second.acquire("key")


def test_a_killed_holder_is_taken_over_at_once_and_once(killed_holder):
    assert racers(killed_holder, ["key"]) == ["key"]


def test_the_dead_are_counted_until_a_lease_is_given_back(killed_holder):
    with Leases(killed_holder) as leases, Leases(killed_holder) as other:
        assert leases.deaths(["key", "free"]) == {"key": 1}
        assert leases.acquire("key")
        assert other.deaths(["key"]) == {"key": 1}
        leases.release(["key"])
        assert other.deaths(["key"]) == {}


@pytest.fixture
def dead_lease(tmp_path, remote_lease):
    """The file of a lease "key" of a process of this machine that is dead; another has its id."""
    here = {"host": lease.socket.gethostname(), "namespace": str(Path("/proc/self/ns/pid").readlink())}
    remote_lease.write_text(json.dumps({**json.loads(remote_lease.read_text()), **here}))
    return remote_lease


def test_a_reused_process_id_does_not_keep_a_lease_alive(tmp_path, dead_lease):
    with Leases(tmp_path) as leases:
        assert leases.acquire("key")


def elsewhere(path):
    path.write_text(json.dumps({**json.loads(path.read_text()), "namespace": "pid:[1]"}))


def of_an_older_version(path):
    path.write_text(
        json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "namespace"})
    )


def of_another_user(path):
    if os.getuid() != 0:
        pytest.skip("only root gives files away")
    os.chown(path, 12345, -1)


@pytest.mark.parametrize("change", [elsewhere, of_an_older_version, of_another_user])
def test_only_the_heartbeat_tells_of_a_process_that_this_one_may_not_see(tmp_path, dead_lease, change):
    change(dead_lease)
    with Leases(tmp_path) as leases:
        assert not leases.acquire("key")
        stop_heartbeat(dead_lease)
        assert leases.acquire("key")


@pytest.mark.parametrize(("error", "dead"), [(ProcessLookupError, True), (PermissionError, False)])
def test_a_process_that_is_just_gone_is_dead_and_one_that_is_hidden_may_live(
    tmp_path, dead_lease, error, dead, monkeypatch
):
    read = Path.read_text

    def refuse(path):
        if path.parts[1] == "proc":
            raise error
        return read(path)

    with Leases(tmp_path) as leases:
        monkeypatch.setattr(Path, "read_text", refuse)
        assert leases.acquire("key") == dead


def before_it_takes(leases, meanwhile, monkeypatch):
    """Let ``meanwhile`` happen once ``leases`` has found a lease to be free or stale, and before it creates its file."""
    place, calls = leases._place, count(1)

    def slow(key):
        if next(calls) == 2:  # the first is to look
            meanwhile()
        return place(key)

    monkeypatch.setattr(leases, "_place", slow)


def test_a_lease_that_was_taken_over_and_given_back_and_taken_meanwhile_is_respected(
    tmp_path, remote_lease, monkeypatch
):
    stop_heartbeat(remote_lease)
    with Leases(tmp_path) as late, Leases(tmp_path) as quick, Leases(tmp_path) as third:

        def meanwhile():
            assert quick.acquire("key")
            quick.release(["key"])
            assert third.acquire("key")

        before_it_takes(late, meanwhile, monkeypatch)
        assert not late.acquire("key")
        assert third.holds("key")
        assert files(tmp_path) == [lease_file(tmp_path)]


def test_who_takes_a_free_lease_steps_back_from_who_takes_it_over(tmp_path, remote_lease, monkeypatch):
    late = remote_lease.with_name("key.1")
    with Leases(tmp_path) as quick:
        owner = remote_lease.read_text()
        remote_lease.unlink()
        before_it_takes(quick, lambda: late.write_text(owner), monkeypatch)
        assert not quick.acquire("key")
        assert files(tmp_path) == [late]


def test_a_holder_on_another_machine_is_respected_while_its_heart_beats(tmp_path, remote_lease):
    assert racers(tmp_path, ["key"]) == []
    stop_heartbeat(remote_lease)
    assert racers(tmp_path, ["key"]) == ["key"]


def test_a_holder_that_was_killed_before_it_wrote_its_name_is_waited_for_briefly(tmp_path):
    path = lease_file(tmp_path)
    path.touch()
    with Leases(tmp_path) as leases:
        assert not leases.acquire("key")
        then = time.time() - lease.HEARTBEAT - 1
        os.utime(path, (then, then))
        assert leases.acquire("key")


def test_a_lease_that_cannot_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    with Leases(tmp_path) as leases:
        monkeypatch.setattr(leases, "_owner", "x" * 10_000_000)
        limit = lease_limit(1_000_000)
        try:
            with pytest.raises(OSError):
                leases.acquire("key")
        finally:
            lease_limit(limit)
    assert files(tmp_path) == []


def lease_limit(size):
    """Limit the size of files that this process may write; returns the limit before."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    return before


def test_a_released_lease_is_free_and_leaves_no_file(killed_holder):
    with Leases(killed_holder) as first, Leases(killed_holder) as second:
        assert first.acquire("key")
        first.release(["key"])
        assert files(killed_holder) == []
        assert second.acquire("key")


def test_all_leases_are_released_on_the_way_out(tmp_path):
    with pytest.raises(RuntimeError), Leases(tmp_path) as leases:
        leases.acquire("a")
        leases.acquire("b")
        raise RuntimeError
    assert files(tmp_path) == []


def test_the_heart_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "HEARTBEAT", 0.02)
    with Leases(tmp_path) as leases:
        leases.acquire("key")
        stop_heartbeat(lease_file(tmp_path))
        deadline = time.monotonic() + 10
        while time.time() - lease_file(tmp_path).stat().st_mtime > 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_shared_items_are_handed_out_in_batches_until_all_are_done(tmp_path):
    done = set()
    with Leases(tmp_path) as leases:
        for batch in leases.share(range(5), str, lambda some: [item for item in some if item not in done], 2):
            assert len(batch) <= 2
            assert done.isdisjoint(batch)
            done.update(batch)
    assert done == set(range(5))


def test_items_that_were_taken_over_while_this_process_slept_are_waited_for(tmp_path):
    done, batches = set(), []
    with Leases(tmp_path) as leases, Leases(tmp_path) as other:
        for batch in leases.share(range(2), str, lambda some: [item for item in some if item not in done], 2):
            batches.append(batch)
            if len(batches) == 1:
                assert all(map(leases.holds, "01"))
                stop_heartbeat(leases._held["0"])
                assert other.acquire("0")
                assert [leases.holds(key) for key in "01"] == [False, True]
                done.add(1)
                other.release("0")  # and it has not been done
            else:
                done.update(batch)
    assert batches == [[0, 1], [0]]


def test_items_that_were_done_since_the_plan_are_not_handed_out(tmp_path):
    done = {1, 3}
    with Leases(tmp_path) as leases:
        batches = list(leases.share(range(5), str, lambda some: [item for item in some if item not in done], 5))
    assert batches == [[0, 2, 4]]
