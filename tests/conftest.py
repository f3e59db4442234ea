"""Fixtures that several folders of tests share: small pieces of audio, a track in MSDM's layout made of them, and a small T5."""

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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a T5 of two layers and a tokenizer of whole words."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    import torch

    folder = tmp_path_factory.mktemp("t5")
    words = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", ",", "bass", "drums", "guitar", "piano"])}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    model.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=model, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=8, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=2)
    transformers.T5EncoderModel(config).save_pretrained(folder)
    return folder
