"""``kill -9`` at random moments: nothing is lost, nothing is wrong, and the next run goes on from there."""

import random
import time
from pathlib import Path

from tinyruns import CHUNKS, TRACKS, Suite, results, system, until

KILLS = 20
MOST = 6
"""Records of batches, of the 116 that there are, that an attempt makes before it dies: 3 on average, and about one more."""
SYSTEMS = [
    *(override for n in range(7) for override in system(f"slow{n}", variant=n, seconds=0.01)),
    *system("mean", target="gmsdi.ensemble.Mean", of="slow0", samples=2),
]
"""Several, for then separating, scoring and dropping take turns all along the run; one is made of more samples of another."""


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_scores(suite: Suite, tmp_path: Path) -> None:
    """Each attempt dies after its first lease and a random number of further records, so that kills hit work in progress however fast
    the machine is; all of them together record about three quarters of the work, so that it is never done before the last kill."""
    overrides = [*SYSTEMS, "keep_audio=flac"]
    assert suite.run(tmp_path / "undisturbed", *overrides)[0] == 0

    dice, stages, store = random.Random(0), set(), tmp_path / "killed"
    for _ in range(KILLS):
        before, goal = leases(store), segments(store) + dice.randint(0, MOST)
        run = suite.start(store, *overrides)
        until(
            lambda run=run, before=before, goal=goal: (
                (leases(store) - before and segments(store) >= goal) or not run.is_alive()
            )
        )
        time.sleep(dice.uniform(0, 0.02))
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


def segments(store: Path) -> int:
    """How many batches were recorded, before they are merged at the end of a run."""
    return len([*store.glob("outputs/*.jsonl"), *store.glob("scores/*.jsonl")])


def leases(store: Path) -> set[Path]:
    return set(store.glob("leases/*/*"))
