"""What a text-conditioned model is asked for. The descriptions of several sources together are joined, as they are in its training."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gmsdi.errors import BadInputError
from gmsdi.text import SEPARATOR, TextEncoder


@dataclass(frozen=True)
class Prompt:
    """What is to be in a source, and what must not be; the negative ``""``, the null prompt, is plain classifier-free guidance."""

    positive: str
    negative: str = ""


def join(descriptions: Sequence[str]) -> str:
    """z_1 ⊗ … ⊗ z_K: the description of all of them at once, whose encoding stands for their mixture. ``""`` for none."""
    return SEPARATOR.join(descriptions)


def one_against_rest(stems: Sequence[str]) -> tuple[Prompt, ...]:
    """The separator's prompts, one a stem: the stem, and all others as what must not be there."""
    return tuple(extraction(stem, stems)[0] for stem in stems)


def extraction(stem: str, stems: Sequence[str]) -> tuple[Prompt, Prompt]:
    """Two sources: the stem against the rest, and the rest against the stem. ``BadInputError`` when it is not in ``stems``."""
    if stem not in stems:
        raise BadInputError(f"{stem}: not among the sources to extract it from ({join(stems)})")
    rest = join([other for other in stems if other != stem])
    return Prompt(stem, rest), Prompt(rest, stem)


def encode(prompts: Sequence[Prompt], encoder: TextEncoder) -> tuple[Tensor, Tensor]:
    """The positive and the negative embeddings, ``[K, L, F]`` each, as ``gmsdi.denoiser.prompted`` takes them."""
    texts = [prompt.positive for prompt in prompts] + [prompt.negative for prompt in prompts]
    positive, negative = encoder.encode(texts).chunk(2)
    return positive, negative
