"""compute and score what a table needs and the store lacks"""

import logging
from argparse import Namespace

from omegaconf import DictConfig

from benchmarks.notices import say
from benchmarks.verbs import with_config
from gmsdi.errors import BadInputError, IntegrityError


def run(options: Namespace) -> int:
    return with_config(options, compute)


def compute(config: DictConfig) -> int:
    """Compute and score what the store lacks; with ``dry_run`` say what that is. Raises when excerpts failed."""
    from benchmarks.cells.separation import headline
    from benchmarks.run.configured import carry_out, job_of
    from benchmarks.run.cost import print_costs
    from benchmarks.store.store import Store

    if config.debug:
        logging.getLogger("gmsdi.sampler").setLevel(logging.DEBUG)
    if config.dry_run:
        print_costs(job_of(config, Store(config.store).refresh()), config.evaluations_per_second)
        return 0
    job, failures = carry_out(config, headline)
    if failures is None:
        return 0
    total = len(job.plan.everything())
    say(f"{total - len(failures)} of {total} excerpts done or left out; the store is {config.store}")
    if failures:
        bad_input = all(isinstance(failure, BadInputError) for failure in failures.values())
        kind, remedy = (BadInputError, "mend the input") if bad_input else (IntegrityError, "run again to retry")
        raise kind(f"{len(failures)} of {total} excerpts failed, see above; {remedy}")
    return 0
