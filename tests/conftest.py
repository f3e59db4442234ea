"""Fixtures that several folders of tests share: small pieces of audio, and a track in MSDM's layout made of them."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from gmsdi import SAMPLE_RATE, audio


@pytest.fixture
def noise() -> Callable[..., audio.Samples]:
    """``noise(seed, frames)``: quiet noise ``[1, frames]``, other for every seed; half a second unless told."""

    def make(seed: int, frames: int = SAMPLE_RATE // 2) -> audio.Samples:
        return np.random.default_rng(seed).normal(0, 0.05, (1, frames)).astype(np.float32)

    return make


@pytest.fixture
def write_track() -> Callable[..., Path]:
    """``write_track(folder, stems)``: write ``{stem: [channels, samples]}`` as ``folder/STEM.wav``."""

    def write(
        folder: Path, stems: Mapping[str, audio.Samples], rate: int = SAMPLE_RATE, subtype: str = "FLOAT"
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for stem, samples in stems.items():
            audio.write(folder / f"{stem}.wav", samples, rate, subtype)
        return folder

    return write
