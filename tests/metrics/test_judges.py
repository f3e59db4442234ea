"""What is found of a generated piece."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from benchmarks.metrics.coherence import Harmony, Rhythm
from benchmarks.metrics.embedders import Embedder, LogMel
from benchmarks.metrics.judges import Agreements, Embedding, Piece
from benchmarks.plan.tasks import Task
from gmsdi import SAMPLE_RATE, STEMS, audio

LENGTH = 2 * SAMPLE_RATE


def piece(stems: tuple[str, ...], given: tuple[str, ...], seed: int = 0) -> Piece:
    real = 0.1 * np.random.default_rng(seed).standard_normal((len(STEMS), LENGTH)).astype(np.float32)
    generated = 0.1 * np.random.default_rng(seed + 100).standard_normal((len(stems), LENGTH)).astype(np.float32)
    return Piece(Task(stems, given), generated, real, SAMPLE_RATE)


@dataclass
class Store:
    """A cache that counts what had to be made."""

    held: dict[str, np.ndarray] = field(default_factory=dict)
    made: int = 0

    def __call__(self, key, make):
        if key not in self.held:
            self.made += 1
            self.held[key] = make()
        return {"key": key}


def test_mixes_are_of_what_was_generated_with_what_was_given() -> None:
    store, asked = Store(), piece(("drums",), ("bass", "guitar", "piano"))
    found = Embedding(LogMel()).judge(asked, store)
    generated = asked.generated[0] + asked.real[[0, 2, 3]].sum(axis=0)
    for key, mix in ((found["generated"], generated), (found["real"], asked.real.sum(axis=0))):
        np.testing.assert_allclose(store.held[key["key"]], LogMel().embed(mix, SAMPLE_RATE), atol=1e-4)


def test_the_real_mix_is_one_whatever_was_generated() -> None:
    store = Store()
    for stems, given in ((STEMS[:1], STEMS[1:]), (STEMS[2:], STEMS[:2]), (STEMS, ())):
        Embedding(LogMel()).judge(piece(stems, given), store)
    assert store.made == 4


def test_a_stem_that_goes_with_nothing_is_compared_with_that_stem_alone() -> None:
    store, asked = Store(), piece(("guitar",), ())
    found = Embedding(LogMel()).judge(asked, store)
    np.testing.assert_array_equal(store.held[found["real"]["key"]], LogMel().embed(asked.real[2], SAMPLE_RATE))
    np.testing.assert_array_equal(
        store.held[found["generated"]["key"]], LogMel().embed(asked.generated[0], SAMPLE_RATE)
    )


def test_equal_audio_is_embedded_once_and_another_embedder_anew() -> None:
    store = Store()
    first = Embedding(LogMel()).judge(piece(("drums",), ("bass",)), store)
    assert Embedding(LogMel()).judge(piece(("drums",), ("bass",)), store) == first
    assert store.made == 2
    assert Embedding(LogMel(bands=32)).judge(piece(("drums",), ("bass",)), store).keys() == first.keys()
    assert store.made == 4


def test_an_embedder_that_fails_is_not_swallowed() -> None:
    class Broken(Embedder):
        features, shortest, signature = 1, 0.1, "broken"

        def embed(self, samples: audio.Samples, rate: int) -> torch.Tensor:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        Embedding(Broken()).judge(piece(("drums",), ("bass",)), Store())


def test_agreements_are_of_the_generated_stems_with_the_given_ones() -> None:
    judge, asked = Agreements({"rhythm": Rhythm(), "harmony": Harmony()}), piece(("drums",), ("bass", "piano"))
    found = judge.judge(asked, Store())
    given, generated = {"bass": asked.real[0], "piano": asked.real[3]}, {"drums": asked.generated[0]}
    assert found["rhythm"] == Rhythm()(given, generated, SAMPLE_RATE).value
    assert (found["harmony"], found["harmony-undefined"]) == (None, "no pitched stem is generated")
    assert Rhythm().signature in judge.signature and Harmony().signature in judge.signature
