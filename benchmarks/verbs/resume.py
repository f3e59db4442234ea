"""submit again what the last `gmsdi run launcher=slurm` of a store lacks (store, wait, dry_run, launcher)

What is finished, or still in the queue, is not submitted again. All but the four keys above is as it was then. launcher=NAME takes
another launcher; launcher.KEY=VALUE changes one value of it.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from benchmarks.config import SEARCH, Settings, load, require_own_targets
from benchmarks.verbs import show_config
from benchmarks.verbs.run import compute
from gmsdi.errors import BadInputError

RESUMABLE = ("store", "wait", "dry_run", "launcher")
"""What of a config may be different when it is resumed."""


def run(options: Namespace) -> int:
    return show_config(options) if options.cfg else compute(resumed(options.overrides))


def resumed(overrides: Sequence[str]) -> DictConfig:
    """The config of the store's last submission with what ``overrides`` change; ``BadInputError`` for what cannot be changed."""
    from benchmarks.run.slurm.submissions import Submissions
    from benchmarks.store.store import Store

    chooses = any(override.startswith("launcher=") for override in overrides)
    config = load(overrides if chooses else ["launcher=slurm", *overrides])
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in parsed:
        if override.key_or_group.split(".")[0] not in RESUMABLE and override.key_or_group != SEARCH:
            raise BadInputError(
                f"{override.input_line}: resume goes on as the last submission was configured, but for "
                f"{', '.join(RESUMABLE)}; `gmsdi run` does anything else"
            )
    again = _stored(Submissions(Store(config.store)).last_config())
    if any(override.key_or_group == "launcher" and override.value() != "slurm" for override in parsed):
        again.launcher = config.launcher
    again.store, again.wait, again.dry_run = config.store, config.wait, config.dry_run
    if "wait" in again.launcher:
        again.launcher.wait = config.wait
    for override in parsed:
        if override.key_or_group.startswith("launcher."):
            OmegaConf.update(again, override.key_or_group, override.value(), force_add=True)
    return again


def _stored(file: Path) -> DictConfig:
    """The config that a submission was made from; ``BadInputError`` if this code does not understand it."""
    remedy = "`gmsdi run` with the overrides of then goes on"
    try:
        require_own_targets(OmegaConf.to_container(cast(DictConfig, OmegaConf.load(file))), file)
        config = cast(DictConfig, OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.load(file)))
    except (OmegaConfBaseException, YAMLError, OSError, ValueError, TypeError) as error:
        why = ": ".join(filter(None, (getattr(error, "full_key", ""), str(error).partition("\n")[0].strip())))
        raise BadInputError(f"{file}: cannot be read ({why}); {remedy}") from None
    if lacking := [str(key) for key in config if OmegaConf.is_missing(config, key)]:
        raise BadInputError(f"{file}: has no {', '.join(lacking)}; {remedy}")
    return config
