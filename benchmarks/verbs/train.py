"""train a model of configs/model and save its checkpoint; a killed training goes on"""

import sys
from argparse import Namespace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from benchmarks.config import build
from benchmarks.device import usable
from benchmarks.notices import say
from benchmarks.verbs import with_config


def run(options: Namespace) -> int:
    return with_config(options, train, root="train")


def train(config: DictConfig) -> int:
    """Train a model on the train split, and save its checkpoint. Under ``torchrun`` its processes share the work."""
    from benchmarks.run.training import Training
    from gmsdi import processes

    source, model = build(config.dataset), config.model
    training = Training(
        model.name,
        build(model.material),
        OmegaConf.to_container(model.network, resolve=True),  # type: ignore[arg-type]
        build(model.train),
        model.chunk,
        model.batch_size,
        Path(config.folder),
        Path(config.checkpoint),
    )
    with processes.joined(usable(config.device)) as device:
        with processes.first_before_others():
            splits = source.split("train"), source.split("validation")
        trained = training.run(*splits, device, ["gmsdi", *sys.argv[1:]])
        if processes.first():
            say(f"wrote {training.checkpoint}: {trained.step} steps in {trained.seconds / 60:.1f} min")
    return 0
