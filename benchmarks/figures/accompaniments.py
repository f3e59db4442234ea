"""Accompaniments of one song's stems: the given stems, the real others, and what each system generates in their place.

    python -m benchmarks.figures.accompaniments OUT.png Track00004 ['system=[gmsdi-generator,msdm-generator]']

The overrides are those of ``gmsdi run table=subfad``, whose store is read. The song's middle excerpt is shown.
"""

import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import config
from benchmarks.figures import canvas
from benchmarks.figures.spectrograms import LABEL, mel, middle, panel, spectrograms
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.tasks import Task
from benchmarks.run.configured import job_of
from benchmarks.run.job import Job
from benchmarks.store.store import Store
from gmsdi import STEMS, audio
from gmsdi.errors import BadInputError, IntegrityError, near

USAGE = "python -m benchmarks.figures.accompaniments OUT.png TRACK [OVERRIDES…]"

TASKS = ("B", "D", "G", "P", "GP", "BDG")
"""The tasks that are shown, one a row."""


def main(arguments: Sequence[str]) -> Path:
    """Draw the figure of the command line."""
    if len(arguments) < 2:
        raise BadInputError(f"usage: {USAGE}")
    out, track, *overrides = arguments
    settings = config.load(["table=subfad", *overrides])
    job = job_of(settings, Store(settings.store).refresh())
    names = [each.name for each in job.plan.tracks]
    if track not in names:
        raise BadInputError(f"unknown track {track!r}{near(track, names)}")
    draw(track, job, Path(out))
    return Path(out)


def draw(track: str, job: Job, path: Path) -> None:
    """One row a task. The columns: the given stems, the task's real stems, and those of each system that does all tasks."""
    by_row: dict[str, dict[str, SystemSpec]] = {}
    for system in job.plan.systems:
        if system.task and not system.lacks and job.plan.units.get((system.id, track)):
            by_row.setdefault(system.row, {})[system.task.name] = system
    shown = {name: systems for name, systems in by_row.items() if set(TASKS) <= systems.keys()}
    if not shown:
        raise BadInputError(f"no system of system=[…] does all of {', '.join(TASKS)}")
    some = next(iter(shown.values()))
    excerpt = middle(job.plan.units[some["B"].id, track]).excerpt
    (found,) = (each for each in job.plan.tracks if each.name == track)
    real = job.dataset.stretch(found, excerpt.start, excerpt.length)
    rate = job.plan.manifest.rate
    loudest = spectrograms(audio.mixture(real)[None], rate).max()
    span = excerpt.start / rate, (excerpt.start + excerpt.length) / rate
    show = partial(panel, extent=(*span, 0.0, mel(rate / 2)))
    with canvas.figure("ticks", 2.2 + 2.1 * (2 + len(shown)), 1.0 + 1.2 * len(TASKS), path) as figure:
        grid = figure.subplots(len(TASKS), 2 + len(shown), sharex=True, sharey=True, squeeze=False)
        headings = ["given", "real", *(systems["B"].label for systems in shown.values())]
        for name, axes in zip(TASKS, grid, strict=True):
            task = some[name].task
            assert task is not None
            mixes = [_mix(real, task.given), _mix(real, task.stems)]
            mixes += [_generated(job, systems[name], track) for systems in shown.values()]
            for place, mix, heading in zip(axes, mixes, headings, strict=True):
                levels = spectrograms(mix[None], rate)[0] - loudest
                image = show(place, levels, textwrap.fill(heading, 2 * LABEL) if name == TASKS[0] else "")
            axes[0].set_ylabel(_words(task), rotation=0, ha="right", va="center", labelpad=8)
        for axes in grid[-1]:
            axes.set_xlabel("s")
        figure.colorbar(image, ax=grid, shrink=0.4, label="dB re the real mixture's loudest")
        title = f"Generated to go with {track}, {span[0]:.1f} to {span[1]:.1f} s — {job.plan.manifest.title}"
        figure.suptitle(f"{title} {job.plan.manifest.split}", fontsize=12, fontweight="bold")


def _mix(stems: audio.Samples, names: Sequence[str]) -> audio.Samples:
    return audio.mixture(stems[[STEMS.index(name) for name in names]])


def _generated(job: Job, system: SystemSpec, track: str) -> audio.Samples:
    """The sum of what a system generated, ``[T]``."""
    unit = middle(job.plan.units[system.id, track])
    if not job.store.has_output(unit.id):
        raise IntegrityError(
            f"{system.name}: no audio of {track} in {job.store.root}; run `gmsdi run table=subfad` first"
        )
    return audio.mixture(np.ascontiguousarray(job.store.read_output(unit)))


def _words(task: Task) -> str:
    return ",\n".join(task.stems)


if __name__ == "__main__":
    sys.exit(canvas.command(main, sys.argv[1:]))
