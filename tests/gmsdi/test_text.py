"""Text encoders: tags by hand, and a T5 of random weights on disk."""

from pathlib import Path

import pytest
import torch

from gmsdi.errors import BadInputError
from gmsdi.text import T5Encoder, TagEncoder, TextEncoder


def test_a_prompt_is_the_set_of_its_tags() -> None:
    encoder: TextEncoder = TagEncoder()
    prompts = ["bass, piano", "piano,bass", " Piano ,  BASS, bass ", "drums", "", "  "]
    expected = torch.tensor([[1, 0, 0, 1]] * 3 + [[0, 1, 0, 0]] + [[0, 0, 0, 0]] * 2)
    torch.testing.assert_close(encoder.encode(prompts), expected[:, None].float())
    assert encoder.features == 4
    assert encoder.encode([]).shape == (0, 1, 4)


def test_another_vocabulary_has_its_own_order() -> None:
    encoder = TagEncoder(("strings", "electric piano"))
    assert encoder.encode(["electric piano"]).tolist() == [[[0, 1]]]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("bass, drum", "unknown tag 'drum'; did you mean drums?"),
        ("xylophone", "unknown tag 'xylophone'; there are bass, drums, guitar, piano"),
        ("bass,, drums", "unknown tag ''; there are"),
    ],
)
def test_an_unknown_tag_is_refused_with_near_names(prompt: str, message: str) -> None:
    with pytest.raises(BadInputError) as caught:
        TagEncoder().encode(["bass", prompt])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("vocabulary", [(), ("bass", "bass"), ("",), ("Bass",), (" bass",), ("bass, drums",)])
def test_a_vocabulary_that_prompts_cannot_name_is_refused(vocabulary: tuple[str, ...]) -> None:
    with pytest.raises(BadInputError, match=r"TagEncoder: the (tag|vocabulary)"):
        TagEncoder(vocabulary)


def test_a_t5_from_a_folder_encodes_each_prompt_by_itself(tiny_t5: Path) -> None:
    encoder: TextEncoder = T5Encoder(str(tiny_t5), tokens=6)
    prompts = ["bass, drums", "piano", ""]
    together = encoder.encode(prompts)
    assert together.shape == (3, 6, encoder.features) == (3, 6, 16)
    assert not together.requires_grad
    for prompt, found in zip(prompts, together, strict=True):
        torch.testing.assert_close(encoder.encode([prompt])[0], found)
    assert not torch.allclose(together[1], together[2])
    torch.testing.assert_close(T5Encoder(str(tiny_t5), tokens=6).encode(prompts), together)


def test_a_long_prompt_is_cut(tiny_t5: Path) -> None:
    assert T5Encoder(str(tiny_t5), tokens=6).encode(["bass, drums, guitar, piano, bass"]).shape == (1, 6, 16)


def test_a_folder_without_a_t5_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no T5 to be had") as caught:
        T5Encoder(str(tmp_path))
    assert "\n" not in str(caught.value)
