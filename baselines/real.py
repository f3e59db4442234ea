"""Bounds of generation, made of real stems or of none: they tell how to read a distance, and what an embedder cannot hear."""

from typing import Any

import torch

from gmsdi.system import Generator, Request


class Borrowed(Generator):
    """Real stems from another place, none of which is in the reference: a generator that could not be told from music.

    With ``songs_on`` 0 from the song itself, real against real. With ``songs_on`` n stem k is that of the song n + k further on: each
    sounds right and does not fit what is given, nor the other stems. A metric that cannot tell the two is blind to harmony and rhythm.
    """

    def __init__(self, songs_on: int) -> None:
        self.songs_on = songs_on

    @classmethod
    def borrows(cls, **arguments: Any) -> int | None:
        songs_on: int = arguments["songs_on"]
        return songs_on

    def generate(self, request: Request) -> torch.Tensor:
        assert request.elsewhere is not None
        return request.elsewhere


class NoStems(Generator):
    """Digital silence in place of what was asked for: what is given, alone."""

    def generate(self, request: Request) -> torch.Tensor:
        return torch.zeros(len(request.seeds), len(request.stems), request.length, device=request.device)
