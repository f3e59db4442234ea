"""say what works on this machine and what is missing"""

from argparse import Namespace

from omegaconf import DictConfig

from benchmarks.verbs import with_config


def run(options: Namespace) -> int:
    return with_config(options, doctor)


def doctor(config: DictConfig) -> int:
    """Print what was found; exit code 4 if something that is needed is missing."""
    from benchmarks.run.examine import examine

    return examine(config)
