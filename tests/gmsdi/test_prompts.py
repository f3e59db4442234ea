"""Prompts: composition by joining, and who is asked for against whom."""

import torch

from gmsdi import STEMS
from gmsdi.prompts import Prompt, encode, extraction, join, one_against_rest
from gmsdi.text import TagEncoder


def test_descriptions_are_joined_by_commas() -> None:
    assert join(["bass", "drums"]) == "bass, drums"
    assert join(["bass"]) == "bass"
    assert join([]) == ""
    assert join([join(["bass", "drums"]), "piano"]) == join(["bass", "drums", "piano"])


def test_a_joined_description_is_encoded_as_what_the_parts_say() -> None:
    encoder = TagEncoder()
    bass, drums, both = encoder.encode(["bass", "drums", join(["bass", "drums"])])
    torch.testing.assert_close(both, bass + drums)


def test_the_separator_asks_for_one_against_the_rest() -> None:
    assert one_against_rest(STEMS) == (
        Prompt("bass", "drums, guitar, piano"),
        Prompt("drums", "bass, guitar, piano"),
        Prompt("guitar", "bass, drums, piano"),
        Prompt("piano", "bass, drums, guitar"),
    )


def test_a_single_source_is_against_the_null_prompt() -> None:
    assert one_against_rest(["bass"]) == (Prompt("bass"),)


def test_an_extraction_has_two_sources() -> None:
    rest = "bass, guitar, piano"
    assert extraction(1, STEMS) == (Prompt("drums", rest), Prompt(rest, "drums"))


def test_without_a_negative_both_sources_are_against_the_null_prompt() -> None:
    assert extraction(1, STEMS, ["", "", "", ""]) == (Prompt("drums"), Prompt("bass, guitar, piano"))


def test_prompts_are_encoded_as_guidance_takes_them() -> None:
    positive, negative = encode(one_against_rest(STEMS), TagEncoder())
    torch.testing.assert_close(positive[:, 0], torch.eye(4))
    torch.testing.assert_close(negative[:, 0], 1 - torch.eye(4))


def test_a_learned_null_prompt_takes_the_place_of_the_encoders() -> None:
    prompts = [Prompt("bass"), Prompt("", "drums")]
    positive, negative = encode(prompts, TagEncoder(), torch.full((3, 4), 7.0))
    torch.testing.assert_close(positive[:, 0], torch.tensor([[1.0, 0, 0, 0], [7, 7, 7, 7]]))
    torch.testing.assert_close(negative[:, 0], torch.tensor([[7.0, 7, 7, 7], [0, 1, 0, 0]]))
    assert positive.shape == (2, 1, 4)  # of the tokens that the encoder gives
