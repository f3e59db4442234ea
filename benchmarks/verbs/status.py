"""what was given to Slurm from a store: shards by state, why, and where their logs are"""

from argparse import Namespace

from omegaconf import DictConfig

from benchmarks.verbs import with_config


def run(options: Namespace) -> int:
    return with_config(options, status)


def status(config: DictConfig) -> int:
    """Print what has become of what was given to Slurm from the store; ``BadInputError`` if nothing ever was."""
    from benchmarks.run.slurm.submissions import print_status
    from benchmarks.store.store import Store

    print_status(Store(config.store).refresh())
    return 0
