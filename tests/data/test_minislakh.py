"""MiniSlakh: the same songs everywhere, in Slakh2100's layout, musically sane, and safe to interrupt.

After a deliberate change of the composer or the renderer raise ``COMPOSER_VERSION`` and run this file as a script: it
writes ``minislakh_digest.json`` anew.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
import yaml

from benchmarks.data.minislakh import COMPOSER_VERSION, DEFAULT_SONGS, Chord, Note, Song, compose, render_split
from benchmarks.data.minislakh.compose import PROGRAMS, TIMING
from benchmarks.data.minislakh.groove import GROOVES, swung
from benchmarks.data.minislakh.render import RATE, TAIL, render_song
from benchmarks.data.minislakh.song import BAR, BEAT, STEP
from benchmarks.data.minislakh.splits import track_folder
from benchmarks.data.minislakh.theory import Key, voicings
from gmsdi import STEMS, audio
from gmsdi.errors import BadInputError, IntegrityError

DIGESTS = Path(__file__).with_name("minislakh_digest.json")
SEED = 0
SONGS = 2
RANGES = {"bass": (28, 52), "drums": (35, 81), "guitar": (40, 84), "piano": (36, 96)}
CHORDAL = {"strum", "arpeggio", "comp", "hold", "broken"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rendered songs of the test split."""
    root = tmp_path_factory.mktemp("minislakh")
    render_split(root, "test", SONGS, SEED, workers=1)
    return root


@pytest.fixture(scope="module")
def songs() -> dict[str, list[Song]]:
    """All the default songs, composed."""
    return {split: [compose(SEED, split, index) for index in range(count)] for split, count in DEFAULT_SONGS.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def digests(root: Path) -> dict[str, dict[str, str]]:
    """For each song of the test split the hash of its notes and of the decoded samples of each audio file."""
    found = {}
    for index in range(SONGS):
        folder = track_folder(root, "test", index)
        notes = repr(compose(SEED, "test", index)).encode()
        found[folder.name] = {"notes": hashlib.sha256(notes).hexdigest()} | {
            str(path.relative_to(folder)): audio.sha256(audio.read(path)[0]) for path in sorted(folder.rglob("*.flac"))
        }
    return found


def stems_of(folder: Path) -> tuple[dict[str, dict], dict[str, np.ndarray]]:
    """The metadata and the samples ``[T]`` of each stem file."""
    described = yaml.safe_load((folder / "metadata.yaml").read_text())["stems"]
    return described, {name: audio.read(folder / "stems" / f"{name}.flac")[0][0] for name in described}


# The same everywhere


def test_composing_again_gives_the_same_song() -> None:
    assert compose(3, "train", 17) == compose(3, "train", 17)


def test_songs_differ_between_seeds_splits_and_indices() -> None:
    variants = [compose(*grown) for grown in ((0, "train", 0), (1, "train", 0), (0, "test", 0), (0, "train", 1))]
    assert len({song.sources for song in variants}) == len(variants)


def test_rendering_again_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    render_song(compose(SEED, "test", 0), tmp_path)
    assert contents(tmp_path) == contents(track_folder(root, "test", 0))


def test_notes_and_samples_are_those_on_record(root: Path) -> None:
    recorded = json.loads(DIGESTS.read_text())
    assert recorded["composer_version"] == COMPOSER_VERSION
    assert digests(root) == recorded["songs"]


# Slakh2100's layout


def test_a_track_has_the_layout_and_metadata_of_slakh(root: Path) -> None:
    for index in range(SONGS):
        folder, song = track_folder(root, "test", index), compose(SEED, "test", index)
        metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
        names = list(metadata["stems"])
        assert folder.name == f"Track{1876 + index:05}"
        assert set(contents(folder)) == {
            *("metadata.yaml", "all_src.mid", "mix.flac"),
            *(f"MIDI/{name}.mid" for name in names),
            *(f"stems/{name}.flac" for name in names),
        }
        assert (metadata["audio_dir"], metadata["midi_dir"], len(metadata["UUID"])) == ("stems", "MIDI", 32)
        assert metadata["minislakh"]["seed"] == SEED
        for name, source in zip(names, song.sources, strict=True):
            described = metadata["stems"][name]
            assert described["inst_class"] == source.stem.capitalize()
            assert described["is_drum"] == (source.stem == "drums")
            assert described["program_num"] == (128 if source.stem == "drums" else source.program)
            assert described["audio_rendered"] and described["midi_saved"]


def test_midi_files_hold_the_notes_of_the_song(root: Path) -> None:
    folder, song = track_folder(root, "test", 0), compose(SEED, "test", 0)
    for number, source in enumerate(song.sources):
        (instrument,) = pretty_midi.PrettyMIDI(str(folder / "MIDI" / f"S{number:02}.mid")).instruments
        assert instrument.is_drum == (source.stem == "drums")
        written = sorted((round(note.start, 3), note.pitch, note.velocity) for note in instrument.notes)
        composed = sorted((song.seconds(note.start), note.pitch, note.velocity) for note in source.notes)
        assert len(written) == len(composed)
        np.testing.assert_allclose(written, composed, atol=2e-3)
    together = pretty_midi.PrettyMIDI(str(folder / "all_src.mid"))
    assert len(together.instruments) == len(song.sources)


def test_the_mixture_is_the_sum_of_its_stems_and_nothing_clips(root: Path) -> None:
    for index in range(SONGS):
        folder = track_folder(root, "test", index)
        mixture, rate = audio.read(folder / "mix.flac")
        _, stems = stems_of(folder)
        assert (rate, mixture.shape[0]) == (RATE, 1)
        np.testing.assert_array_equal(sum(stems.values()), mixture[0])
        peaks = [np.abs(samples).max() for samples in (*stems.values(), mixture)]
        assert 0.85 < max(peaks) < 0.95


def test_the_sources_of_a_song_are_about_as_loud(root: Path) -> None:
    for index in range(SONGS):
        _, stems = stems_of(track_folder(root, "test", index))
        frames = [samples[: len(samples) // 4410 * 4410].reshape(-1, 4410) for samples in stems.values()]
        power = [np.square(frame.astype(np.float64)).mean(axis=1) for frame in frames]
        loudness = [10 * np.log10(p[p > p.max() / 1e4].mean()) for p in power]
        assert np.ptp(loudness) < 7


def test_no_stem_is_cut_off_at_the_end(root: Path) -> None:
    for index in range(SONGS):
        _, stems = stems_of(track_folder(root, "test", index))
        assert all(np.abs(samples[-RATE // 100 :]).max() < 2e-3 for samples in stems.values())


# Who plays when


@pytest.mark.parametrize("split", DEFAULT_SONGS)
def test_a_quarter_of_the_chunks_are_solos_and_a_quarter_duos(songs: dict[str, list[Song]], split: str) -> None:
    active = np.concatenate([song.activity(3.0) for song in songs[split]])
    share = np.bincount(active.sum(axis=1), minlength=5) / len(active)
    assert share[0] <= 0.03
    assert share[1] == pytest.approx(0.25, abs=0.06)
    assert share[2] == pytest.approx(0.25, abs=0.06)
    assert share[3] + share[4] == pytest.approx(0.5, abs=0.08)
    assert (active[active.sum(axis=1) == 1].mean(axis=0) > 0.1).all(), "a class hardly ever plays alone"


def test_what_the_notes_say_is_what_is_heard(root: Path) -> None:
    agreement = []
    for index in range(SONGS):
        described, stems = stems_of(track_folder(root, "test", index))
        active = compose(SEED, "test", index).activity(3.0)
        for number, stem in enumerate(STEMS):
            heard = sum(samples for name, samples in stems.items() if described[name]["inst_class"].lower() == stem)
            chunks = heard[: len(active) * 3 * RATE].reshape(len(active), -1).astype(np.float64)
            agreement.append((np.square(chunks).mean(axis=1) > 1e-6) == active[:, number])
    assert np.concatenate(agreement).mean() > 0.97


def test_songs_last_35_to_60_seconds(songs: dict[str, list[Song]]) -> None:
    assert all(35 <= song.seconds(song.stop) + TAIL / RATE <= 60 for split in songs.values() for song in split)


def test_some_songs_have_two_guitars_or_two_pianos_and_every_program_is_heard(songs: dict[str, list[Song]]) -> None:
    for split in songs.values():
        for stem in ("guitar", "piano"):
            doubled = [sum(source.stem == stem for source in song.sources) == 2 for song in split]
            assert 0.1 < np.mean(doubled) < 0.7
    heard = {(source.stem, source.program) for song in songs["train"] for source in song.sources}
    assert heard == {(stem, program) for stem, programs in PROGRAMS.items() for program in programs}


# Music


def pitched(song: Song, styles: set[str]) -> Iterator[tuple[Note, Chord, tuple[int, ...]]]:
    """The notes of the sources of these styles, each with the chord and the scale that it falls on."""
    for source in song.sources:
        if source.style in styles:
            for note in source.notes:
                for section in song.sections:
                    at = note.start + TIMING - section.start
                    if 0 <= at < section.stop - section.start:
                        yield note, section.chords[at // BAR], section.scale


def near(tick: int, unit: int) -> bool:
    """Whether a tick is a multiple of ``unit`` but for the human touch."""
    return min(tick % unit, -tick % unit) <= TIMING


def test_notes_are_playable(songs: dict[str, list[Song]]) -> None:
    for song in songs["validation"]:
        for source in song.sources:
            low, high = RANGES[source.stem]
            assert all(low <= note.pitch <= high and 1 <= note.velocity <= 127 for note in source.notes)
            assert all(note.length > 0 and 0 <= note.start < note.stop <= song.stop for note in source.notes)
            held: dict[int, int] = {}
            for note in source.notes:
                assert held.get(note.pitch, 0) <= note.start, "a pitch is struck while the same source holds it"
                held[note.pitch] = note.stop


def test_parts_keep_to_the_key_but_for_some_of_the_bass_approaches(songs: dict[str, list[Song]]) -> None:
    for song in songs["validation"]:
        for styles, share in (({"lock", "drive", "walk"}, 0.85), (CHORDAL | {"riff", "melody"}, 1.0)):
            inside = [note.pitch % 12 in scale for note, _, scale in pitched(song, styles)]
            assert np.mean(inside) >= share


def test_parts_share_the_chord(songs: dict[str, list[Song]]) -> None:
    for song in songs["validation"]:
        roots = [n.pitch % 12 == c.root for n, c, _ in pitched(song, {"lock", "drive", "walk"}) if near(n.start, BAR)]
        chords = [n.pitch % 12 in c.tones for n, c, _ in pitched(song, CHORDAL)]
        lines = [n.pitch % 12 in c.tones for n, c, _ in pitched(song, {"riff", "melody"}) if near(n.start, BEAT)]
        assert all(roots) and all(chords) and all(lines)
        assert len(roots) + len(chords) + len(lines) > 50


def test_drums_are_on_the_grid_within_the_human_touch(songs: dict[str, list[Song]]) -> None:
    strays = []
    for song in songs["validation"]:
        grid = np.array([swung(step * STEP, GROOVES[song.groove].swing) for step in range(17)])
        starts = np.array([note.start % BAR for s in song.sources if s.stem == "drums" for note in s.notes])
        strays.append(np.abs(starts[:, None] - grid).min(axis=1))
    distance = np.concatenate(strays)
    assert distance.max() <= TIMING
    assert distance.mean() > 1, "played by a machine"


def test_voices_move_to_the_nearest_inversion() -> None:
    chords = tuple(Key(0, "ionian").chord(degree, 3) for degree in (1, 6, 4, 5))
    assert voicings(chords, 57, 69) == [(60, 64, 67), (60, 64, 69), (60, 65, 69), (59, 62, 67)]


# Interrupted and repeated runs


def test_only_the_missing_song_is_rendered(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    kept, lost = track_folder(tmp_path, "test", 0), track_folder(tmp_path, "test", 1)
    before = kept.stat().st_ino
    shutil.rmtree(lost)
    heard: list[tuple[int, int]] = []
    render_split(tmp_path, "test", SONGS, SEED, workers=2, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(1, 2), (2, 2)]
    assert kept.stat().st_ino == before
    assert contents(lost) == contents(track_folder(root, "test", 1))


def test_a_killed_run_leaves_only_whole_songs(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from benchmarks.data.minislakh import render_split; "
        f"render_split(Path({str(tmp_path)!r}), 'validation', 20, {SEED}, 1)"
    )
    run = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while len(whole := list(tmp_path.glob("validation/Track*"))) < 2:
            assert run.poll() is None and time.monotonic() < deadline, "the run ended before it could be killed"
            time.sleep(0.01)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    for folder in whole:
        _, stems = stems_of(folder)
        np.testing.assert_array_equal(sum(stems.values()), audio.read(folder / "mix.flac")[0][0])
    render_split(tmp_path, "validation", len(whole) + 1, SEED, workers=1)
    assert len(list(tmp_path.glob("validation/Track*"))) == len(whole) + 1


def test_songs_of_another_seed_or_origin_are_not_mixed_in(root: Path, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="from seed 0"):
        render_split(root, "test", SONGS, SEED + 1, workers=1)
    track_folder(tmp_path, "test", 0).mkdir(parents=True)
    with pytest.raises(IntegrityError, match="Track01876"):
        render_split(tmp_path, "test", SONGS, SEED, workers=1)


@pytest.mark.parametrize(
    ("split", "songs", "workers"), [("tset", 1, 1), ("test", 226, 1), ("test", 0, 1), ("test", 1, 0)]
)
def test_what_cannot_be_rendered_is_refused(tmp_path: Path, split: str, songs: int, workers: int) -> None:
    with pytest.raises(BadInputError):
        render_split(tmp_path, split, songs, SEED, workers)
    assert not list(tmp_path.iterdir())


def record() -> None:
    """Write ``minislakh_digest.json`` anew."""
    import tempfile

    with tempfile.TemporaryDirectory() as root:
        render_split(Path(root), "test", SONGS, SEED, workers=1)
        found = {"composer_version": COMPOSER_VERSION, "songs": digests(Path(root))}
    DIGESTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    record()
