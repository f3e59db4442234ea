"""What the systems of a table make of one song: a row of spectrograms each, below the true stems and their mixture.

    python -m benchmarks.figures.spectrograms OUT.png Track00004 'system=[msdm-dirac,gmsdi-separator]'

The overrides are those of ``gmsdi run``, whose store is read. A system without audio there (not run, or not kept: ``keep_audio``) is
left out, with a message. The song's middle excerpt is shown.
"""

import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from torchaudio.functional import melscale_fbanks

from benchmarks import config
from benchmarks.data.manifest import DatasetManifest, Excerpt
from benchmarks.figures import canvas
from benchmarks.metrics.si_sdr import SiSDR
from benchmarks.notices import say
from benchmarks.plan.units import WorkUnit
from benchmarks.run.configured import job_of
from benchmarks.run.job import Job
from benchmarks.store.store import Store
from benchmarks.tables import wording
from gmsdi import STEMS, audio
from gmsdi.errors import BadInputError, IntegrityError, near

USAGE = "python -m benchmarks.figures.spectrograms OUT.png TRACK [OVERRIDES…]"

WINDOW, HOP = 2048, 512
"""Samples."""

BANDS, COLUMNS = 60, 120
"""Of a spectrogram: mel bands, and columns, each the mean over an equal part of the excerpt."""

RANGE, STEP = 72, 4
"""dB below the mixture's loudest that are shown, and dB of one colour."""

TICKS = (250, 1000, 4000)
"""Hz."""

LABEL = 16
"""Most characters in a line of a system's label."""

Levels = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """Spectrograms in dB with a title each; ``stems`` ``[K, BANDS, COLUMNS]`` and, for the truth alone, the ``mixture``."""

    label: str
    stems: Levels
    titles: tuple[str, ...]
    mixture: Levels | None = None


def main(arguments: Sequence[str]) -> Path:
    """Draw the figure of the command line."""
    if len(arguments) < 2:
        raise BadInputError(f"usage: {USAGE}")
    out, track, *overrides = arguments
    settings = config.load(overrides)
    job = job_of(settings, Store(settings.store).refresh())
    names = [each.name for each in job.plan.tracks]
    if track not in names:
        raise BadInputError(f"unknown track {track!r}{near(track, names)}")
    units = [middle(job.plan.units[system.id, track]) for system in job.plan.systems]
    stems = _stems(units[0].excerpt, job)
    systems = list(_of_systems(units, stems, job))
    if not systems:
        raise IntegrityError(
            f"{settings.store}: holds no audio of {track}; run `gmsdi run` with the same overrides first"
        )
    draw([_truth(stems, job.plan.manifest.rate), *systems], units[0].excerpt, job.plan.manifest, Path(out))
    return Path(out)


def middle(units: Sequence[WorkUnit]) -> WorkUnit:
    """The unit that is shown; not the first, as songs begin with one instrument."""
    return units[len(units) // 2]


def _stems(excerpt: Excerpt, job: Job) -> audio.Samples:
    """The true stems of an excerpt, ``[K, T]``."""
    (track,) = (each for each in job.plan.tracks if each.name == excerpt.track)
    return job.dataset.stems(track, verify=True)[:, excerpt.start : excerpt.start + excerpt.length]


def _truth(stems: audio.Samples, rate: int) -> Row:
    return Row("Truth", spectrograms(stems, rate), STEMS, spectrograms(audio.mixture(stems)[None], rate)[0])


def _of_systems(units: Sequence[WorkUnit], stems: audio.Samples, job: Job) -> Iterator[Row]:
    """The rows of the systems whose audio is in the store."""
    rate = job.dataset.manifest.rate
    for unit in units:
        if not job.store.has_output(unit.id):
            say(f"{unit.system.label}: no audio of {unit.excerpt.track} in {job.store.root}; left out")
            continue
        estimates = job.store.read_output(unit)
        found = gains(estimates, stems, rate)
        said = [gain if stem in unit.system.stems else "not separated" for stem, gain in zip(STEMS, found, strict=True)]
        yield Row(unit.system.label, spectrograms(estimates, rate), tuple(said))


def gains(estimates: audio.Samples, stems: audio.Samples, rate: int) -> tuple[str, ...]:
    """The SI-SDRi of each estimate over the whole excerpt, in words; estimates and stems are ``[K, T]``."""
    seconds = stems.shape[1] / rate
    scores = SiSDR(window=seconds, hop=seconds)(estimates, stems, rate)["active"]
    # the only window does not count where one stem plays alone
    values = scores.values[:, 0] if scores.values.size else np.full(len(stems), np.nan)
    return tuple(f"SI-SDRi {wording.number(value)} dB" if np.isfinite(value) else "SI-SDRi undef." for value in values)


def spectrograms(signals: audio.Samples, rate: int) -> Levels:
    """The power of signals ``[K, T]`` in mel bands in dB, ``[K, BANDS, COLUMNS]``; a band's power is the mean over its frequencies."""
    spectrum = torch.stft(
        torch.from_numpy(signals),
        WINDOW,
        HOP,
        window=torch.hann_window(WINDOW),
        pad_mode="constant",
        return_complex=True,
    )  # [K, bins, frames]
    banks = melscale_fbanks(WINDOW // 2 + 1, 0, rate / 2, BANDS, rate)  # [bins, BANDS]
    power = (banks / banks.sum(dim=0)).T @ spectrum.abs().square()
    pooled = F.adaptive_avg_pool1d(power, COLUMNS).double()
    levels: Levels = (10 * pooled.clamp(min=1e-20).log10()).numpy()
    return levels


def draw(rows: Sequence[Row], excerpt: Excerpt, manifest: DatasetManifest, path: Path) -> None:
    """Draw the rows of spectrograms of an excerpt, the truth first, on one scale of colours."""
    assert rows[0].mixture is not None
    loudest = rows[0].mixture.max()
    span = excerpt.start / manifest.rate, (excerpt.start + excerpt.length) / manifest.rate
    show = partial(panel, extent=(*span, 0.0, mel(manifest.rate / 2)))
    with canvas.figure("ticks", 10.0, 1.0 + 1.1 * len(rows), path) as figure:
        grid = figure.subplots(len(rows), len(STEMS) + 1, sharex=True, sharey=True, squeeze=False)
        for row, axes in zip(rows, grid, strict=True):
            for place, levels, heading in zip(axes, row.stems, row.titles, strict=False):
                image = show(place, levels - loudest, heading)
            label = textwrap.fill(row.label, LABEL)
            axes[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=8)
            axes[-1].set_axis_off()
        mixture = grid[0, -1]
        mixture.set_axis_on()
        show(mixture, rows[0].mixture - loudest, "mixture")
        for axes in grid[-1, :-1]:
            axes.set_xlabel("s")
        below_mixture = grid[1, -1].inset_axes((0.05, 0.5, 0.9, 0.1))
        figure.colorbar(image, below_mixture, orientation="horizontal", label="dB re the mixture's loudest")
        title = f"{excerpt.track}, {span[0]:.1f} to {span[1]:.1f} s — {manifest.title} {manifest.split}"
        figure.suptitle(title, fontsize=12, fontweight="bold")


def panel(axes: Axes, levels: Levels, heading: str, extent: tuple[float, float, float, float]) -> AxesImage:
    """Show ``levels`` ``[BANDS, COLUMNS]``, in dB below what is loudest, on axes of seconds and mel."""
    image = axes.imshow(
        levels,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=colormaps["magma"].resampled(RANGE // STEP),
        vmin=-RANGE,
        vmax=0,
        extent=extent,
    )
    axes.set_title(heading, fontsize=8, pad=3)
    axes.set_yticks([mel(hertz) for hertz in TICKS], [f"{hertz / 1000:g} kHz" for hertz in TICKS])
    return image


def mel(hertz: float) -> float:
    """Hz on the mel scale, as torchaudio's filter banks have it."""
    return 2595 * float(np.log10(1 + hertz / 700))


if __name__ == "__main__":
    sys.exit(canvas.command(main, sys.argv[1:]))
