"""The verbs of the command line, a module each: ``import_checkpoint.py`` is ``gmsdi import-checkpoint``.

A verb's module has

- a docstring, which is its help. ``gmsdi --help`` shows the first line, and reads it without importing the module;
- ``run(options)``, which does it and returns an exit code;
- ``add_options(parser)``, where it takes anything but a config and changes of it.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from omegaconf import DictConfig

from benchmarks import config


def takes_overrides(parser: ArgumentParser, metavar: str = "OVERRIDE", what: str = "") -> None:
    """Let a verb take a config and changes of it, and print it; ``what`` else the words of a verb can be."""
    parser.add_argument("overrides", nargs="*", metavar=metavar, help=f"{what}KEY=VALUE or GROUP=OPTION")
    parser.add_argument("--cfg", choices=("job",), help="print the composed config and stop")


def with_config(options: Namespace, verb: Callable[[DictConfig], int], root: str = "config") -> int:
    """Do what a verb does with its composed config, of which ``root`` is the root in ``configs/``; or only show it."""
    settings = config.load(options.overrides, root)
    if options.cfg:
        print(config.show(settings), end="")
        return 0
    return verb(settings)
