"""Prompts as embeddings. Encoders are frozen: a model is trained on what they say, they are not trained with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gmsdi import STEMS
from gmsdi.errors import BadInputError, near, one_line

SEPARATOR = ", "
"""Between the parts of a prompt."""


class TextEncoder(Protocol):
    """Encodes each prompt by itself: its embedding does not depend on the other prompts of a call. ``""`` is the null prompt."""

    @property
    def features(self) -> int:
        """The features F of an embedding."""

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """The embeddings ``[B, L, F]`` of B prompts, without gradients."""


@dataclass(frozen=True)
class TagEncoder:
    """A closed vocabulary of tags: an embedding ``[1, V]`` says which are there. Needs no files, and cannot misread a word.

    A prompt is tags with commas between them, in any order and case; the null prompt is all zeros. Raises ``BadInputError`` for a
    vocabulary that prompts could not be read with.
    """

    vocabulary: tuple[str, ...] = STEMS

    def __post_init__(self) -> None:
        if not self.vocabulary or len(set(self.vocabulary)) < len(self.vocabulary):
            raise BadInputError(f"TagEncoder: the vocabulary {list(self.vocabulary)} must be tags, none of them twice")
        for tag in self.vocabulary:
            if not tag or tag != tag.strip().lower() or "," in tag:
                raise BadInputError(f"TagEncoder: the tag {tag!r} must be lower case, without commas and spaces around")

    @property
    def features(self) -> int:
        return len(self.vocabulary)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """1 for tags that are in a prompt and 0 for the others, ``[B, 1, V]``. Raises ``BadInputError`` for an unknown tag."""
        embedding = torch.zeros(len(prompts), 1, self.features)
        for item, prompt in zip(embedding, prompts, strict=True):
            item[0, [self._index(tag) for tag in _tags(prompt)]] = 1
        return embedding

    def _index(self, tag: str) -> int:
        if tag not in self.vocabulary:
            raise BadInputError(f"prompt: unknown tag {tag!r}{near(tag, self.vocabulary)}")
        return self.vocabulary.index(tag)


def _tags(prompt: str) -> list[str]:
    return [tag.strip().lower() for tag in prompt.split(",")] if prompt.strip() else []


class T5Encoder:
    """The encoder of a T5 (Raffel et al., JMLR 2020), by its name on the Hugging Face hub or by a folder that holds it.

    Prompts are padded or cut to ``tokens``, and all of their ``[tokens, F]`` are given, those of the padding too, as the T5 embedder of
    audio-diffusion-pytorch does. Raises ``BadInputError`` when there is no such model, or ``transformers`` is not installed.
    """

    def __init__(self, name_or_folder: str, tokens: int = 64) -> None:
        try:
            from transformers import AutoTokenizer, T5EncoderModel
        except ImportError:
            raise BadInputError("T5Encoder: needs the package transformers; install it, or use tags") from None
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(name_or_folder)
            self._model = T5EncoderModel.from_pretrained(name_or_folder).eval().requires_grad_(False)
        except (OSError, ValueError) as error:
            raise BadInputError(
                f"{name_or_folder}: no T5 to be had ({one_line(error)}); give a folder that holds model and tokenizer"
            ) from None
        self._tokens = tokens

    @property
    def features(self) -> int:
        return int(self._model.config.d_model)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """The last hidden states, ``[B, tokens, F]``."""
        encoded = self._tokenizer(
            list(prompts), truncation=True, max_length=self._tokens, padding="max_length", return_tensors="pt"
        )
        output = self._model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])
        hidden: Tensor = output.last_hidden_state
        return hidden
