"""One trainer for every denoiser: AdamW, a cosine, an average of the weights, and a state that a killed run goes on from.

All randomness is seeded by the step, and a state is saved as a whole or not at all: a run that was killed and started again ends with
the weights of one that was not. Several processes (``gmsdi.processes``) end with the weights of a single one, but for rounding: each
computes a share of every batch.
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
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmsdi import audio, processes
from gmsdi.denoiser import Denoiser
from gmsdi.errors import BadInputError, GmsdiError, IntegrityError
from gmsdi.schedule import LogNormal

STATE = "state.pt"
"""All that training goes on from, in its folder."""

CURVE = "curve.csv"
"""A row for every interval, in its folder: step, seconds, the mean training loss of the interval, and what validation found."""

Row = dict[str, float]


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Raises ``BadInputError`` for values that no training can have."""

    steps: int = 10_000
    seconds: float = math.inf  # of wall-clock time, over all starts; the cosine is over ``steps`` all the same
    learning_rate: float = 1e-3
    warmup: int = 200  # steps
    weight_decay: float = 0.01
    average: float = 0.999  # decay of the averaged weights a step, at most: the average of few steps forgets sooner
    clip: float = 1.0  # the largest norm of a gradient
    drop: float = 0.1  # how often a prompt is replaced by the null prompt
    sigmas: LogNormal = field(default_factory=lambda: LogNormal(mean=math.log(0.3), std=1.5))
    bf16: bool = False  # compute in bfloat16 where that is enough; weights stay float32
    every: int = 500  # steps of an interval: validate, save, report
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.every) < 1 or min(self.seconds, self.learning_rate, self.clip) <= 0:
            raise BadInputError("TrainConfig: steps, every, seconds, learning_rate and clip must be positive")
        if not (0 <= self.average < 1 and 0 <= self.drop <= 1 and self.warmup >= 0 and self.weight_decay >= 0):
            raise BadInputError(
                "TrainConfig: average and drop are shares; warmup and weight_decay must not be negative"
            )

    def rate(self, step: int) -> float:
        """The learning rate of a step: a linear warm-up, times a cosine down to 0 at the last step."""
        warm = min(1.0, (step + 1) / (self.warmup + 1))
        return self.learning_rate * warm * (1 + math.cos(math.pi * step / self.steps)) / 2

    def decay(self, step: int) -> float:
        """The share of the average that a step keeps."""
        return min(self.average, (1 + step) / (10 + step))


@dataclass(frozen=True)
class Batch:
    """What one step learns from."""

    clean: Tensor  # [B, C, T]
    embedding: Tensor | None = None  # [B, L, F], of what is in it


@dataclass(frozen=True)
class Validation:
    """The loss of fixed signals under fixed noise, at every one of ``sigmas`` and on average over them.

    ``others`` are embeddings that are not the signals' own, by name (null, wrong): for each, how much more is lost with it than with
    the right one. A prompt is nearly ignored at first, and the loss alone does not show it. The null prompt that a network has
    learned takes the place of ``others["null"]``.
    """

    batch: Batch
    sigmas: tuple[float, ...]
    others: Mapping[str, Tensor] = field(default_factory=dict)  # [B, L, F] each
    seed: int = 0

    @torch.no_grad()
    def __call__(self, denoiser: Denoiser) -> Row:
        """``loss``, ``loss@SIGMA`` and ``NAME-right@SIGMA`` of a denoiser."""
        right = self._losses(denoiser, self.batch.embedding)
        row = {"loss": sum(right) / len(right)} | self._columns("loss", right)
        for name, embedding in {**self.others, **self._learned(denoiser)}.items():
            gaps = [found - own for found, own in zip(self._losses(denoiser, embedding), right, strict=True)]
            row |= self._columns(f"{name}-right", gaps)
        return row

    def _learned(self, denoiser: Denoiser) -> dict[str, Tensor]:
        if denoiser.null is None or self.batch.embedding is None:
            return {}
        items, tokens, _ = self.batch.embedding.shape
        return {"null": denoiser.null[:tokens].expand(items, -1, -1)}

    def _losses(self, denoiser: Denoiser, embedding: Tensor | None) -> list[float]:
        device = next(denoiser.parameters()).device
        clean = self.batch.clean.to(device)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(self.seed)).to(clean)
        condition = _condition(embedding, device)
        return [
            denoiser.loss(clean, clean.new_full((len(clean),), sigma), noise, **condition).mean().item()
            for sigma in self.sigmas
        ]

    def _columns(self, name: str, values: list[float]) -> Row:
        return {f"{name}@{sigma:g}": value for sigma, value in zip(self.sigmas, values, strict=True)}


@dataclass(frozen=True)
class Trained:
    """How a training ended."""

    denoiser: Denoiser  # with the averaged weights
    step: int
    seconds: float
    curve: tuple[Row, ...]


def log(row: Row) -> None:
    """The default report: a row of the curve as a line of the log."""
    logging.getLogger(__name__).info("%s", ", ".join(f"{name} {value:.4g}" for name, value in row.items()))


def train(
    config: TrainConfig,
    denoiser: Denoiser,
    data: Callable[[int], Batch],
    validate: Callable[[Denoiser], Row],
    folder: Path,
    *,
    null: Tensor | None = None,
    report: Callable[[Row], None] = log,
) -> Trained:
    """Train ``denoiser`` in place, or go on with the training that ``folder`` holds.

    ``data`` gives the batch of a step, the same whenever it is asked; ``validate`` judges the averaged weights; ``null`` is the
    embedding ``[L, F]`` of the null prompt, due where batches have prompts and the network has not learned one of its own.

    Several processes must give the same arguments, a ``folder`` that they share among them; the first alone validates, writes and
    reports.

    Raises ``BadInputError`` when the folder's training is another one, ``IntegrityError`` when its state is damaged, and
    ``GmsdiError`` when the loss is not finite any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(config, denoiser, null)
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


class _Run:
    """A training between two steps."""

    def __init__(self, config: TrainConfig, denoiser: Denoiser, null: Tensor | None) -> None:
        self.config, self.denoiser = config, denoiser
        self.null = null if denoiser.null is None else denoiser.null
        self.average = copy.deepcopy(denoiser).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            denoiser.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.device = next(denoiser.parameters()).device
        self.step = 0
        self.seconds = 0.0
        self.curve: list[Row] = []

    def advance(self, batch: Batch) -> Tensor:
        """Take one step, computing this process's share of it; the loss before it, of the whole batch.

        The loss stays on the device: reading it would wait for the step, and the next batch can be loaded meanwhile.
        """
        config, items = self.config, len(batch.clean)
        mine = processes.share(items)
        generator = torch.Generator(self.device).manual_seed(_seed(config.seed, self.step))
        sigma = config.sigmas.sample(items, generator)  # of all items: what one is given depends on nobody's share
        noise = torch.randn(batch.clean.shape, generator=generator, device=self.device)
        dropped = torch.rand(items, generator=generator, device=self.device) < config.drop  # [B]
        clean = batch.clean[mine].to(self.device)
        condition = _condition(self._drop(batch.embedding, dropped, mine), self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(self.step)
        self.denoiser.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.bf16):
            loss = self.denoiser.loss(clean, sigma[mine], noise[mine], **condition).sum() / items
        self.optimizer.zero_grad()
        loss.backward()
        loss = loss.detach()
        weights = list(self.denoiser.parameters())
        processes.add_up([loss, *(weight.grad for weight in weights if weight.grad is not None)])
        torch.nn.utils.clip_grad_norm_(weights, config.clip)
        self.optimizer.step()
        self._average()
        self.step += 1
        return loss

    def _drop(self, embedding: Tensor | None, dropped: Tensor, mine: slice) -> Tensor | None:
        """The embeddings ``[b, L, F]`` of this process's items, the null prompt's in the place of those that are dropped."""
        if embedding is None:
            return None
        if self.null is None:
            raise BadInputError("train: batches have prompts, so the embedding of the null prompt is due; give null")
        embedding = embedding[mine].to(self.device)
        null = self.null[: embedding.shape[1]].to(self.device)
        return torch.where(dropped[mine, None, None], null, embedding)

    @torch.no_grad()
    def _average(self) -> None:
        share = 1 - self.config.decay(self.step)
        torch._foreach_lerp_(list(self.average.parameters()), list(self.denoiser.parameters()), share)

    def save(self, path: Path) -> None:
        """Write all of it, atomically."""
        content = {
            "settings": self._settings(),
            "weights": self.denoiser.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "curve": self.curve,
        }
        with audio.atomic(path) as temporary:
            torch.save(content, temporary)

    def load(self, path: Path) -> None:
        """Be as the run that wrote ``path``."""
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
            raise IntegrityError(f"{path}: cannot be read; remove it to train anew") from None
        settings = self._settings()
        other = [name for name in settings if content["settings"].get(name) != settings[name]]
        if other:
            raise BadInputError(f"{path}: of a training with another {', '.join(other)}; take another folder")
        self.denoiser.load_state_dict(content["weights"])
        self.average.load_state_dict(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step, self.seconds, self.curve = content["step"], content["seconds"], content["curve"]

    def _settings(self) -> dict[str, Any]:
        """What has to be equal for a run to go on: everything but how long it may take."""
        shapes = {name: list(weight.shape) for name, weight in self.denoiser.state_dict().items()}
        settings = asdict(self.config) | {"network": shapes, "sigma_data": self.denoiser.sigma_data}
        return {name: value for name, value in settings.items() if name != "seconds"}


def _condition(embedding: Tensor | None, device: torch.device) -> dict[str, Tensor]:
    """What a network without prompts is not given at all."""
    return {} if embedding is None else {"embedding": embedding.to(device)}


def _seed(seed: int, step: int) -> int:
    """Of 32 bits, all that torch's CPU generator keeps; neighbouring steps have nothing in common."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def _write_curve(path: Path, rows: list[Row]) -> None:
    with audio.atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
