"""The dataset that the integration tests run on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tinyruns import CHUNK, CHUNKS, TRACKS, Suite

from gmsdi import STEMS


@pytest.fixture
def suite(tmp_path: Path, noise: Callable, write_track: Callable) -> Suite:
    for t, name in enumerate(TRACKS):
        stems = {stem: noise(10 * t + k, CHUNKS * CHUNK) for k, stem in enumerate(STEMS)}
        write_track(tmp_path / "data" / "test" / name, stems)
    return Suite(tmp_path)
