"""The hyper-parameters of the U-Net and what they imply."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gmsdi.errors import BadInputError


@dataclass(frozen=True)
class UNetConfig:
    """By default MSDM's network: 4 ``in_channels`` for MSDM, 1 for Weakly MSDM and for a model of mixtures.

    ``factors``, ``num_blocks`` and ``attentions`` have a value for each level, the finest first; ``multipliers`` has one more in front,
    for the patches. Raises ``BadInputError`` for values that make no network.
    """

    in_channels: int
    channels: int = 256
    patch_factor: int = 16  # samples a patch
    multipliers: Sequence[int] = (1, 2, 4, 4, 4, 4, 4)  # times `channels`
    factors: Sequence[int] = (4, 4, 4, 2, 2, 2)  # of downsampling
    num_blocks: Sequence[int] = (2, 2, 2, 2, 2, 2)
    attentions: Sequence[bool] = (False, False, False, True, True, True)
    attention_heads: int = 8
    attention_features: int = 128  # a head
    attention_multiplier: int = 2  # hidden channels of the feed-forward over its channels
    resnet_groups: int = 8
    embedding_shape: tuple[int, int] | None = None  # a prompt's most tokens and their features; None: no text
    sigma_data: float = 0.2  # of the denoiser around the network

    def __post_init__(self) -> None:
        for holds, rule in self._rules():
            if not holds:
                raise BadInputError(f"UNetConfig: {rule}")

    def _rules(self) -> Iterator[tuple[bool, str]]:
        """The rules that a configuration must meet. A rule is checked only when all rules before it hold."""
        sizes = {name: getattr(self, name) for name in ("in_channels", "channels", "patch_factor", "resnet_groups")}
        yield min(sizes.values()) > 0, f"{sizes} must be positive"
        levels = len(self.factors)
        yield (
            len(self.num_blocks) == len(self.attentions) == len(self.multipliers) - 1 == levels,
            f"{levels} factors need {levels} num_blocks and attentions, and {levels + 1} multipliers",
        )
        yield min(self.factors, default=2) > 1, f"factors {list(self.factors)} must be 2 or more"
        yield self.multipliers[0] == 1, f"multipliers {list(self.multipliers)} must begin with 1, that of the patches"
        yield (
            self.channels % 2 == self.channels % self.patch_factor == 0,
            f"{self.channels} channels must be even and a multiple of {self.patch_factor}, the patch_factor",
        )
        yield (
            self.in_channels % self.edge_groups == self.edge_channels % self.edge_groups == 0,
            f"{self.in_channels} in_channels and {self.edge_channels} channels a sample must be multiples of "
            f"{self.edge_groups}, the smaller of in_channels and patch_factor",
        )
        yield (
            all(width % self.resnet_groups == 0 for width in self.widths[1:]),
            f"the levels' channels {self.widths[1:]} must be multiples of {self.resnet_groups}, the resnet_groups",
        )

    @staticmethod
    def reading(tokens: int, features: int) -> dict[str, list[int]]:
        """The arguments of a network that reads prompts ``[tokens, features]``."""
        return {"embedding_shape": [tokens, features]}

    @property
    def stride(self) -> int:
        """The samples that one step of the bottleneck spans; a signal's length must be a multiple of it."""
        return self.patch_factor * math.prod(self.factors)

    @property
    def widths(self) -> list[int]:
        """The channels of the patches and of every level."""
        return [self.channels * multiplier for multiplier in self.multipliers]

    @property
    def edge_channels(self) -> int:
        """The channels of a sample inside the network, before samples are folded into patches."""
        return self.channels // self.patch_factor

    @property
    def edge_groups(self) -> int:
        """The groups of the normalisations in the first and the last block, which see samples."""
        return min(self.patch_factor, self.in_channels)

    @property
    def mapping_features(self) -> int:
        """The features M of the noise level's embedding."""
        return 4 * self.channels
