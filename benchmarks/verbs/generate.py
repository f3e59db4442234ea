"""generate stems and their mix: prompt='bass, drums' given=FOLDER n=4 seed=0 out=FOLDER"""

import math
import re
from argparse import Namespace
from pathlib import Path

from omegaconf import DictConfig

from benchmarks.config import require_count
from benchmarks.device import usable
from benchmarks.notices import say
from benchmarks.verbs import with_config
from gmsdi import SAMPLE_RATE
from gmsdi.errors import BadInputError


def run(options: Namespace) -> int:
    # a list of stems is one text to hydra only when it is quoted
    options.overrides = [re.sub(r"^prompt=([^\"'].*)$", r'prompt="\1"', word) for word in options.overrides]
    return with_config(options, generate, root="generate")


def generate(config: DictConfig) -> int:
    """Generate music for a person to hear."""
    from benchmarks.run import music

    require_count("batch_size", config.batch_size)
    if not math.isfinite(config.seconds):
        raise BadInputError(f"seconds={config.seconds}: give a number")
    given = Path(config.given) if config.given else None
    samples = round(config.seconds * SAMPLE_RATE)
    order = music.Order(tuple(music.words(config.prompt)), given, config.n, samples, config.seed, Path(config.out))
    for folder in music.generate(config.systems, order, config.batch_size, usable(config.device)):
        say(f"wrote {folder}")
    return 0
