"""Demucs that may be told sources, what it learns from, and block Gibbs sampling with it."""

from pathlib import Path

import pytest
import torch
from demucs.demucs import Demucs
from torch import Tensor

from baselines import demucs
from baselines.demucs import ConditionalDemucs, DemucsSeparator, Lesson, Orderless, missing_error
from baselines.gibbs import Annealed, DemucsGibbs, Gibbs
from benchmarks import config
from benchmarks.config import build
from gmsdi import SAMPLE_RATE, STEMS, checkpoint
from gmsdi import objective as objectives
from gmsdi.checkpoint import Manifest
from gmsdi.errors import BadInputError
from gmsdi.sampler import Streams
from gmsdi.system import Batch
from gmsdi.train import TrainConfig, train

SIZES = {"channels": 8, "depth": 3, "resample": False, "norm_starts": 9, "dconv_attn": 9, "dconv_lstm": 9}
NETWORK = {"backbone": "Demucs", **SIZES}
K = len(STEMS)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sources(items: int, length: int = 600, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(items, K, length, generator=generator(seed))


@pytest.fixture
def model() -> ConditionalDemucs:
    torch.manual_seed(0)
    return demucs.build(NETWORK).eval().requires_grad_(False)


@pytest.fixture
def path(model: ConditionalDemucs, tmp_path: Path) -> str:
    path = tmp_path / "demucs.safetensors"
    checkpoint.save(
        path,
        model.network.state_dict(),
        Manifest("demucs", NETWORK, STEMS, SAMPLE_RATE, None, 7, {}, {"data": "noise"}),
    )
    return str(path)


# The network


def test_alone_it_is_the_packages_demucs(model: ConditionalDemucs) -> None:
    """Blind to its slots, it is the package's network with the package's own normalisation, but for the mixture's mean."""
    state = model.network.state_dict()
    state["encoder.0.0.weight"][:, 1:] = 0
    plain = Demucs(list(STEMS), audio_channels=1, **SIZES).eval()
    plain.load_state_dict({**state, "encoder.0.0.weight": state["encoder.0.0.weight"][:, :1]})
    mixtures = 3 * torch.randn(2, 700) + 0.2
    expected = plain(mixtures[:, None])[:, :, 0] - mixtures.mean(dim=-1)[:, None, None]
    torch.testing.assert_close(model.alone(mixtures), expected, rtol=1e-4, atol=1e-4)


def test_it_scales_with_the_mixture(model: ConditionalDemucs) -> None:
    given = torch.tensor([[True, False, False, True]])
    one = sources(1)
    loud, soft = (model(gain * one.sum(dim=1), gain * one, given) for gain in (1.0, 0.1))
    torch.testing.assert_close(soft, 0.1 * loud, rtol=0.01, atol=1e-4)


def test_only_what_is_given_is_read(model: ConditionalDemucs) -> None:
    one, other = sources(2), sources(2, seed=1)
    given = torch.tensor([[True, False, False, False], [False, True, True, False]])
    mixed = torch.where(given[:, :, None], one, other)
    mixtures = one.sum(dim=1)
    torch.testing.assert_close(model(mixtures, mixed, given), model(mixtures, one, given), rtol=0, atol=0)
    assert not torch.allclose(model(mixtures, other, given), model(mixtures, one, given))
    nothing = torch.zeros_like(given)
    torch.testing.assert_close(model(mixtures, one, nothing), model.alone(mixtures), rtol=0, atol=0)
    zeros = torch.zeros_like(one)  # silence that is known is not the same as nothing that is known
    assert not torch.allclose(model(mixtures, zeros, ~nothing), model.alone(mixtures))


@pytest.mark.parametrize(
    "network", [{"backbone": "UNet1d"}, {"backbone": "Demucs", "chanels": 8}, {"backbone": "Demucs", "dconv_comp": 0}]
)
def test_networks_that_are_no_demucs_are_refused(network: dict) -> None:
    with pytest.raises(BadInputError):
        demucs.build(network)


# The objective


def test_every_number_of_given_sources_is_as_likely_and_every_source() -> None:
    given = Orderless(alone=0.4).given(20_000, K, generator())
    shares = given.sum(dim=1).bincount(minlength=K + 1) / len(given)
    torch.testing.assert_close(shares, torch.tensor([0.4, 0.2, 0.2, 0.2, 0.0]), atol=0.015, rtol=0)
    torch.testing.assert_close(given.float().mean(dim=0), torch.full((K,), 0.3), atol=0.015, rtol=0)


def test_augmentation_trades_turns_and_scales() -> None:
    clean = sources(400)
    same = Orderless(remix=0.0, scale=(1.0, 1.0)).augment(clean, generator())
    torch.testing.assert_close(same.abs(), clean.abs(), rtol=0, atol=0)
    turned = (same * clean).sum(dim=-1) < 0
    assert turned.float().mean().item() == pytest.approx(0.5, abs=0.05)

    half = Orderless(remix=0.5, scale=(0.25, 1.25)).augment(clean, generator())
    whole = [(half[group : group + 4] * clean[group : group + 4]).sum(dim=-1).abs() for group in range(0, 400, 4)]
    norms = clean.square().sum(dim=-1)
    stayed = torch.stack(
        [(found > 0.24 * norms[4 * i : 4 * i + 4]).all() for i, found in enumerate(whole)]
    )  # groups that have not traded: each source is still its own, times its factor
    assert stayed.float().mean().item() == pytest.approx(0.5, abs=0.15)
    level = half.square().sum(dim=(0, 2)) / clean.square().sum(dim=(0, 2))
    expected = (1.25**3 - 0.25**3) / 3  # the mean square of the factor
    torch.testing.assert_close(level, torch.full((K,), expected), atol=0.06, rtol=0)


def test_a_batch_without_whole_groups_is_refused() -> None:
    with pytest.raises(BadInputError, match="multiple"):
        Orderless().augment(sources(6), generator())


def test_only_what_is_missing_counts() -> None:
    def zeros(mixtures: Tensor, known: Tensor, given: Tensor) -> Tensor:
        return torch.zeros_like(known)

    clean = torch.arange(1.0, 5.0)[None, :, None].expand(1, K, 10)
    given = torch.tensor([[True, False, False, True]])
    assert missing_error(zeros, clean, given).tolist() == [2.5]  # type: ignore[arg-type]


def test_shares_of_a_batch_have_the_losses_of_the_whole(model: ConditionalDemucs) -> None:
    model, batch = model.double(), objectives.Batch(sources(8).double())  # in float32 the sums' order costs 1e-6
    whole = Orderless().losses(model, batch, slice(0, 8), generator())
    parts = [Orderless().losses(model, batch, part, generator()) for part in (slice(0, 3), slice(3, 8))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=0)


def test_it_learns_to_use_what_it_is_given(tmp_path: Path) -> None:
    """Sources that nothing tells apart but being told them: noise. Alone there is no better estimate than a fourth of the mixture."""
    torch.manual_seed(0)
    small = demucs.build({**NETWORK, "channels": 16, "depth": 1, "kernel_size": 4, "stride": 2})
    how = TrainConfig(steps=400, learning_rate=1e-2, warmup=10, every=400, objective=Orderless(remix=0.0))
    lesson = Lesson((objectives.Batch(sources(16, 256, seed=10**6)),))
    row = train(how, small, lambda step: objectives.Batch(sources(16, 256, step)), lesson, tmp_path).curve[-1]
    told = sum(row[f"validation_loss@all-but-{stem}"] for stem in STEMS) / K
    assert told < 0.7 * row["validation_loss"]


def test_a_training_of_the_configured_objective_goes_on(tmp_path: Path) -> None:
    """What a config gives is kept in the state, which nothing but plain values can be read from."""
    objective = build(config.load(["model=demucs-mini"], "train").model.train.objective)
    assert objective == Orderless()

    def run(seconds: float) -> int:
        torch.manual_seed(0)
        how = TrainConfig(steps=6, every=2, warmup=1, seconds=seconds, objective=objective)
        return train(how, demucs.build(NETWORK), lambda step: objectives.Batch(sources(4)), lambda _: {}, tmp_path).step

    assert run(1e-9) < 6
    assert run(1e9) == 6


# Gibbs


def test_of_gaussians_the_steps_lead_to_the_posterior_mean() -> None:
    """With exact conditional means, one source at a time, the steps are Gauss-Seidel's on the normal equations."""
    variances, noise = torch.tensor([1.0, 2.0, 0.5, 3.0]).double()[None, :, None], 0.7

    def conditional_mean(mixtures: Tensor, known: Tensor, given: Tensor) -> Tensor:
        others = (known * given[:, :, None]).sum(dim=1)
        rest = torch.where(given[:, :, None], 0, variances)  # jointly, for all that are not given
        return rest / (rest.sum(dim=1, keepdim=True) + noise) * (mixtures - others)[:, None]

    mixtures = torch.randn(3, 5, generator=generator(), dtype=torch.float64)
    expected = variances / (variances.sum() + noise) * mixtures[:, None]
    start = torch.zeros(3, K, 5, dtype=torch.float64)
    for block in (1, 2, None):
        found = Gibbs(400, block).sample(conditional_mean, mixtures, start, Streams((1, 2, 3)))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    assert not torch.allclose(Gibbs(4, 1).sample(conditional_mean, mixtures, start, Streams((1, 2, 3))), expected)


def test_blocks_are_of_the_size_asked_for_and_never_empty() -> None:
    draws = torch.rand(2000, K, generator=generator())
    for block in (1, 2, 3):
        assert set(Gibbs(1, block).choose(draws, 0.5).sum(dim=1).tolist()) == {block}
    counts = Gibbs(1).choose(draws, 0.1).sum(dim=1)
    assert counts.min() == 1
    assert Gibbs(1).choose(draws, 0.9).float().mean().item() == pytest.approx(0.9, abs=0.02)


def test_the_probability_falls_to_the_lowest() -> None:
    annealed = Annealed(0.9, 0.1, 0.7)
    assert [annealed(step, 100) for step in (0, 35, 70, 99)] == pytest.approx([0.9, 0.5, 0.1, 0.1])


def test_no_steps_are_plain_demucs(path: str) -> None:
    batch = Batch(sources(2).sum(dim=1), SAMPLE_RATE, (1, 2))
    plain = DemucsSeparator(path).separate(batch)
    torch.testing.assert_close(DemucsGibbs(path, Gibbs(0)).separate(batch), plain, rtol=0, atol=0)
    assert not torch.allclose(DemucsGibbs(path, Gibbs(3)).separate(batch), plain)


@pytest.mark.parametrize("gibbs", [Gibbs(5), Gibbs(5, block=2), Gibbs(5, noise=0.3)])
def test_an_item_does_not_depend_on_its_batch(path: str, gibbs: Gibbs) -> None:
    separator = DemucsGibbs(path, gibbs)
    mixtures, seeds = sources(4).sum(dim=1), (11, 12, 13, 14)

    def run(items: list[int]) -> Tensor:
        return separator.separate(Batch(mixtures[items], SAMPLE_RATE, tuple(seeds[i] for i in items)))

    whole = run([0, 1, 2, 3])
    torch.testing.assert_close(torch.cat([run([i]) for i in range(4)]), whole, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(run([2, 0]), whole[[2, 0]], rtol=1e-4, atol=1e-6)


def test_a_checkpoint_of_another_model_is_refused(path: str, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    found = checkpoint.load(path, kind="demucs", rate=SAMPLE_RATE)
    wider = Manifest("demucs", {**NETWORK, "channels": 16}, STEMS, SAMPLE_RATE, None, 7, {}, {})
    checkpoint.save(other, found.weights, wider)
    with pytest.raises(BadInputError, match="do not fit"):
        DemucsSeparator(str(other))
    turned = Manifest("demucs", NETWORK, STEMS[::-1], SAMPLE_RATE, None, 7, {}, {})
    checkpoint.save(other, found.weights, turned)
    with pytest.raises(BadInputError, match="where bass, drums, guitar, piano is needed"):
        DemucsSeparator(str(other))
    checkpoint.save(other, found.weights, Manifest("msdm", NETWORK, STEMS, SAMPLE_RATE, None, 7, {}, {}))
    with pytest.raises(BadInputError, match="kind demucs is needed"):
        DemucsSeparator(str(other))


@pytest.mark.parametrize(
    "wrong", [{"steps": -1}, {"steps": 1, "block": 0}, {"steps": 1, "block": 4}, {"steps": 1, "noise": -0.1}]
)
def test_gibbs_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(BadInputError, match="Gibbs"):
        Gibbs(**wrong)
