"""One trainer for every model here: AdamW, a cosine schedule, an average of the weights, and a state from which a killed run goes on.

All randomness is seeded by the step, and a state is saved as a whole or not at all: a run that was killed and started again ends with
the same weights as an uninterrupted one. Several processes (``gmsdi.processes``) each compute a share of every batch; they end with the
weights of a single process, up to rounding.
"""

import copy
import csv
import logging
import math
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gmsdi import audio, processes
from gmsdi.errors import BadInputError, GmsdiError, IntegrityError
from gmsdi.objective import Batch, Denoising, Objective, Row

STATE = "state.pt"
"""The file in a training's folder from which it goes on."""

CURVE = "curve.csv"
"""A row for every interval, in its folder: step, seconds, the mean training loss of the interval, and what validation found."""

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Raises ``BadInputError`` for impossible values."""

    steps: int = 10_000
    seconds: float = math.inf  # the most wall-clock time, over all starts; the cosine still spans ``steps``
    learning_rate: float = 1e-3
    warmup: int = 200  # steps
    weight_decay: float = 0.01
    average: float = 0.999  # decay of the averaged weights a step, at most: it is less in the first steps
    clip: float = 1.0  # the largest norm of a gradient
    objective: Objective = field(default_factory=Denoising)
    bf16: bool = False  # compute in bfloat16 where that is enough; weights stay float32
    every: int = 500  # steps of an interval: validate, save, report
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.every) < 1 or min(self.seconds, self.learning_rate, self.clip) <= 0:
            raise BadInputError("TrainConfig: steps, every, seconds, learning_rate and clip must be positive")
        if not (0 <= self.average < 1 and min(self.warmup, self.weight_decay) >= 0):
            raise BadInputError("TrainConfig: average is a share; warmup and weight_decay must not be negative")

    def rate(self, step: int) -> float:
        """The learning rate of a step: a linear warm-up, times a cosine down to 0 at the last step."""
        warm = min(1.0, (step + 1) / (self.warmup + 1))
        return self.learning_rate * warm * (1 + math.cos(math.pi * step / self.steps)) / 2

    def decay(self, step: int) -> float:
        """The share of the average that a step keeps."""
        return min(self.average, (1 + step) / (10 + step))


@dataclass(frozen=True)
class Trained(Generic[Model]):
    """How a training ended."""

    model: Model  # with the averaged weights
    step: int
    seconds: float
    curve: tuple[Row, ...]


def log(row: Row) -> None:
    """The default report: a row of the curve as a line of the log."""
    logging.getLogger(__name__).info("%s", ", ".join(f"{name} {value:.4g}" for name, value in row.items()))


def train(
    config: TrainConfig,
    model: Model,
    data: Callable[[int], Batch],
    validate: Callable[[Model], Row],
    folder: Path,
    report: Callable[[Row], None] = log,
    identity: Mapping[str, Any] | None = None,
) -> Trained[Model]:
    """Train ``model`` in place, or go on with the training that ``folder`` holds.

    ``data`` gives the batch of a step, the same whenever it is asked; ``validate`` judges the averaged weights;
    ``identity`` holds plain values that must be equal, as the config must, to those of the training that is gone on with.

    Several processes must give the same arguments, and share the ``folder``. The first alone validates, writes and reports.

    Raises ``BadInputError`` when the folder's training is another one, ``IntegrityError`` when its state is damaged, and
    ``GmsdiError`` when the loss is not finite any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(config, model, identity or {})
    if (folder / STATE).exists():
        run.load(folder / STATE)
    if run.step != processes.agreed(run.step):
        raise BadInputError(f"{folder}: not the state that the first process has; give a folder that all of them share")
    began = time.monotonic() - run.seconds
    while run.step < config.steps and run.seconds < config.seconds:
        losses = []
        for _ in range(min(config.every - run.step % config.every, config.steps - run.step)):
            losses.append(run.advance(data(run.step)))
            run.seconds = processes.agreed(time.monotonic() - began)
            if run.seconds >= config.seconds:
                break
        mean = sum(float(loss) for loss in losses) / len(losses)
        if not math.isfinite(mean):
            raise GmsdiError(
                f"{folder}: the loss is {mean} before step {run.step}; take a smaller learning_rate or clip"
            )
        row = processes.agreed(validate(run.average) if processes.first() else {})
        found = {f"validation_{name}": value for name, value in row.items()}
        run.seconds = processes.agreed(time.monotonic() - began)
        run.curve.append({"step": run.step, "seconds": round(run.seconds, 1), "loss": mean} | found)
        if processes.first():
            run.save(folder / STATE)
            _write_curve(folder / CURVE, run.curve)
            report(run.curve[-1])
    return Trained(run.average, run.step, run.seconds, tuple(run.curve))


class _Run(Generic[Model]):
    """A training between two steps."""

    def __init__(self, config: TrainConfig, model: Model, identity: Mapping[str, Any]) -> None:
        self.config, self.model, self.identity = config, model, identity
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.device = next(model.parameters()).device
        self.step = 0
        self.seconds = 0.0
        self.curve: list[Row] = []

    def advance(self, batch: Batch) -> Tensor:
        """Take one step, of which this process computes its share; returns the loss of the whole batch before the step.

        The loss stays on the device: reading it would wait for the step, and the next batch can be loaded meanwhile.
        """
        config, items = self.config, len(batch.clean)
        generator = torch.Generator(self.device).manual_seed(_seed(config.seed, self.step))
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(self.step)
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bf16):
            loss = config.objective.losses(self.model, batch, processes.share(items), generator).sum() / items
        self.optimizer.zero_grad()
        loss.backward()
        loss = loss.detach()
        weights = list(self.model.parameters())
        processes.add_up([loss, *(weight.grad for weight in weights if weight.grad is not None)])
        torch.nn.utils.clip_grad_norm_(weights, config.clip)
        self.optimizer.step()
        self._average()
        self.step += 1
        return loss

    @torch.no_grad()
    def _average(self) -> None:
        share = 1 - self.config.decay(self.step)
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), share)

    def save(self, path: Path) -> None:
        """Write all of it, atomically."""
        content = {
            "settings": self._settings(),
            "weights": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "curve": self.curve,
        }
        with audio.atomic(path) as temporary:
            torch.save(content, temporary)

    def load(self, path: Path) -> None:
        """Take on the state of the run that wrote ``path``."""
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
            raise IntegrityError(f"{path}: cannot be read; remove it to train anew") from None
        settings = self._settings()
        other = [name for name in settings if content["settings"].get(name) != settings[name]]
        if other:
            raise BadInputError(f"{path}: of a training with another {', '.join(other)}; take another folder")
        self.model.load_state_dict(content["weights"])
        self.average.load_state_dict(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step, self.seconds, self.curve = content["step"], content["seconds"], content["curve"]

    def _settings(self) -> dict[str, Any]:
        """What has to be equal for a run to go on: the config without its time limit, the network, and ``identity``."""
        learned = {"class": type(self.config.objective).__name__, **asdict(self.config.objective)}  # type: ignore[call-overload]
        shapes = {name: list(weight.shape) for name, weight in self.model.state_dict().items()}
        sigma_data = getattr(self.model, "sigma_data", None)  # the one number of a denoiser that is no weight
        settings = asdict(self.config) | {
            "objective": learned,
            "network": shapes,
            "sigma_data": sigma_data,
            **self.identity,
        }
        return {name: value for name, value in settings.items() if name != "seconds"}


def _seed(seed: int, step: int) -> int:
    """A seed of 32 bits, all that torch's CPU generator keeps; the seeds of neighbouring steps are unrelated."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def _write_curve(path: Path, rows: list[Row]) -> None:
    with audio.atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
