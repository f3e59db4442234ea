"""A disk that fills up or turns read-only in mid-run: one clear line, exit 4, and nothing that was finished is lost."""

import subprocess

import pytest
from tinyruns import CHUNKS, TRACKS, results, system


@pytest.fixture
def disk(tmp_path):
    """A file system of 4 MB: room for less than half of the outputs. Yields its folder and a way to mount it again with options."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a small disk: {mounted.stderr.strip()}")
    yield folder, lambda options: subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)
    subprocess.run(["umount", folder], check=True)


@pytest.fixture
def undisturbed(suite, tmp_path):
    """What a run on a good disk leaves in its store."""
    suite.run(tmp_path / "undisturbed")
    return results(tmp_path / "undisturbed")


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(suite, disk, undisturbed):
    folder, remount = disk
    code, said = suite.run(folder / "store")
    assert (code, errors(said)) == (4, ["error: disk: No space left on device; what was finished is kept, run again"])
    done = results(folder / "store")[1]
    assert 0 < len(done) < len(undisturbed[1])

    remount("size=64m")
    assert suite.run(folder / "store")[0] == 0
    assert results(folder / "store") == undisturbed


def test_a_disk_that_turns_read_only_loses_nothing(suite, disk, undisturbed):
    folder, remount = disk
    remount("size=64m")
    code, said = suite.run(folder / "store", *system("slow", protect=f"[{folder},{TRACKS[3]}]"))
    assert code == 4
    (error,) = errors(said)
    assert error.endswith("Read-only file system; what was finished is kept, run again")
    assert len(results(folder / "store")[1]) == 3 * CHUNKS

    remount("rw")
    assert suite.run(folder / "store")[0] == 0
    assert results(folder / "store") == undisturbed


def test_a_read_only_store_is_refused_at_once(suite, disk):
    folder, remount = disk
    remount("ro")
    code, said = suite.run(folder / "store")
    expected = f"error: {folder / 'store'}: the store cannot be written to (Read-only file system); give another with store=DIR"
    assert (code, errors(said)) == (4, [expected])


def errors(said):
    """The lines that are not news of progress, of what there is to do and of its result: errors and, were there one, a traceback."""
    news = ("indexing", "separating", "scoring", "1 system, ", "slow: ")
    return [line for line in said.splitlines() if not line.startswith(news)]
