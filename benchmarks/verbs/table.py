"""print a table from the store and write it to files"""

from argparse import Namespace
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from benchmarks.config import build
from benchmarks.notices import say
from benchmarks.verbs import with_config
from gmsdi.errors import IntegrityError


def run(options: Namespace) -> int:
    return with_config(options, make_table)


def make_table(config: DictConfig) -> int:
    """Print the table and write its files; ``IntegrityError`` if cells lack tracks, unless ``allow_partial``."""
    from benchmarks.cells.tables import table_of
    from benchmarks.run.configured import job_of
    from benchmarks.store.store import Store
    from benchmarks.tables.render import print_table, write_all

    if not Path(config.store).is_dir():
        raise IntegrityError(f"{config.store}: no store here; run `gmsdi run` with the same overrides first")
    table = table_of(config, job_of(config, Store(config.store).refresh()))
    with suppress(SystemExit):  # rich's answer to a reader who has seen enough (`| head`); the files are still due
        print_table(table, Console())
    for path in write_all(table, Path(config.out), build(config.table.plot)):
        say(f"wrote {path}")
    if table.partial and not config.allow_partial:
        raise IntegrityError(
            "some cells lack songs; run `gmsdi run` with the same overrides, or give allow_partial=true"
        )
    return 0
