"""The comparison with ``audio-diffusion-pytorch``: the same weights, the same noise, and turns that are fair."""

import pytest
import torch

from benchmarks.perf import networks
from gmsdi.unet import UNetConfig

pytest.importorskip("audio_diffusion_pytorch")

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
)
SAMPLES = 4 * SMALL.stride


@pytest.fixture
def pair():
    return networks.networks(SMALL)


def test_both_networks_have_one_set_of_weights(pair):
    ours, theirs = (dict(network.named_parameters()) for network in pair)
    assert {name: weight.data_ptr() for name, weight in ours.items()} == {
        name: weight.data_ptr() for name, weight in theirs.items()
    }
    assert not any(weight.is_meta or weight.requires_grad for weight in ours.values())


@pytest.mark.parametrize("compare", [networks.evaluation, lambda *given: networks.step(*given[:3], 2, given[3])])
def test_the_same_is_computed_on_both(pair, compare):
    found = compare(*pair, SAMPLES, 1)
    assert found.ours > 0 and found.theirs > 0
    assert found.loudest > 0.1  # values near 0 would agree whatever the networks
    assert found.difference < 1e-4


@pytest.mark.parametrize("compare", [networks.evaluation, lambda *given: networks.step(*given[:3], 2, given[3])])
def test_another_network_is_told(pair, compare):
    ours, _ = pair
    other, _ = networks.networks(SMALL)
    for weight in other.to_out.parameters():
        torch.nn.init.zeros_(weight)
    assert compare(ours, other, SAMPLES, 1).difference > 0.01


def test_a_step_is_one_of_those_that_were_taken(pair, monkeypatch):
    monkeypatch.setattr(networks, "_compare", lambda *given: networks.Pair(3.0, 6.0, 0.0, 1.0))
    assert networks.step(*pair, SAMPLES, 3, 1) == networks.Pair(1.0, 2.0, 0.0, 1.0)


def test_works_take_turns_in_both_orders_and_the_median_counts(monkeypatch):
    clock, done = [0.0], []
    monkeypatch.setattr(networks.time, "perf_counter", lambda: clock[0])

    def work(name, lasts):
        lasts = iter(lasts)

        def run():
            done.append(name)
            clock[0] += next(lasts)

        return run

    assert networks.medians([work("a", [1, 9, 2]), work("b", [30, 5, 4])], 3) == [2, 5]
    assert done == ["a", "b", "b", "a", "a", "b"]


def test_the_line_says_how_many_times_faster():
    line = networks.Pair(2.0, 5.0, 1.23e-6, 0.5).line("one evaluation")
    assert line.startswith("one evaluation: 2.000 s, audio-diffusion-pytorch's 5.000 s: 2.50 x; ")
    assert "1.2e-06 where values reach 5.0e-01" in line
