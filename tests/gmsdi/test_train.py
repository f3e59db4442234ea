"""The trainer, on networks of a few weights: it learns, reports, and survives a kill -9."""

import copy
import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gmsdi.denoiser import Denoiser
from gmsdi.errors import BadInputError, GmsdiError, IntegrityError
from gmsdi.objective import Batch, Denoising, Row, Validation
from gmsdi.schedule import LogNormal
from gmsdi.train import CURVE, STATE, TrainConfig, train
from gmsdi.unet import UNet1d, UNetConfig

CONFIG = TrainConfig(steps=60, learning_rate=0.02, warmup=5, every=20)
NULL = torch.zeros(1, 2)


class Tiny(nn.Module):
    """A convolution, and a prompt that is added to it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv1d(1, 1, 9, padding=4)
        self.prompt = nn.Linear(2, 1, bias=False)
        self.embeddings: list[Tensor | None] = []

    def forward(self, x: Tensor, c_noise: Tensor, embedding: Tensor | None = None) -> Tensor:
        if self.training:
            self.embeddings.append(embedding)
        shift = 0 if embedding is None else self.prompt(embedding.mean(dim=1))[:, :, None]
        return self.convolution(x) + shift


def slow_waves(step: int) -> Batch:
    """Waves of random phases, of the deviation 0.2."""
    phase = torch.rand(8, 1, 1, generator=torch.Generator().manual_seed(step)) * 2 * math.pi
    return Batch(0.28 * (torch.arange(64) * 0.2 + phase).cos())


def levels(step: int) -> Batch:
    """Constants that the prompt tells: 0.2 for (1, 0) and −0.2 for (0, 1)."""
    which = torch.rand(8, generator=torch.Generator().manual_seed(step)) < 0.5
    embedding = torch.stack([which, ~which], dim=1)[:, None].float()  # [8, 1, 2]
    return Batch((embedding[:, :, :1] * 0.4 - 0.2).expand(8, 1, 64), embedding, NULL)


def no_validation(denoiser: Denoiser) -> Row:
    return {}


def weights(denoiser: Denoiser) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in denoiser.parameters()])


def test_the_loss_falls_and_the_curve_says_so(tmp_path: Path) -> None:
    validation = Validation(slow_waves(10**6), (0.1, 0.3))
    before = validation(Denoiser(Tiny()))["loss"]
    rows: list[Row] = []
    trained = train(CONFIG, Denoiser(Tiny()), slow_waves, validation, tmp_path, rows.append)
    assert trained.step == 60
    assert trained.curve[-1]["validation_loss"] < before / 2
    assert trained.curve[-1]["validation_loss"] == validation(trained.model)["loss"]
    with (tmp_path / CURVE).open() as file:
        read = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert read == list(trained.curve) == rows
    assert list(read[0]) == [
        *("step", "seconds", "loss", "validation_loss", "validation_loss@0.1", "validation_loss@0.3")
    ]
    assert [row["step"] for row in read] == [20, 40, 60]


def test_two_trainings_are_equal_and_a_seed_makes_another(tmp_path: Path) -> None:
    def run(name: str, seed: int) -> Tensor:
        config = replace(CONFIG, seed=seed)
        return weights(train(config, Denoiser(Tiny()), slow_waves, no_validation, tmp_path / name).model)

    torch.testing.assert_close(run("a", 0), run("b", 0), rtol=0, atol=0)
    assert not torch.allclose(run("c", 1), run("a", 0))


def recording(asked: list[int]) -> Callable[[int], Batch]:
    def batch(step: int) -> Batch:
        asked.append(step)
        return slow_waves(step)

    return batch


class Interrupted(Exception):
    pass


def failing(at: int) -> Callable[[int], Batch]:
    def batch(step: int) -> Batch:
        if step == at:
            raise Interrupted
        return slow_waves(step)

    return batch


@pytest.mark.parametrize("at", [0, 19, 20, 45])
def test_a_training_goes_on_where_it_was_saved(tmp_path: Path, at: int) -> None:
    whole = train(CONFIG, Denoiser(Tiny()), slow_waves, no_validation, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(CONFIG, Denoiser(Tiny()), failing(at), no_validation, tmp_path / "parts")
    asked: list[int] = []
    parts = train(CONFIG, Denoiser(Tiny()), recording(asked), no_validation, tmp_path / "parts")
    assert asked == list(range(at // 20 * 20, 60))
    torch.testing.assert_close(weights(parts.model), weights(whole.model), rtol=0, atol=0)
    assert [(row["step"], row["loss"]) for row in parts.curve] == [(row["step"], row["loss"]) for row in whole.curve]


KILLED = """
import sys, time
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_train import CONFIG, Tiny, no_validation, slow_waves
from gmsdi.denoiser import Denoiser
from gmsdi.train import train

def slowly(step):
    time.sleep(0.02)
    return slow_waves(step)

torch.set_num_threads(1)
train(CONFIG, Denoiser(Tiny()), slowly, no_validation, Path({folder!r}))
"""


def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "killed"))
    process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "killed" / STATE).exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)  # into the next interval
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        asked: list[int] = []
        resumed = train(CONFIG, Denoiser(Tiny()), recording(asked), no_validation, tmp_path / "killed")
        whole = train(CONFIG, Denoiser(Tiny()), slow_waves, no_validation, tmp_path / "whole")
    finally:
        torch.set_num_threads(threads)
    assert 0 < len(asked) < CONFIG.steps
    torch.testing.assert_close(weights(resumed.model), weights(whole.model), rtol=0, atol=0)


SHARED = """
import json, os, signal, sys, time
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_train import CONFIG, Tiny, five, slow_waves, weights
from gmsdi import processes
from gmsdi.denoiser import Denoiser
from gmsdi.errors import BadInputError
from gmsdi.train import Batch, train

folder, asked = Path({folder!r}), []

def data(step):
    asked.append(step)
    if step == 45 and not processes.first() and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return five(step)

def slowly(step):
    time.sleep(0.01 if processes.first() else 0.0)
    return slow_waves(step)

def validate(denoiser):
    assert processes.first()
    return dict(loss=weights(denoiser).sum().item())

with processes.joined("cpu"):
    trained = train(CONFIG, Denoiser(Tiny()), data, validate, folder / "shared")
    short = train(replace(CONFIG, seconds=0.2), Denoiser(Tiny()), slowly, validate, folder / "short")
    try:
        train(CONFIG, Denoiser(Tiny()), lambda step: Batch(slow_waves(step).clean[:1]), validate, folder / "one")
    except BadInputError as error:
        refused = str(error)
    told = dict(asked=asked, weights=weights(trained.model).tolist(), curve=trained.curve, short=short.step)
    (folder / f"{{os.environ['RANK']}}.json").write_text(json.dumps(told | dict(refused=refused)))
"""


def five(step: int) -> Batch:
    """An odd number of items, with prompts."""
    batch = levels(step)
    assert batch.embedding is not None
    return replace(batch, clean=batch.clean[:5], embedding=batch.embedding[:5])


def test_two_processes_train_as_one_does_and_go_on_when_one_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "shared.py"
    script.write_text(SHARED.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    assert subprocess.run(command, env=environment, capture_output=True).returncode != 0
    assert (tmp_path / "killed").exists()
    subprocess.run(command, env=environment, check=True)
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    alone = train(CONFIG, Denoiser(Tiny()), five, no_validation, tmp_path / "alone")
    torch.testing.assert_close(torch.tensor(one["weights"]), weights(alone.model), rtol=1e-4, atol=1e-6)
    assert one.pop("weights") == other.pop("weights")
    assert one == other
    assert one["asked"] == list(range(40, 60))
    assert [row["loss"] for row in one["curve"]] == pytest.approx([row["loss"] for row in alone.curve], rel=1e-4)
    assert 0 < one["short"] < CONFIG.steps
    assert "a batch of 1 for 2 processes" in one["refused"]
    with (tmp_path / "shared" / CURVE).open() as file:
        assert [float(row["validation_loss"]) for row in csv.DictReader(file)] == [
            row["validation_loss"] for row in one["curve"]
        ]


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    first = train(CONFIG, Denoiser(Tiny()), slow_waves, no_validation, tmp_path)
    asked: list[int] = []
    again = train(CONFIG, Denoiser(Tiny()), recording(asked), no_validation, tmp_path)
    assert not asked
    assert (again.step, again.seconds, again.curve) == (first.step, first.seconds, first.curve)
    torch.testing.assert_close(weights(again.model), weights(first.model), rtol=0, atol=0)


def test_the_time_may_run_out_first_and_be_prolonged(tmp_path: Path) -> None:
    def slowly(step: int) -> Batch:
        time.sleep(0.01)
        return slow_waves(step)

    short = train(replace(CONFIG, seconds=0.1), Denoiser(Tiny()), slowly, no_validation, tmp_path / "parts")
    assert 0 < short.step < 15
    assert short.curve[-1]["step"] == short.step
    parts = train(CONFIG, Denoiser(Tiny()), slow_waves, no_validation, tmp_path / "parts")
    whole = train(CONFIG, Denoiser(Tiny()), slow_waves, no_validation, tmp_path / "whole")
    assert parts.step == CONFIG.steps
    torch.testing.assert_close(weights(parts.model), weights(whole.model), rtol=0, atol=0)


def test_the_learning_rate_warms_up_and_falls_as_a_cosine() -> None:
    config = TrainConfig(steps=1000, warmup=99, learning_rate=0.1)
    assert config.rate(0) == pytest.approx(0.001)
    assert config.rate(500) == pytest.approx(0.05)
    assert config.rate(999) == pytest.approx(0, abs=1e-6)
    assert max(range(1000), key=config.rate) in range(95, 105)


def test_the_average_forgets_its_beginning_and_then_decays() -> None:
    config = TrainConfig(average=0.99)
    assert config.decay(0) == 0.1
    assert config.decay(10**6) == 0.99


def test_prompts_are_learned_and_the_gap_shows_it(tmp_path: Path) -> None:
    batch = levels(10**6)
    assert batch.embedding is not None
    others = {"null": torch.zeros_like(batch.embedding), "wrong": batch.embedding.flip(-1)}
    validation = Validation(batch, (0.1, 1.0), others)
    config = replace(CONFIG, objective=Denoising(LogNormal(mean=0.0, std=1.0)))
    network = Tiny()
    nn.init.zeros_(network.prompt.weight)
    denoiser = Denoiser(network)
    assert validation(denoiser)["wrong-right@1"] == 0
    row = train(config, denoiser, levels, validation, tmp_path).curve[-1]
    assert row["validation_wrong-right@1"] > row["validation_null-right@1"] > 0.01


def test_a_share_of_the_prompts_is_dropped(tmp_path: Path) -> None:
    def data(step: int) -> Batch:
        return replace(levels(step), null=torch.full((1, 2), 7.0))

    network = Tiny()
    config = replace(CONFIG, objective=Denoising(drop=0.25), steps=100, learning_rate=1e-6)
    train(config, Denoiser(network), data, no_validation, tmp_path)
    given = torch.cat([embedding for embedding in network.embeddings if embedding is not None])
    assert given.shape == (800, 1, 2)
    dropped = (given == 7).all(dim=(1, 2))
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.06)
    asked = torch.cat([embedding for step in range(100) if (embedding := levels(step).embedding) is not None])
    torch.testing.assert_close(given[~dropped], asked[~dropped])


def test_prompts_without_a_null_prompt_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="null prompt is due"):
        train(CONFIG, Denoiser(Tiny()), lambda step: replace(levels(step), null=None), no_validation, tmp_path)


TEXT = UNetConfig(
    in_channels=1,
    channels=8,
    patch_factor=1,
    multipliers=(1, 1),
    factors=(2,),
    num_blocks=(1,),
    attentions=(False,),
    attention_heads=1,
    attention_features=4,
    resnet_groups=4,
    embedding_shape=(3, 4),
)


def test_where_a_network_has_a_null_prompt_of_its_own_it_learns_it(tmp_path: Path) -> None:
    unwanted = torch.full((1, 4), math.nan)  # an encoder's null prompt, which must be nowhere

    def data(step: int) -> Batch:
        batch = levels(step)
        assert batch.embedding is not None
        return Batch(batch.clean, batch.embedding.repeat(1, 2, 2), unwanted)  # [8, 2, 4]

    validation = Validation(data(10**6), (0.3,), {"null": unwanted.expand(8, 2, 4)})
    torch.manual_seed(0)
    network = UNet1d(TEXT)
    before = network.state_dict()["fixed_embedding.embedding.weight"].clone()  # [3, 4]
    for drop, learned in ((1.0, [True, True, False]), (0.0, [False, False, False])):  # no prompt has a third token
        denoiser = Denoiser(copy.deepcopy(network))
        how = replace(CONFIG, steps=20, objective=Denoising(drop=drop), weight_decay=0.0)
        trained = train(how, denoiser, data, validation, tmp_path / str(drop))
        after = trained.model.null
        assert after is not None
        assert ((after - before).abs().amax(dim=1) > 1e-3).tolist() == learned
        assert math.isfinite(trained.curve[-1]["validation_null-right@0.3"])


def test_bf16_computes_in_bf16_and_keeps_weights_in_float32(tmp_path: Path) -> None:
    trained = train(replace(CONFIG, bf16=True), Denoiser(Tiny()), slow_waves, no_validation, tmp_path / "bf16")
    exact = train(CONFIG, Denoiser(Tiny()), slow_waves, no_validation, tmp_path / "float32")
    found, expected = weights(trained.model), weights(exact.model)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_the_folder_of_another_training_is_refused(tmp_path: Path) -> None:
    train(CONFIG, Denoiser(Tiny()), slow_waves, no_validation, tmp_path)
    with pytest.raises(BadInputError, match="another steps, seed; take another folder"):
        train(replace(CONFIG, seed=1, steps=9), Denoiser(Tiny()), slow_waves, no_validation, tmp_path)
    with pytest.raises(BadInputError, match="another network"):
        train(CONFIG, Denoiser(nn.Conv1d(1, 1, 1)), slow_waves, no_validation, tmp_path)
    (tmp_path / STATE).write_bytes((tmp_path / STATE).read_bytes()[:1000])
    with pytest.raises(IntegrityError, match="remove it to train anew"):
        train(CONFIG, Denoiser(Tiny()), slow_waves, no_validation, tmp_path)


def test_a_loss_that_is_not_finite_ends_the_training_before_it_is_saved(tmp_path: Path) -> None:
    with pytest.raises(GmsdiError, match="the loss is nan before step 20"):
        train(CONFIG, Denoiser(Tiny()), lambda step: Batch(torch.full((2, 1, 64), math.nan)), no_validation, tmp_path)
    assert not (tmp_path / STATE).exists()


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"seconds": 0.0}, {"average": 1.0}, {"warmup": -1}])
def test_settings_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(BadInputError, match="TrainConfig: "):
        TrainConfig(**wrong)
