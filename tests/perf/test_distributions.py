"""The bench of distributions on a few seconds of noise: both sides embed the same, and agree."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.perf import distributions, random_vggish
from gmsdi import SAMPLE_RATE, audio


def test_both_ways_embed_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    random_vggish.lay_out()
    (tmp_path / "songs").mkdir()
    for song in range(3):
        noise = 0.1 * np.random.default_rng(song).standard_normal((1, 3 * SAMPLE_RATE)).astype(np.float32)
        audio.write(tmp_path / "songs" / f"{song}.wav", noise, SAMPLE_RATE)
    found = distributions.embedding(tmp_path / "songs", workers=2)
    assert (found.files, found.duration) == (3, pytest.approx(9))
    assert found.worst < 1e-5 * found.largest
    # multiply and add for every weight at every place that it is used: nine examples of 96 x 64 bands
    macs = 9 * (64 * 6144 + 64 * 128 * 1536 + (128 + 256) * 256 * 384 + (256 + 512) * 512 * 96) * 9
    assert found.operations == 2 * macs
    assert "3 songs of 9 s together" in found.line("VGGish")


def test_the_distances_agree() -> None:
    assert distributions.frechet(16).worst < 1e-9
