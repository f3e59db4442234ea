"""cancel the Slurm jobs of a store; what is finished is kept"""

from argparse import Namespace

from omegaconf import DictConfig

from benchmarks.notices import say
from benchmarks.verbs import with_config


def run(options: Namespace) -> int:
    return with_config(options, cancel)


def cancel(config: DictConfig) -> int:
    """Cancel the Slurm jobs of the store; ``BadInputError`` if it never had any."""
    from benchmarks.run.slurm.submissions import Submissions
    from benchmarks.store.store import Store

    count = Submissions(Store(config.store)).cancel()
    say(f"{count} jobs cancelled; what is finished is kept, `gmsdi resume store={config.store}` goes on")
    return 0
