"""Audio files: what is written is what is read, and what is broken is said so in one line."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from gmsdi import audio
from gmsdi.errors import BadInputError

Noise = Callable[..., audio.Samples]

RATE = 22_050


def sine(frequency: float, rate: int, seconds: float = 1.0, level: float = -6.0) -> audio.Samples:
    """A sine ``[1, samples]`` whose peak is at ``level`` dBFS."""
    time = np.arange(round(seconds * rate)) / rate
    return (10 ** (level / 20) * np.sin(2 * np.pi * frequency * time)).astype(np.float32)[None]


# Reading and writing


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_float32_wav_is_read_as_it_was_written(tmp_path: Path, channels: int, noise: Noise) -> None:
    samples = noise(0, 1000 * channels).reshape(channels, 1000)
    samples[0, 7] = 1.75  # over full scale: float32 holds it
    audio.write(tmp_path / "a.wav", samples, RATE)
    found, rate = audio.read(tmp_path / "a.wav")
    np.testing.assert_array_equal(found, samples)
    assert (rate, found.dtype) == (RATE, np.float32)


@pytest.mark.parametrize(
    ("suffix", "subtype", "bits"), [("wav", "PCM_16", 16), ("flac", "PCM_16", 16), ("flac", "PCM_24", 24)]
)
@pytest.mark.parametrize("channels", [1, 2])
def test_whole_numbers_are_read_to_a_step(
    tmp_path: Path, suffix: str, subtype: str, bits: int, channels: int, noise: Noise
) -> None:
    samples = noise(0, 1000 * channels).reshape(channels, 1000)
    audio.write(tmp_path / f"a.{suffix}", samples, 44_100, subtype)
    found, rate = audio.read(tmp_path / f"a.{suffix}")
    assert (rate, found.shape, found.dtype) == (44_100, samples.shape, np.float32)
    assert 0 < np.abs(found - samples).max() <= 1 / 2 ** (bits - 1)  # libsndfile rounds FLAC and floors WAV


def test_the_bytes_of_a_float32_wav_depend_on_the_samples_alone(tmp_path: Path, noise: Noise) -> None:
    stereo = noise(0, 2000).reshape(2, 1000)
    audio.write(tmp_path / "a.wav", stereo, RATE)
    os.utime(tmp_path / "a.wav", (0, 0))
    audio.write(tmp_path / "b.wav", np.asfortranarray(stereo), RATE)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    audio.write(tmp_path / "b.wav", -stereo, RATE)
    assert (tmp_path / "a.wav").read_bytes() != (tmp_path / "b.wav").read_bytes()


def test_a_float32_wav_of_another_program_is_read(tmp_path: Path, noise: Noise) -> None:
    soundfile.write(tmp_path / "a.wav", noise(0)[0], RATE, subtype="FLOAT")  # with libsndfile's PEAK chunk
    found, rate = audio.read(tmp_path / "a.wav")
    np.testing.assert_array_equal(found, noise(0))
    assert rate == RATE


def test_a_float32_wav_with_a_chunk_of_odd_size_is_read(tmp_path: Path, noise: Noise) -> None:
    path = tmp_path / "a.wav"
    audio.write(path, noise(0), RATE)
    head, _, samples = path.read_bytes().partition(b"data")
    path.write_bytes(head + b"LIST\x03\x00\x00\x00abc\x00" + b"data" + samples)
    found, _ = audio.read(path)
    np.testing.assert_array_equal(found, noise(0))


# Files that cannot be used


def fails(path: Path, message: str) -> None:
    """Assert that reading fails with one line that names the file and says ``message``."""
    with pytest.raises(BadInputError, match=message) as caught:
        audio.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    fails(tmp_path / "a.wav", "no such audio file")
    fails(tmp_path, "no such audio file")


@pytest.mark.parametrize(
    "content",
    [b"", b"RIFF", b"RIFF\x00", b"Not audio, but text.\n" * 9, bytes(999)],
    ids=["empty", "4", "5", "text", "zeros"],
)
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_what_is_no_audio(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    fails(path, "cannot be decoded")


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16"])
def test_a_wav_without_samples(tmp_path: Path, subtype: str) -> None:
    audio.write(tmp_path / "a.wav", np.zeros((1, 0), np.float32), RATE, subtype)
    fails(tmp_path / "a.wav", "holds no samples")


@pytest.mark.parametrize(("suffix", "subtype"), [("wav", "FLOAT"), ("wav", "PCM_16"), ("flac", "PCM_16")])
def test_a_truncated_file_wherever_it_was_cut(tmp_path: Path, suffix: str, subtype: str, noise: Noise) -> None:
    path = tmp_path / f"a.{suffix}"
    audio.write(path, noise(0), RATE, subtype)
    whole = path.read_bytes()
    for cut in (6, 20, 40, 60, 1000, len(whole) // 2, len(whole) - 4, len(whole) - 1):
        path.write_bytes(whole[:cut])
        fails(path, "truncated" if suffix == "wav" and cut >= 60 else "truncated|cannot be decoded")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_sample_that_is_no_number_is_named(tmp_path: Path, value: float, noise: Noise) -> None:
    samples = np.concatenate([noise(0, RATE), noise(1, RATE)])
    samples[1, RATE // 2 :: 100] = value
    samples[0, -1] = -value
    audio.write(tmp_path / "a.wav", samples, RATE)
    fails(tmp_path / "a.wav", r"NaN or infinite samples, the first at 0\.500 s")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that opens but cannot be read")
def test_a_file_that_the_system_cannot_read() -> None:
    fails(Path("/proc/self/mem"), "cannot be read")


# Atomic writing


def test_an_interrupted_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), audio.atomic(path) as temporary:
        temporary.write_text("half of the n")
        assert temporary.parent == path.parent
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path, noise: Noise) -> None:
    path = tmp_path / "a.wav"
    audio.write(path, noise(0), RATE)
    audio.write(path, noise(1), RATE)
    np.testing.assert_array_equal(audio.read(path)[0], noise(1))
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_nothing(tmp_path: Path, noise: Noise) -> None:
    with pytest.raises(ValueError):
        audio.write(tmp_path / "a.flac", noise(0), RATE, subtype="FLOAT")  # FLAC has no floating point
    assert not list(tmp_path.iterdir())


# Arithmetic


def test_resampling_to_the_same_rate_changes_nothing(noise: Noise) -> None:
    samples = noise(0)
    assert audio.resample(samples, RATE, RATE) is samples


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sine_stays_a_sine_when_it_is_resampled(channels: int) -> None:
    resampled = audio.resample(np.tile(sine(1000, 44_100), (channels, 1)), 44_100, RATE)
    expected = sine(1000, RATE)
    assert (resampled.shape, resampled.dtype) == ((channels, RATE), np.float32)
    inner = slice(1000, -1000)  # the filter rings where the sine begins and ends
    np.testing.assert_allclose(resampled[:, inner], np.tile(expected, (channels, 1))[:, inner], atol=1e-5)


def test_what_lies_over_the_new_nyquist_frequency_is_gone() -> None:
    resampled = audio.resample(sine(15_000, 44_100), 44_100, RATE)
    assert np.abs(resampled[:, 1000:-1000]).max() < 1e-5


def test_mono_is_the_mean_of_the_channels() -> None:
    np.testing.assert_array_equal(audio.mono(np.array([[1, 0.5], [0, -1]], np.float32)), [[0.5, -0.25]])


def test_the_identity_is_of_shape_and_values_only(noise: Noise) -> None:
    samples = noise(0, 1000).reshape(2, 500)
    same = [samples.copy(), np.asfortranarray(samples), samples.astype(">f4"), np.repeat(samples, 2, axis=1)[:, ::2]]
    assert {audio.sha256(other) for other in same} == {audio.sha256(samples)}
    nudged = samples.copy()
    nudged[1, 250] = np.nextafter(nudged[1, 250], np.float32(1))
    others = [nudged, samples.reshape(1, 1000), samples.reshape(4, 250), samples[::-1], samples[:, :-1]]
    assert len({audio.sha256(other) for other in [samples, *others]}) == 1 + len(others)


def test_the_identity_does_not_depend_on_the_file(tmp_path: Path, noise: Noise) -> None:
    coarse = (np.round(noise(0) * 2**15) / 2**15 + 0).astype(np.float32)  # whole numbers know no −0
    audio.write(tmp_path / "a.wav", coarse, RATE)
    audio.write(tmp_path / "a.flac", coarse, 44_100, subtype="PCM_16")
    assert {audio.sha256(audio.read(path)[0]) for path in tmp_path.iterdir()} == {audio.sha256(coarse)}


def test_the_identity_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert audio.file_sha256(tmp_path / "a") == expected


def test_the_mixture_is_the_sequential_sum_in_float32() -> None:
    stems = np.array([[1e8, 1], [1, 2**-24], [-1e8, 2**-24], [1, 2**-24]], np.float32)
    kept = stems.copy()
    np.testing.assert_array_equal(
        audio.mixture(stems), np.array([1, 1], np.float32)
    )  # 2 and 1 + 3 · 2^-24 in any wider sum
    np.testing.assert_array_equal(stems, kept)
