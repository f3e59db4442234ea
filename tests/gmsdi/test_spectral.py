"""The STFT-domain network: its formulas written out, what it can represent, what it must not depend on, and that it learns."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gmsdi.denoiser import Denoiser
from gmsdi.errors import BadInputError
from gmsdi.spectral import MOST_GAIN, SMALLEST, SpectralConfig, SpectralUNet, compress, masked

SMALL = SpectralConfig(window=64, hop=16, widths=(8, 8, 8), mapping=8)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def awake(config: SpectralConfig) -> SpectralUNet:
    """A network of random weights, its last layer included."""
    torch.manual_seed(0)
    network = SpectralUNet(config)
    nn.init.normal_(network.to_out.weight, std=0.1)
    return network.eval()


def constant(mask: complex, config: SpectralConfig = SMALL) -> SpectralUNet:
    """A network that answers every input with one mask and no residual."""
    network = SpectralUNet(config)
    _, bias = network.to_out.parameters()
    parts = bias.data.view(2, 2, -1)  # mask and residual, real and imaginary
    parts[0, 0], parts[0, 1] = mask.real, mask.imag
    return network


def literal(
    network: SpectralUNet, x: torch.Tensor, c_noise: torch.Tensor, embedding: torch.Tensor | None
) -> torch.Tensor:
    """The same with each layer as ``nn.Conv1d`` has it, torch's own transforms and complex numbers; one prompt a signal."""
    config = network.config
    window = torch.hann_window(config.window) / torch.hann_window(config.window).norm()
    frames = math.ceil((x.shape[2] / config.hop + 1) / config.stride) * config.stride
    padded = F.pad(x, (0, (frames - 1) * config.hop - x.shape[2])).flatten(0, 1)
    spectrum = torch.stft(
        padded, config.window, config.hop, window=window, pad_mode="constant", return_complex=True
    ).unflatten(0, x.shape[:2])  # [B, C, bins, N]
    pressed = spectrum / (spectrum.abs().square() + SMALLEST) ** 0.25
    mapping = network.to_mapping(c_noise, embedding)

    def block(x: torch.Tensor, layers: nn.Module) -> torch.Tensor:
        scale, shift = layers.film(mapping)[:, :, None].chunk(2, dim=1)
        normal = x / (x.square().mean(dim=1, keepdim=True) + SMALLEST).sqrt()
        return x + layers.out(F.silu(layers.mix(F.silu(normal * (1 + scale) + shift))))

    h, skips = network.to_in(torch.cat([pressed.real, pressed.imag], dim=1).flatten(1, 2)), []
    for (encoder,), down in zip(network.encoders, network.downs, strict=False):
        skips.append(block(h, encoder))
        h = down(skips[-1])
    h = block(h, network.encoders[-1][0])
    for (decoder,), up in reversed(list(zip(network.decoders, network.ups, strict=True))):
        h = block(up(h) + skips.pop(), decoder)
    parts = network.to_out(h).unflatten(1, (2, 2, config.channels, config.bins))
    mask, residual = (torch.complex(*part.unbind(1)) for part in parts.unbind(1))
    level = (4 * c_noise).exp() / config.sigma_data
    gain = (level + 1 / level).clamp(max=MOST_GAIN)[:, None, None, None]
    answer = gain * mask / (1 + (mask.abs() / config.mask_limit) ** 2).sqrt() * spectrum + residual
    signal = torch.istft(answer.flatten(0, 1), config.window, config.hop, window=window, length=x.shape[2])
    return signal.unflatten(0, x.shape[:2])


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """As a share of what is wanted, RMS."""
    return ((found - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("samples", [100, 5000, 20001])
def test_it_is_its_formulas_written_out(channels: int, samples: int) -> None:
    """In inference and in training. Float32 adds 1026 products up to √1026 · 2⁻²⁴ in each of some twenty layers: to 1e-5."""
    network = awake(SpectralConfig(channels=channels, widths=(32, 48, 32), mapping=16, embedding_features=4))
    x, c_noise, embedding = normal(3, channels, samples), normal(3, seed=1), normal(3, 2, 4, seed=2)
    wanted = literal(network, x, c_noise, embedding)
    assert error(network(x, c_noise, embedding), wanted) < 1e-5
    with torch.inference_mode():
        assert error(network(x, c_noise, embedding), wanted) < 1e-5


def test_bfloat16_costs_no_more_than_its_roundings() -> None:
    """Some thirty of them lie on a way through the network, of at most 2⁻⁹ each, independent of one another."""
    network = awake(SpectralConfig(embedding_features=4))
    x, c_noise, embedding = normal(2, 1, 20000), normal(2, seed=1), normal(2, 1, 4, seed=2)
    with torch.inference_mode():
        wanted = network(x, c_noise, embedding)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(x, c_noise, embedding)
    assert found.dtype == torch.float32
    assert 1e-4 < error(found, wanted) < 30**0.5 * 2**-9


@pytest.mark.parametrize("inference", [True, False])
def test_prompts_of_a_signal_are_answered_as_if_each_were_alone(inference: bool) -> None:
    network = awake(SpectralConfig(window=64, hop=16, widths=(8, 8), mapping=8, embedding_features=4))
    x, c_noise, embedding = normal(2, 1, 999), normal(2), normal(2, 3, 5, 4)
    with torch.inference_mode(inference):
        found = network(x, c_noise, embedding.flatten(0, 1)).unflatten(0, (2, 3))
        for p in range(3):
            torch.testing.assert_close(found[:, p], network(x, c_noise, embedding[:, p]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("samples", [1, 15, 16, 17, 255, 1000, 1001])
def test_any_length_is_answered_with_as_many_samples(samples: int) -> None:
    output = awake(SMALL)(normal(3, 1, samples), torch.zeros(3))
    assert output.shape == (3, 1, samples)
    assert output.isfinite().all()


@pytest.mark.parametrize("samples", [1, 1023, 1024, 5000, 32768, 32769])
def test_a_mask_of_1_reconstructs_the_signal(samples: int) -> None:
    """At σ = σ_data the gain is 2."""
    x = normal(2, 2, samples)
    network = constant(0.5, SpectralConfig(channels=2, widths=(4, 4), mask_limit=1e6, sigma_data=1.0))
    torch.testing.assert_close(network(x, torch.zeros(2)), x, atol=1e-5, rtol=0)


def test_the_mask_is_one_of_the_estimate() -> None:
    """D = (c_skip + mask) x, at all levels where the gain is not cut."""
    x, sigma = normal(3, 1, 999), torch.tensor([0.05, 0.2, 0.8])
    denoiser = Denoiser(constant(0.2, replace(SMALL, mask_limit=1e6, sigma_data=0.2)), 0.2)
    skip = 0.04 / (sigma**2 + 0.04)
    torch.testing.assert_close(denoiser(0.1 * x, sigma), 0.1 * (skip + 0.2)[:, None, None] * x)


def test_the_gain_is_cut_at_extreme_levels() -> None:
    x = normal(2, 1, 999)
    network = constant(0.5, replace(SMALL, mask_limit=1e6))
    torch.testing.assert_close(network(x, torch.tensor([1e-4, 1e3]).log() / 4), MOST_GAIN / 2 * x)


def test_the_mask_is_complex() -> None:
    """A turn by −i is the Hilbert transform: cosines become sines."""
    phase = torch.arange(1024) * (2 * torch.pi / 16)
    turned = constant(-1e3j, replace(SMALL, sigma_data=1.0))(phase.cos()[None, None], torch.zeros(1))
    inside = slice(100, -100)
    torch.testing.assert_close(turned[0, 0, inside], 2 * SMALL.mask_limit * phase.sin()[inside], atol=1e-3, rtol=0)


def test_an_untrained_network_answers_0() -> None:
    assert not SpectralUNet(SMALL)(normal(1, 1, 500), torch.zeros(1)).any()


def spectra(*shape: int) -> torch.Tensor:
    return torch.complex(normal(*shape), normal(*shape, seed=1))


@pytest.mark.parametrize("inference", [True, False])
def test_a_spectrum_is_compressed_to_the_root_of_its_magnitudes(inference: bool) -> None:
    spectrum = 1e3 * spectra(2, 5, 3, 7)
    with torch.inference_mode(inference):
        real, imaginary = compress(spectrum).unbind(dim=2)
    torch.testing.assert_close(torch.complex(real, imaginary), spectrum / spectrum.abs().sqrt())


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mask_is_a_complex_factor_below_its_limit(inference: bool, dtype: torch.dtype) -> None:
    spectrum, gain, limit = spectra(2, 5, 3, 7), torch.tensor([0.5, 3.0]), 2.0
    output = normal(2 * 3, 5, 4 * 3 * 7, seed=2).to(dtype)
    a, b, c, d = output.float().view(2, 3, 5, 4, 3, 7).unbind(dim=3)
    mask, residual = torch.complex(a, b), torch.complex(c, d)
    wanted = gain.view(2, 1, 1, 1, 1) * spectrum[:, None] * mask / (1 + (mask.abs() / limit) ** 2).sqrt() + residual
    with torch.inference_mode(inference):
        found = masked(spectrum, gain, output, limit)
    torch.testing.assert_close(found, wanted.flatten(0, 1))


def test_what_is_not_finite_stays_so_in_its_own_bin() -> None:
    """The sampler tells a state that diverged by it."""
    spectrum, output = spectra(1, 2, 1, 9), normal(1, 2, 4 * 9)
    spectrum[0, 0, 0, 3], output[0, 1, 9] = torch.nan, torch.inf  # a mask's imaginary part, of bin 0
    with torch.inference_mode():
        assert compress(spectrum).isfinite().logical_not().nonzero().tolist() == [[0, 0, part, 0, 3] for part in (0, 1)]
        assert masked(spectrum, torch.ones(1), output, 2.0).isfinite().logical_not().nonzero().tolist() == [
            [0, 0, 0, 3],
            [0, 1, 0, 0],
        ]


def test_the_number_of_threads_changes_no_bit() -> None:
    spectrum, output, before = spectra(1, 5, 1, 9), normal(2, 5, 4 * 9), torch.get_num_threads()
    found = []
    try:
        with torch.inference_mode():
            for threads in (1, 2, 7, 16):
                torch.set_num_threads(threads)
                found.append((compress(spectrum), masked(spectrum, torch.ones(1), output, 2.0)))
    finally:
        torch.set_num_threads(before)
    for features, estimate in found:
        assert torch.equal(features, found[0][0]) and torch.equal(estimate, found[0][1])


def test_compression_has_a_gradient_at_silence() -> None:
    silence = torch.zeros(1, 2, 1, 3, dtype=torch.complex64, requires_grad=True)
    compress(silence).sum().backward()
    assert silence.grad is not None and silence.grad.isfinite().all()


def test_an_item_does_not_depend_on_its_batch() -> None:
    network = awake(SpectralConfig(window=64, hop=16, widths=(8, 8), mapping=8, embedding_features=4))
    x, c_noise, embedding = normal(3, 1, 999), normal(3), normal(3, 2, 4)
    together = network(x, c_noise, embedding)
    for i in range(3):
        alone = network(x[i : i + 1], c_noise[i : i + 1], embedding[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-4)


def test_the_middle_of_a_signal_does_not_depend_on_its_length() -> None:
    network = awake(SMALL)
    x = normal(1, 1, 8192)
    whole, part = network(x, torch.zeros(1)), network(x[..., :6144], torch.zeros(1))
    torch.testing.assert_close(whole[..., :4096], part[..., :4096], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", [SMALL, SpectralConfig(embedding_features=4, widths=(8, 8), mapping=8)])
def test_every_weight_gets_a_gradient(config: SpectralConfig) -> None:
    network = awake(config)
    embedding = normal(2, 3, 4) if config.embedding_features else None
    network(normal(2, 1, 3000), normal(2), embedding).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, name


def test_noise_level_and_prompt_have_an_effect() -> None:
    network = awake(SpectralConfig(window=64, hop=16, widths=(8, 8), mapping=8, embedding_features=4))
    x, prompt = normal(1, 1, 1000), normal(1, 2, 4)
    answer = network(x, torch.zeros(1), prompt)
    assert not torch.allclose(answer, network(x, torch.ones(1), prompt))
    assert not torch.allclose(answer, network(x, torch.zeros(1), -prompt))


@pytest.mark.parametrize("features", [0, 4, 768])
def test_the_default_has_3_to_4_million_weights(features: int) -> None:
    network = SpectralUNet(SpectralConfig(embedding_features=features))
    assert 3e6 < sum(weight.numel() for weight in network.parameters()) < 4e6


def test_it_learns_one_batch_within_60_steps() -> None:
    """Denoising a tone at σ = σ_data, where an untrained network has the loss 1: to a tenth of it."""
    torch.manual_seed(0)
    denoiser = Denoiser(SpectralUNet(SpectralConfig(window=256, hop=64, widths=(32, 32), mapping=16)), 0.2)
    optimizer = torch.optim.AdamW(denoiser.parameters(), 3e-3)
    clean = (0.28 * (torch.arange(2048) * 0.2).sin()).expand(4, 1, 2048)
    sigma, noise = torch.full((4,), 0.2), normal(4, 1, 2048)
    losses = []
    for _ in range(60):
        loss = denoiser.loss(clean, sigma, noise).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(1, abs=0.1)
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("shape", [(2, 100), (2, 2, 100), (2, 1, 0)])
def test_a_signal_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInputError, match=r"a signal \[2, .*reads \[B, 1, T\]"):
        SpectralUNet(SMALL)(torch.zeros(shape), torch.zeros(2))


def test_prompts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadInputError, match=r"prompts \[1, 1, 4\]; this network reads none"):
        SpectralUNet(SMALL)(torch.zeros(1, 1, 100), torch.zeros(1), torch.zeros(1, 1, 4))
    prompted = SpectralUNet(SpectralConfig(widths=(8,), mapping=8, embedding_features=4))
    for embedding in (None, torch.zeros(1, 1, 5), torch.zeros(1, 4)):
        with pytest.raises(BadInputError, match=r"prompts.*; this network reads \[B, L, 4\]"):
            prompted(torch.zeros(1, 1, 100), torch.zeros(1), embedding)
    with pytest.raises(BadInputError, match=r"3 prompts for 2 signals"):
        prompted(torch.zeros(2, 1, 100), torch.zeros(2), torch.zeros(3, 1, 4))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 0}, "must be positive"),
        ({"mask_limit": 0.0}, "must be positive"),
        ({"widths": ()}, "widths"),
        ({"widths": (8, -1)}, "widths"),
        ({"embedding_features": -1}, "embedding_features"),
        ({"mapping": 7}, "even"),
        ({"window": 1024, "hop": 1024}, "two hops"),
        ({"window": 1000, "hop": 256}, "two hops"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(BadInputError, match=f"SpectralConfig: .*{message}"):
        SpectralConfig(**wrong)
