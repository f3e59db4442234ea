"""What a text-conditioned model is asked for. The descriptions of several sources together are joined, as they are in its training."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gmsdi.text import SEPARATOR, TextEncoder


@dataclass(frozen=True)
class Prompt:
    """What is to be in a source, and what must not be; the negative ``""``, the null prompt, is plain classifier-free guidance."""

    positive: str
    negative: str = ""


def join(descriptions: Sequence[str]) -> str:
    """z_1 ⊗ … ⊗ z_K: the description of all of them at once, whose encoding stands for their mixture. ``""`` for none."""
    return SEPARATOR.join(descriptions)


def one_against_rest(descriptions: Sequence[str], negatives: Sequence[str] | None = None) -> tuple[Prompt, ...]:
    """The separator's prompts, one a description; what must not be there is all others, unless ``negatives`` say otherwise."""
    against = [_rest(k, descriptions) for k in range(len(descriptions))] if negatives is None else negatives
    return tuple(Prompt(*pair) for pair in zip(descriptions, against, strict=True))


def extraction(k: int, descriptions: Sequence[str], negatives: Sequence[str] | None = None) -> tuple[Prompt, Prompt]:
    """The extractor's prompts of source ``k``: it against the rest, and the rest against it, or both against the null prompt."""
    target = one_against_rest(descriptions, negatives)[k]
    return target, Prompt(_rest(k, descriptions), target.positive if target.negative else "")


def _rest(k: int, descriptions: Sequence[str]) -> str:
    return join([*descriptions[:k], *descriptions[k + 1 :]])


def encode(prompts: Sequence[Prompt], encoder: TextEncoder, null: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The positive and the negative embeddings, ``[K, L, F]`` each, as ``gmsdi.denoiser.prompted`` takes them.

    ``null`` ``[L, F]`` is the null prompt that the denoiser has learned (``Denoiser.null``). It takes the place of the encoder's, which
    such a denoiser has never seen.
    """
    texts = [prompt.positive for prompt in prompts] + [prompt.negative for prompt in prompts]
    embeddings = encoder.encode(texts)  # [2K, L, F]
    if null is not None:
        empty = torch.tensor([not text.strip() for text in texts])
        embeddings = torch.where(empty[:, None, None], null[: embeddings.shape[1]].to(embeddings), embeddings)
    positive, negative = embeddings.chunk(2)
    return positive, negative
