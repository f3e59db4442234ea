"""The renderer: a composed song becomes audio, in Slakh2100's raw layout.

Floating-point sums differ in their last bit between processors. So that the files do not, levels are summed in whole
numbers and gains are rounded.
"""

import math
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pretty_midi
import tinysoundfont
import yaml

from benchmarks.data.minislakh.compose import COMPOSER_VERSION
from benchmarks.data.minislakh.dice import digest
from benchmarks.data.minislakh.midi import write_midi
from benchmarks.data.minislakh.song import BEAT, Song, Source
from gmsdi import audio

RATE = 44_100
"""Hz, as Slakh2100."""

TAIL = 2 * RATE
"""Samples after the last bar, in which the last notes die away."""

LOUDNESS = -20
"""Active loudness in dB of a source of level 0, before the song's gain."""

PEAK = -1.0
"""The loudest sample of a song in dB full scale, in the mixture or in a stem."""

SOUNDFONT = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
"""A General MIDI SoundFont that the pretty_midi wheel carries."""

DRUM_BANK = 128
"""The SoundFont's bank of drum kits; also the program number that Slakh2100 gives to drums."""

FINE = 1 << 20
"""Full scale of the synthesised samples: fine enough to be quantised again, coarse enough to square and sum in int64."""

PCM_16 = 1 << 15
"""Full scale of the files."""

Pcm = npt.NDArray[np.int64]


def render_song(song: Song, folder: Path) -> None:
    """Write a song into the empty ``folder``: ``metadata.yaml``, ``mix.flac``, ``stems/``, ``all_src.mid``, ``MIDI/``.

    Audio is mono FLAC of 16 bits at 44.1 kHz, no dither. The mixture is the sum of the stems, sample for sample.
    """
    played = [synthesise(song, source) for source in song.sources]
    balanced = [
        samples * round(10 ** ((LOUDNESS + source.level - active_loudness(samples)) / 20), 4)
        for source, samples in zip(song.sources, played, strict=True)
    ]
    loudest = max(float(np.abs(samples).max()) for samples in [*balanced, np.sum(balanced, axis=0)])
    gain = round(10 ** (PEAK / 20) * FINE / loudest, 4)
    stems = [np.rint(samples * (gain * PCM_16 / FINE)).astype(np.int64) for samples in balanced]

    (folder / "stems").mkdir()
    (folder / "MIDI").mkdir()
    _write(folder / "mix.flac", np.sum(stems, axis=0))
    write_midi(folder / "all_src.mid", song, song.sources)
    for number, (source, samples) in enumerate(zip(song.sources, stems, strict=True)):
        _write(folder / "stems" / f"S{number:02}.flac", samples)
        write_midi(folder / "MIDI" / f"S{number:02}.mid", song, [source])
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata(song, gain)))


def synthesise(song: Song, source: Source) -> Pcm:
    """A source played by the SoundFont: mono samples ``[T]`` of full scale ``FINE``, as long as the song and its tail."""
    synth = tinysoundfont.Synth(samplerate=RATE)
    font = synth.sfload(str(SOUNDFONT))
    drums = source.stem == "drums"
    synth.program_select(0, font, DRUM_BANK if drums else 0, source.program, drums)

    def sample(tick: int) -> int:
        return tick * 60 * RATE // (BEAT * song.tempo)

    # A velocity of 0 releases: it sorts before the strokes of the same sample, so a repeated note sounds again.
    events = chain.from_iterable(
        ((sample(note.start), note.velocity, note.pitch), (sample(note.stop), 0, note.pitch)) for note in source.notes
    )
    now, end = 0, sample(song.stop) + TAIL
    blocks = []
    for at, velocity, pitch in sorted(events):
        if at > now:
            blocks.append(synth.generate(at - now))
            now = at
        if velocity:
            synth.noteon(0, pitch, velocity)
        else:
            synth.noteoff(0, pitch)
    blocks.append(synth.generate(end - now))
    stereo = np.frombuffer(b"".join(blocks), np.float32).reshape(-1, 2).astype(np.float64)
    return np.rint((stereo[:, 0] + stereo[:, 1]) * (FINE / 2)).astype(np.int64)


def active_loudness(samples: Pcm) -> float:
    """The level in dB full scale over the tenths of a second that are within 40 dB of the loudest one."""
    frame = RATE // 10
    whole = samples[: len(samples) // frame * frame].reshape(-1, frame)
    energy = (whole * whole).sum(axis=1)
    active = energy[energy * 10_000 >= energy.max()]
    return 10 * math.log10(int(active.sum()) / (len(active) * frame * FINE**2))


def metadata(song: Song, gain: float) -> dict[str, Any]:
    """The fields of Slakh2100's ``metadata.yaml``, and under ``minislakh`` what the song was composed from.

    ``integrated_loudness`` is the active loudness (see ``active_loudness``) before ``overall_gain``, not BS.1770's.
    """
    return {
        "UUID": digest(song.seed, song.split, song.index).hex()[:32],
        "audio_dir": "stems",
        "midi_dir": "MIDI",
        "normalized": False,
        "normalization_factor": float(LOUDNESS),
        "overall_gain": gain,
        "target_peak": PEAK,
        "stems": {f"S{number:02}": _describe(source) for number, source in enumerate(song.sources)},
        "minislakh": {
            "composer_version": COMPOSER_VERSION,
            "seed": song.seed,
            "split": song.split,
            "index": song.index,
            "tempo": song.tempo,
            "key": song.key,
            "groove": song.groove,
            "sections": [
                {"name": section.name, "start": round(song.seconds(section.start), 3), "cast": list(section.cast)}
                for section in song.sections
            ],
        },
    }


def _describe(source: Source) -> dict[str, Any]:
    drums = source.stem == "drums"
    return {
        "audio_rendered": True,
        "inst_class": source.stem.capitalize(),
        "integrated_loudness": LOUDNESS + source.level,
        "is_drum": drums,
        "midi_program_name": "Drums" if drums else pretty_midi.program_to_instrument_name(source.program),
        "midi_saved": True,
        "plugin_name": f"{SOUNDFONT.name}:{DRUM_BANK if drums else 0}:{source.program}",
        "program_num": DRUM_BANK if drums else source.program,
    }


def _write(path: Path, samples: Pcm) -> None:
    """Write 16-bit samples; a float32 holds each of them exactly."""
    audio.write(path, (samples[None] / PCM_16).astype(np.float32), RATE, subtype="PCM_16")
