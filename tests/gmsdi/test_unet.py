"""The U-Net: the function of ``audio-diffusion-pytorch`` 0.0.43 from the same weights, and what it refuses."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.perf import networks
from gmsdi.errors import BadInputError
from gmsdi.unet import UNet1d, UNetConfig

SMALL = UNetConfig(
    in_channels=4,
    channels=32,
    patch_factor=8,
    multipliers=(1, 2, 4),
    factors=(4, 2),
    num_blocks=(2, 1),
    attentions=(False, True),
    attention_heads=2,
    attention_features=8,
    resnet_groups=8,
)
MONO = (
    UNetConfig(  # attention at every level, an odd factor, another width of the feed-forward, samples without patches
        in_channels=1,
        channels=12,
        patch_factor=1,
        multipliers=(1, 1, 2, 3),
        factors=(3, 2, 5),
        num_blocks=(1, 2, 3),
        attentions=(True, True, True),
        attention_heads=3,
        attention_features=4,
        attention_multiplier=3,
        resnet_groups=4,
    )
)
TEXT = UNetConfig(
    in_channels=1,
    channels=32,
    patch_factor=4,
    multipliers=(1, 2, 2),
    factors=(2, 2),
    num_blocks=(1, 2),
    attentions=(False, True),
    attention_heads=4,
    attention_features=8,
    resnet_groups=4,
    embedding_shape=(6, 24),
)
CONFIGS = {"small": SMALL, "mono": MONO, "text": TEXT}
MSDM_PARAMETERS = 405_497_700


def randomise(network: nn.Module) -> None:
    """Move every parameter off its initial value: a gain left at 1 or a bias at 0 would hide that it is never read."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.5 * parameter[0].numel() ** -0.5 * torch.randn_like(parameter))


def inputs(config: UNetConfig, batch: int, strides: int = 3) -> tuple[Tensor, ...]:
    """Signals, noise levels and, with text, embeddings."""
    x = torch.randn(batch, config.in_channels, strides * config.stride)
    t = torch.linspace(-2.0, 0.5, batch)
    return (x, t) if config.embedding_shape is None else (x, t, torch.randn(batch, *config.embedding_shape))


def network(config: UNetConfig) -> UNet1d:
    """The network with random weights."""
    torch.manual_seed(0)
    made = UNet1d(config).eval()
    randomise(made)
    return made


def reference(config: UNetConfig) -> Any:
    """The package's network of the same hyper-parameters, with random weights."""
    pytest.importorskip("audio_diffusion_pytorch")
    torch.manual_seed(1)
    made = networks.reference(config).eval()
    randomise(made)
    return made


@torch.no_grad()
def expected(made: Any, x: Tensor, t: Tensor, embedding: Tensor | None = None, **guidance: float) -> Tensor:
    """The package's output; it takes the embedding by name."""
    output: Tensor = made(x, t, **({} if embedding is None else {"embedding": embedding}), **guidance)
    return output


def assert_same(found: Tensor, wanted: Tensor) -> None:
    assert wanted.std() > 0.1  # outputs near 0 would agree whatever the weights
    # float32: some 40 layers of sums of up to 10³ terms, ε √(40 · 10³) = 1.2e-5 of outputs of a few units
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


# The package's function


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_outputs_are_the_packages(name: str) -> None:
    config = CONFIGS[name]
    theirs, ours = reference(config), UNet1d(config)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    given = inputs(config, batch=2)
    assert_same(ours(*given), expected(theirs, *given))


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_the_package_loads_our_weights(name: str) -> None:
    config = CONFIGS[name]
    theirs, ours = reference(config), network(config)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    given = inputs(config, batch=2)
    assert_same(ours(*given), expected(theirs, *given))


@torch.no_grad()
def test_gradients_are_the_packages() -> None:
    theirs, ours = reference(TEXT), UNet1d(TEXT)
    ours.load_state_dict(theirs.state_dict())
    x, t, embedding = inputs(TEXT, batch=2)
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        (found,) = torch.autograd.grad(ours(leaf, t, embedding).square().sum(), leaf)
        leaf = x.clone().requires_grad_()
        (wanted,) = torch.autograd.grad(theirs(leaf, t, embedding=embedding).square().sum(), leaf)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tokens", [1, 4, 6])
@torch.no_grad()
def test_null_embedding_guides_as_the_packages_does(tokens: int) -> None:
    theirs, ours = reference(TEXT), UNet1d(TEXT)
    ours.load_state_dict(theirs.state_dict())
    x, t, embedding = inputs(TEXT, batch=2)
    learned = ours.null
    assert learned is not None
    prompted = ours(x, t, embedding[:, :tokens])
    unprompted = ours(x, t, learned.expand(2, -1, -1)[:, :tokens])
    assert_same(prompted, expected(theirs, x, t, embedding[:, :tokens]))
    assert_same(unprompted, expected(theirs, x, t, embedding[:, :tokens], embedding_mask_proba=1.0))
    guided = unprompted + 3.0 * (prompted - unprompted)
    assert_same(guided, expected(theirs, x, t, embedding[:, :tokens], embedding_scale=3.0))


@pytest.mark.slow
@torch.no_grad()
def test_msdm_in_full_is_the_packages() -> None:
    config = UNetConfig(in_channels=4)
    theirs = reference(config)
    with torch.device("meta"):
        ours = UNet1d(config)
    ours.load_state_dict(theirs.state_dict(), strict=True, assign=True)  # shares the package's 1.6 GB
    given = inputs(config, batch=1, strides=1)
    assert_same(ours(*given), expected(theirs, *given))


@pytest.mark.parametrize(("in_channels", "parameters"), [(4, MSDM_PARAMETERS), (1, 405_491_100)])
def test_msdm_has_405_million_parameters(in_channels: int, parameters: int) -> None:
    with torch.device("meta"):
        made = UNet1d(UNetConfig(in_channels))
    assert sum(parameter.numel() for parameter in made.parameters()) == parameters
    assert made.config.stride == 8192


# What holds of it by itself


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_reach_the_signal_and_every_parameter(name: str) -> None:
    made, (x, *conditions) = network(CONFIGS[name]), inputs(CONFIGS[name], batch=2)
    x.requires_grad_()
    made(x, *conditions).square().mean().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    unread = [key for key, parameter in made.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert [key for key in unread if not key.startswith("fixed_embedding")] == []  # it is read through null


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_items_of_a_batch_do_not_depend_on_each_other(name: str) -> None:
    made = network(CONFIGS[name]).double()  # in float32 the sums' order, which the batch size may change, costs 1e-6
    given = [part.double() for part in inputs(CONFIGS[name], batch=3)]
    singles = torch.cat([made(*(part[i : i + 1] for part in given)) for i in range(3)])
    torch.testing.assert_close(made(*given), singles, rtol=0, atol=1e-12)


@torch.no_grad()
def test_noise_level_and_prompt_are_read() -> None:
    made, (x, t, embedding) = network(TEXT).double(), (part.double() for part in inputs(TEXT, batch=2))
    output = made(x, t, embedding)
    assert (made(x, t + 0.1, embedding) - output).abs().max() > 1e-3
    assert (made(x, t, embedding.flip(0)) - output).abs().max() > 1e-3
    # tokens have no order of their own
    torch.testing.assert_close(made(x, t, embedding.flip(1)), output, rtol=0, atol=1e-12)


@torch.no_grad()
def test_inputs_are_left_as_they_are() -> None:
    made, given = network(TEXT), inputs(TEXT, batch=1)
    before = [part.clone() for part in given]
    torch.testing.assert_close(made(*given), made(*given), rtol=0, atol=0)
    assert all(torch.equal(part, kept) for part, kept in zip(given, before, strict=True))


# What it refuses


@pytest.mark.parametrize(("samples", "longer"), [(0, 64), (1, 64), (63, 64), (100, 128)])
def test_lengths_between_strides_are_refused(samples: int, longer: int) -> None:
    with pytest.raises(BadInputError, match=f"a signal of {samples} samples .* stride, 64; pad it to {longer}$"):
        UNet1d(SMALL)(torch.zeros(1, 4, samples), torch.zeros(1))


def test_other_channels_are_refused() -> None:
    with pytest.raises(BadInputError, match="a signal of 1 channels; this network reads 4"):
        UNet1d(SMALL)(torch.zeros(1, 1, 64), torch.zeros(1))


@pytest.mark.parametrize("shape", [None, (7, 24), (6, 23)])
def test_embeddings_of_other_shapes_are_refused(shape: tuple[int, int] | None) -> None:
    embedding = None if shape is None else torch.zeros(1, *shape)
    with pytest.raises(BadInputError, match="this network reads up to 6 of 24"):
        UNet1d(TEXT)(torch.zeros(1, 1, 16), torch.zeros(1), embedding)


def test_a_network_without_text_reads_no_embedding() -> None:
    made = UNet1d(SMALL)
    with pytest.raises(BadInputError, match="an embedding of 6 tokens of 24 features; this network reads up to 0"):
        made(torch.zeros(1, 4, 64), torch.zeros(1), torch.zeros(1, 6, 24))
    assert made.null is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"in_channels": 0}, "must be positive"),
        ({"factors": (4, 2)}, "2 factors need 2 num_blocks and attentions, and 3 multipliers"),
        ({"factors": (4, 4, 4, 2, 2, 1)}, "must be 2 or more"),
        ({"multipliers": (2, 2, 4, 4, 4, 4, 4)}, "must begin with 1"),
        ({"channels": 264}, "264 channels must be even and a multiple of 16"),
        ({"in_channels": 3}, "3 in_channels and 16 channels a sample must be multiples of 3"),
        ({"resnet_groups": 7}, "must be multiples of 7, the resnet_groups"),
    ],
)
def test_configurations_that_make_no_network_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        UNetConfig(**{"in_channels": 4, **values})
