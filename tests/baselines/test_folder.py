"""Anybody's wavs: what they are is what is in them, and what is wrong with one is said and costs its track only."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines import folder
from baselines.folder import FolderEstimates
from benchmarks import cli
from benchmarks.metrics.si_sdr import SiSDR
from benchmarks.store.store import Store
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError
from gmsdi.system import Batch, Place

FRAMES = 20_000
TRACK = "Track00001"


@pytest.fixture(autouse=True)
def say_again() -> Iterator[None]:
    """A notice is given once in a process; here once in a test."""
    folder._notice.cache_clear()
    yield


@pytest.fixture
def stems(noise: Callable) -> dict[str, audio.Samples]:
    return {stem: noise(k, FRAMES) for k, stem in enumerate(STEMS)}


@pytest.fixture
def estimates(tmp_path: Path, stems: dict[str, audio.Samples], write_track: Callable) -> Path:
    """A folder that holds the stems of one track."""
    write_track(tmp_path / "estimates" / TRACK, stems)
    return tmp_path / "estimates"


def excerpt(start: int = 0, length: int = FRAMES, *tracks: str) -> Batch:
    tracks = tracks or (TRACK,)
    count = len(tracks)
    return Batch(
        torch.zeros(count, length), SAMPLE_RATE, (0,) * count, tuple(Place(track, start, FRAMES) for track in tracks)
    )


def separate(estimates: Path, batch: Batch) -> np.ndarray:
    return FolderEstimates(str(estimates)).separate(batch).numpy()


def stacked(stems: dict[str, audio.Samples]) -> audio.Samples:
    return np.concatenate([stems[stem] for stem in STEMS])


# What is read


def test_the_stems_are_those_of_the_files(estimates: Path, stems: dict[str, audio.Samples]) -> None:
    np.testing.assert_array_equal(separate(estimates, excerpt())[0], stacked(stems))


def test_an_excerpt_is_cut_from_its_place(estimates: Path, stems: dict[str, audio.Samples]) -> None:
    np.testing.assert_array_equal(separate(estimates, excerpt(7_000, 5_000))[0], stacked(stems)[:, 7_000:12_000])


def test_files_that_were_changed_are_read_again(
    estimates: Path, stems: dict[str, audio.Samples], write_track: Callable
) -> None:
    separate(estimates, excerpt())
    write_track(estimates / TRACK, {stem: -samples for stem, samples in stems.items()})
    np.testing.assert_array_equal(separate(estimates, excerpt())[0], -stacked(stems))


def test_a_batch_may_hold_several_tracks(estimates: Path, noise: Callable, write_track: Callable) -> None:
    write_track(estimates / "Track00002", {stem: noise(9, FRAMES) for stem in STEMS})
    both = separate(estimates, excerpt(0, FRAMES, "Track00002", TRACK))
    np.testing.assert_array_equal(both[0], np.repeat(noise(9, FRAMES), 4, axis=0))
    np.testing.assert_array_equal(both[1], separate(estimates, excerpt())[0])


def test_flac_is_read_to_its_24_bits(estimates: Path, stems: dict[str, audio.Samples]) -> None:
    audio.write(estimates / TRACK / "bass.flac", stems["bass"], SAMPLE_RATE, "PCM_24")
    (estimates / TRACK / "bass.wav").unlink()
    np.testing.assert_allclose(separate(estimates, excerpt())[0], stacked(stems), rtol=0, atol=2**-23)


def tone(rate: int) -> audio.Samples:
    """440 Hz, ``[1, samples]``, as long as ``FRAMES`` at the project's rate."""
    return (0.1 * np.sin(2 * np.pi * 440 * np.arange(FRAMES * rate // SAMPLE_RATE) / rate)).astype(np.float32)[None]


def test_another_rate_is_resampled(estimates: Path, write_track: Callable) -> None:
    """A tone of 44.1 kHz becomes the same tone, but for the filter's edges."""
    write_track(estimates / TRACK, dict.fromkeys(STEMS, tone(44_100)), rate=44_100)
    found = separate(estimates, excerpt())[0]
    np.testing.assert_allclose(found[:, 500:-500], tone(SAMPLE_RATE).repeat(4, axis=0)[:, 500:-500], rtol=0, atol=1e-4)


def test_stereo_is_mixed_down(estimates: Path, stems: dict[str, audio.Samples], write_track: Callable) -> None:
    write_track(estimates / TRACK, {stem: np.concatenate([mono, 0 * mono]) for stem, mono in stems.items()})
    np.testing.assert_array_equal(separate(estimates, excerpt())[0], stacked(stems) / 2)


@pytest.mark.parametrize(
    ("rate", "channels", "said"), [(44_100, 1, "44100 Hz are resampled"), (SAMPLE_RATE, 2, "mono")]
)
def test_what_is_done_to_estimates_is_said_once(
    estimates: Path,
    noise: Callable,
    write_track: Callable,
    caplog: pytest.LogCaptureFixture,
    rate: int,
    channels: int,
    said: str,
) -> None:
    samples = noise(0, channels * FRAMES * rate // SAMPLE_RATE).reshape(channels, -1)
    write_track(estimates / TRACK, dict.fromkeys(STEMS, samples), rate)
    separate(estimates, excerpt())
    separate(estimates, excerpt(1_000, 5_000))
    assert [said in message for message in caplog.messages] == [True]


def test_the_estimates_that_the_benchmark_wants_are_taken_in_silence(
    estimates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    separate(estimates, excerpt())
    assert caplog.messages == []


# Lengths


@pytest.mark.parametrize("lacking", [1, SAMPLE_RATE // 10])
def test_an_estimate_that_ends_a_little_early_is_padded(
    estimates: Path, stems: dict[str, audio.Samples], lacking: int
) -> None:
    audio.write(estimates / TRACK / "bass.wav", stems["bass"][:, :-lacking], SAMPLE_RATE)
    expected = stacked(stems)
    expected[0, -lacking:] = 0
    np.testing.assert_array_equal(separate(estimates, excerpt())[0], expected)


def test_an_estimate_that_ends_early_is_an_error(estimates: Path, stems: dict[str, audio.Samples]) -> None:
    audio.write(estimates / TRACK / "bass.wav", stems["bass"][:, : -SAMPLE_RATE // 5], SAMPLE_RATE)
    with pytest.raises(BadInputError, match=r"bass\.wav: ends 0\.20 s before the excerpt does"):
        separate(estimates, excerpt())


def test_an_estimate_may_be_a_little_longer(estimates: Path, stems: dict[str, audio.Samples]) -> None:
    audio.write(estimates / TRACK / "bass.wav", np.pad(stems["bass"], ((0, 0), (0, 2205))), SAMPLE_RATE)
    np.testing.assert_array_equal(separate(estimates, excerpt())[0], stacked(stems))


def test_an_estimate_that_is_much_longer_is_an_error(estimates: Path, stems: dict[str, audio.Samples]) -> None:
    """As samples of 44.1 kHz under a header of 22.05 kHz are."""
    audio.write(estimates / TRACK / "bass.wav", np.tile(stems["bass"], 2), SAMPLE_RATE)
    with pytest.raises(BadInputError, match="longer than the song"):
        separate(estimates, excerpt())


def test_a_stem_that_is_there_twice_is_an_error(estimates: Path, stems: dict[str, audio.Samples]) -> None:
    audio.write(estimates / TRACK / "bass.flac", stems["bass"], SAMPLE_RATE, subtype="PCM_24")
    with pytest.raises(BadInputError, match=r"bass is there as \.wav and \.flac"):
        separate(estimates, excerpt())


# What is missing or broken


def test_a_missing_stem_is_named(estimates: Path) -> None:
    (estimates / TRACK / "guitar.wav").unlink()
    with pytest.raises(BadInputError, match=f"{TRACK}: no estimate of guitar"):
        separate(estimates, excerpt())


def test_it_covers_the_tracks_that_it_has(estimates: Path) -> None:
    system = FolderEstimates(str(estimates))
    assert system.covers(TRACK) and not system.covers("Track00009")


def test_a_broken_file_is_named(estimates: Path) -> None:
    (estimates / TRACK / "piano.wav").write_bytes(b"no audio")
    with pytest.raises(BadInputError, match=r"piano\.wav"):
        separate(estimates, excerpt())


def test_a_folder_must_be_given() -> None:
    with pytest.raises(BadInputError, match="estimates=DIR"):
        FolderEstimates(None)


@pytest.mark.parametrize("content", [None, "README.md", f"{TRACK}/vocals.wav", "bass.wav"])
def test_a_folder_must_hold_tracks_of_stems(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "given" / content).parent.mkdir(parents=True)
        (tmp_path / "given" / content).touch()
    with pytest.raises(BadInputError, match="TRACK/STEM"):
        FolderEstimates.identify(estimates=str(tmp_path / "given"))


# Identity


def identity(estimates: Path) -> dict[str, str]:
    return FolderEstimates.identify(estimates=str(estimates))


def test_identity_does_not_depend_on_where_the_folder_is(estimates: Path, tmp_path: Path) -> None:
    before = identity(estimates)
    estimates.rename(tmp_path / "elsewhere")
    assert identity(tmp_path / "elsewhere") == before
    assert before.keys() == {f"{TRACK}/{stem}.wav" for stem in STEMS}


def test_identity_changes_with_one_byte(estimates: Path) -> None:
    before = identity(estimates)
    path = estimates / TRACK / "bass.wav"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    after = identity(estimates)
    assert {name for name in before if before[name] != after[name]} == {f"{TRACK}/bass.wav"}


def test_identity_changes_with_a_file_that_goes_or_moves(estimates: Path) -> None:
    whole = identity(estimates)
    (estimates / TRACK / "bass.wav").rename(estimates / TRACK / "piano.wav")
    swapped = identity(estimates)
    shutil.copytree(estimates / TRACK, estimates / "Track00002")
    assert len({str(sorted(found.items())) for found in (whole, swapped, identity(estimates))}) == 3


def test_other_files_are_no_part_of_it(estimates: Path) -> None:
    before = identity(estimates)
    (estimates / TRACK / "notes.txt").write_text("by hand")
    (estimates / TRACK / "mix.wav").touch()
    assert identity(estimates) == before


# Through the whole pipeline


def test_the_references_themselves_are_all_but_perfect(estimates: Path, stems: dict[str, audio.Samples]) -> None:
    values = SiSDR(window=0.4, hop=0.2)(separate(estimates, excerpt())[0], stacked(stems), SAMPLE_RATE)["msdm"].values
    assert (values > 80).all()


@pytest.fixture
def run(tmp_path: Path, noise: Callable, write_track: Callable) -> Callable:
    """``run(estimates)``: the exit code and the store of a run over three tracks of two chunks each."""
    for t in (1, 2, 3):
        write_track(
            tmp_path / "data" / "test" / f"Track{t:05d}", {stem: noise(10 * t + k) for k, stem in enumerate(STEMS)}
        )

    def run(estimates: Path) -> tuple[int, Store]:
        code = cli.main(
            [
                "run",
                "dataset=msdm_layout",
                f"data={tmp_path / 'data'}",
                f"cache={tmp_path / 'cache'}",
                f"store={tmp_path / 'store'}",
                "system=[folder]",
                f"estimates={estimates}",
                "protocol.chunk=5000",
                "++metrics.si_sdri.window=0.1",
                "++metrics.si_sdri.hop=0.05",
                "device=cpu",
            ]
        )
        return code, Store(tmp_path / "store").refresh()

    return run


def test_estimates_that_are_the_references_score_over_80_db(tmp_path: Path, run: Callable) -> None:
    code, store = run(tmp_path / "data" / "test")
    assert (code, len(store.scores)) == (0, 3)
    for record in store.scores.values():
        assert np.min(record["columns"]["msdm"]["values"]) > 80


def test_a_track_that_is_not_there_is_left_out(
    tmp_path: Path, run: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    estimates = shutil.copytree(tmp_path / "data" / "test", tmp_path / "estimates")
    shutil.rmtree(estimates / "Track00002")
    code, store = run(estimates)
    assert code == 0 and "covers 2 of 3 songs; not Track00002" in capsys.readouterr().err
    assert {record["track"] for record in store.scores.values()} == {"Track00001", "Track00003"}
    assert not store.failures


def test_a_missing_stem_costs_its_track_only(tmp_path: Path, run: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    estimates = shutil.copytree(tmp_path / "data" / "test", tmp_path / "estimates")
    (estimates / "Track00002" / "drums.wav").unlink()
    code, store = run(estimates)
    assert code == 4 and "2 of 6 excerpts failed" in capsys.readouterr().err
    assert {record["track"] for record in store.scores.values()} == {"Track00001", "Track00003"}
    assert ["of drums" in failure["message"] for failure in store.failures.values()] == [True, True]


def test_estimates_that_end_early_cost_the_chunk_that_they_lack(
    tmp_path: Path, run: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    estimates = shutil.copytree(tmp_path / "data" / "test", tmp_path / "estimates")
    path = estimates / "Track00003" / "bass.wav"
    audio.write(path, audio.read(path)[0][:, :6_000].copy(), SAMPLE_RATE)
    code, store = run(estimates)
    assert code == 4 and "Track00003 at 0.2 s" in capsys.readouterr().err
    assert len(store.scores) == 2 and len(store.outputs) == 5
