"""``kill -9`` at random moments: nothing is lost, nothing is wrong, and the next run goes on from there."""

import random
import time
from pathlib import Path

from tinyruns import CHUNKS, TRACKS, Suite, results, system, until

KILLS = 20
SYSTEMS = [
    *(override for n in range(7) for override in system(f"slow{n}", variant=n, seconds=0.01)),
    *system("mean", target="gmsdi.ensemble.Mean", of="slow0", samples=2),
]
"""Several, for then separating, scoring and dropping take turns all along the run; one is made of more samples of another."""


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_scores(suite: Suite, tmp_path: Path) -> None:
    """Each attempt dies a random while after its first lease, so that kills hit work in progress; all of them together last
    about two thirds of an undisturbed run, so that the work is never done before the last kill."""
    overrides = [*SYSTEMS, "keep_audio=flac"]
    began = time.monotonic()
    assert suite.run(tmp_path / "undisturbed", *overrides)[0] == 0
    undisturbed = time.monotonic() - began

    dice, stages = random.Random(0), set()
    for _ in range(KILLS):
        before = leases(tmp_path / "killed")
        run = suite.start(tmp_path / "killed", *overrides)
        until(lambda run=run, before=before: leases(tmp_path / "killed") - before or not run.is_alive())
        time.sleep(dice.uniform(0, undisturbed / KILLS * 4 / 3))
        run.kill()
        run.join()
        assert run.exitcode == -9
        scores, outputs, _ = results(tmp_path / "killed")
        stages.add((len(outputs), len(scores), len(list(tmp_path.glob("killed/flac/*/*")))))
    assert len(stages) >= KILLS / 4  # kills at many stages of the work

    assert suite.run(tmp_path / "killed", *overrides)[0] == 0
    assert results(tmp_path / "killed") == results(tmp_path / "undisturbed")
    scores, outputs, failures = results(tmp_path / "killed")
    assert (len(scores), len(outputs), len(failures)) == (8 * len(TRACKS), 9 * len(TRACKS) * CHUNKS, 0)
    assert not list(tmp_path.glob("killed/audio/??/[!.]*"))  # what was cut off in between starts with a dot


def leases(store: Path) -> set[Path]:
    return set(store.glob("leases/*/*"))
