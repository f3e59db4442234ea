"""choose settings on the validation split: KEY=a,b,c tries each value, several such keys all combinations"""

from argparse import Namespace
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from benchmarks.notices import say
from benchmarks.verbs import show_config
from gmsdi.errors import BadInputError


def run(options: Namespace) -> int:
    return show_config(options) if options.cfg else tune(options.overrides)


def tune(overrides: Sequence[str]) -> int:
    """Measure every combination of a sweep on the validation split, print them as a table, and write down the best."""
    from benchmarks.cells import tuning
    from benchmarks.cells.separation import headline
    from benchmarks.cells.tables import table_of
    from benchmarks.run.configured import carry_out
    from benchmarks.tables.render import print_table

    sweep = tuning.read_sweep(overrides)
    config, rows = tuning.compose(sweep)
    job, failures = carry_out(config, headline)
    if failures is None:
        raise BadInputError(
            "tune reads what it measured: give wait=true, or run the same command again when all is done"
        )
    table = table_of(config, job)
    with suppress(SystemExit):  # rich's answer to a reader who has seen enough
        print_table(table, Console())
    name = config.tuned or "+".join(dict.fromkeys(row.split()[0] for row in rows))
    for path in tuning.write(Path(config.out), name, table, rows, job, ["gmsdi", "tune", *overrides]):
        say(f"wrote {path}")
    if failures:
        say(f"{len(failures)} excerpts failed; rows that lack songs are not chosen")
    return 0
