"""The verbs of the command line, a module each: ``import_checkpoint.py`` is ``gmsdi import-checkpoint``.

A verb's module has

- a docstring, which is its help. ``gmsdi --help`` shows the first line, and reads it without importing the module;
- ``add_options(parser)``, which says what the verb takes;
- ``run(options)``, which does it and returns an exit code.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from omegaconf import DictConfig

from benchmarks import config


def takes_overrides(parser: ArgumentParser) -> None:
    """Let a verb take a config and changes of it."""
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="KEY=VALUE or GROUP=OPTION")
    can_show_config(parser)


def can_show_config(parser: ArgumentParser) -> None:
    """Let a verb print its config."""
    parser.add_argument("--cfg", choices=("job",), help="print the composed config and stop")


def with_config(options: Namespace, verb: Callable[[DictConfig], int], root: str = "config") -> int:
    """Do what a verb does with its composed config, of which ``root`` is the root in ``configs/``; or only show it."""
    settings = config.load(options.overrides, root)
    if options.cfg:
        print(config.show(settings), end="")
        return 0
    return verb(settings)
