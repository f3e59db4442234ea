"""The verbs of the command line, a module each: ``import_checkpoint.py`` is ``gmsdi import-checkpoint``.

A verb's module has

- a docstring, which is its help. ``gmsdi --help`` shows the first line, and reads it without importing the module;
- ``run(options)``, which does it and returns an exit code;
- ``add_options(parser)``, where it takes anything but a config and changes of it.

What a verb works with it imports when it works: its help, and ``--cfg``, must not wait for torch.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from omegaconf import DictConfig

from benchmarks import config


def takes_overrides(parser: ArgumentParser, metavar: str = "OVERRIDE", what: str = "") -> None:
    """Let a verb take a config and changes of it, and print it; ``what`` else the words of a verb can be."""
    parser.add_argument("overrides", nargs="*", metavar=metavar, help=f"{what}KEY=VALUE or GROUP=OPTION")
    parser.add_argument("--cfg", choices=("job",), help="print the composed config and stop")
    parser.add_argument("--config-dir", metavar="DIR", help="a folder of your own, laid out as configs/ is")


def with_config(options: Namespace, verb: Callable[[DictConfig], int], root: str = "config") -> int:
    """Do what a verb does with its composed config, of which ``root`` is the root in ``configs/``; with ``--cfg`` only show it."""
    return show_config(options, root) if options.cfg else verb(config.load(options.overrides, root))


def show_config(options: Namespace, root: str = "config") -> int:
    """Print the composed config."""
    print(config.show(config.load(options.overrides, root)), end="")
    return 0
