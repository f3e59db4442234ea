"""The three splits on disk: which track is which song, and the rendering of missing songs."""

import errno
import multiprocessing
import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import yaml

from benchmarks.data.minislakh.compose import COMPOSER_VERSION, compose
from gmsdi.errors import BadInputError, IntegrityError

FIRST_TRACK = {"train": 1, "validation": 1501, "test": 1876}
"""The number of each split's first track, as in Slakh2100."""

MOST_SONGS = {"train": 1500, "validation": 375, "test": 225}
"""How many songs a split can hold before its numbers run into the next split's."""

DEFAULT_SONGS = {"train": 200, "validation": 20, "test": 20}
"""How many songs MiniSlakh has unless told otherwise."""


def track_folder(root: Path, split: str, index: int) -> Path:
    """Where song ``index`` (from 0) of a split lies: ``root/<split>/TrackNNNNN``."""
    return root / split / f"Track{FIRST_TRACK[split] + index:05}"


def render_split(
    root: Path,
    split: str,
    songs: int,
    seed: int,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Render the songs of a split that ``root`` lacks, in ``workers`` processes; ``progress`` is called with (done, total).

    A song's folder appears when it is complete, and a song that is there is left alone, so calling this again resumes
    a killed run. Raises ``BadInputError`` for an unknown split or an impossible number, ``IntegrityError`` when
    ``root`` holds songs of another seed or composer.
    """
    if split not in FIRST_TRACK:
        raise BadInputError(f"{split}: no such split; choose one of {', '.join(FIRST_TRACK)}")
    if not 1 <= songs <= MOST_SONGS[split]:
        raise BadInputError(f"{songs} songs: {split} holds 1 to {MOST_SONGS[split]}")
    if workers < 1:
        raise BadInputError(f"{workers} workers: at least 1 is needed")
    (root / split).mkdir(parents=True, exist_ok=True)
    missing = [index for index in range(songs) if not _is_rendered(root, split, index, seed)]
    done = songs - len(missing)
    if progress:
        progress(done, songs)
    # Spawned, not forked: the caller may hold threads and a GPU, which a fork would inherit half-alive.
    with ProcessPoolExecutor(min(workers, songs), multiprocessing.get_context("spawn")) as pool:
        for _ in pool.map(partial(_render, root, split, seed), missing):
            done += 1
            if progress:
                progress(done, songs)


def _is_rendered(root: Path, split: str, index: int, seed: int) -> bool:
    """Whether the song is there; ``IntegrityError`` if its folder holds anything else."""
    folder = track_folder(root, split, index)
    if not folder.exists():
        return False
    try:
        grown = yaml.safe_load((folder / "metadata.yaml").read_text())["minislakh"]
        found = grown["composer_version"], grown["seed"]
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        raise IntegrityError(
            f"{folder}: not a complete MiniSlakh song; choose another root, or delete it to render again"
        ) from None
    if found != (COMPOSER_VERSION, seed):
        raise IntegrityError(
            f"{folder}: rendered by composer version {found[0]} from seed {found[1]}, not {COMPOSER_VERSION} from "
            f"{seed}; choose another root, or delete it to render again"
        )
    return True


def _render(root: Path, split: str, seed: int, index: int) -> None:
    """Render one song under a hidden name beside its folder, then rename it."""
    from benchmarks.data.minislakh.render import render_song  # here, so that composing needs no synthesiser

    folder = track_folder(root, split, index)
    hidden = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    hidden.mkdir()
    try:
        render_song(compose(seed, split, index), hidden)
        hidden.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        # Another run was faster. Its song is the same, byte for byte.
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
