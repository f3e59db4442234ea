"""Bounds of generation, made of real stems or of none: they tell how to read a distance, and what an embedder cannot hear."""

from typing import Any, cast, get_args

import torch

from gmsdi.errors import BadInputError, near
from gmsdi.system import Generator, Request, Source


class Borrowed(Generator):
    """Real stems in place of generated ones.

    From the excerpt ``itself``: a copy, at no distance, which fits as well as music does. From elsewhere in the ``song``, from chunks
    that are not in the reference: how far real music is from other real music of its song. From ``others``: each stem sounds right, and
    fits neither what is given nor the other stems. A metric that cannot tell the last two apart is blind to harmony and rhythm.
    """

    def __init__(self, source: Source) -> None:
        self.source = source

    @classmethod
    def borrows(cls, **arguments: Any) -> Source | None:
        source = arguments["source"]
        if source not in get_args(Source):
            raise BadInputError(f"source={source}{near(str(source), get_args(Source))}")
        return cast(Source, source)

    def generate(self, request: Request) -> torch.Tensor:
        assert request.elsewhere is not None
        return request.elsewhere


class NoStems(Generator):
    """Digital silence in place of what was asked for: what is given, alone."""

    def generate(self, request: Request) -> torch.Tensor:
        return torch.zeros(len(request.seeds), len(request.stems), request.length, device=request.device)
