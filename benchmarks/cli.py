"""The command ``gmsdi``: a verb, which is a module of ``benchmarks/verbs``, and what it takes.

Only the verb that was asked for is imported: ``gmsdi --help`` must not wait for torch.
"""

import argparse
import ast
import logging
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from gmsdi.errors import BadInputError, GmsdiError

INTERRUPTED = 130
DEFECT = 70
"""Not 1, which would read as a quality regression."""

EPILOG = """\
Overrides are hydra's: KEY=VALUE changes a value, GROUP=OPTION picks a file of configs/GROUP, e.g.

  gmsdi run dataset=slakh2100 data=/data/slakh2100_flac_redux system=[mixture,oracle-irm]
  gmsdi table system=[folder] estimates=DIR allow_partial=true
  gmsdi run --cfg job

exit codes: 0 good, 1 a quality regression, 2 an integrity failure (corrupt, missing, stale),
            3 not comparable, 4 bad input (a file, a key, a value, a full disk),
            70 a defect of gmsdi, 130 interrupted"""

VERBS = {
    path.stem.replace("_", "-"): path
    for path in sorted(Path(__file__).with_name("verbs").glob("*.py"))
    if path.stem != "__init__"
}
"""The module of each verb."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; every error that a user can act on is one line and an exit code."""
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.DEBUG, "debug")
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        options = _parse(sys.argv[1:] if arguments is None else list(arguments))
        code: int = options.run(options)
        return code
    except GmsdiError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        return _fail(f"{error.filename or 'disk'}: {error.strerror or error}; what was finished is kept, run again", 4)
    except KeyboardInterrupt:
        return _fail("interrupted; what was finished is kept, run again to go on", INTERRUPTED)
    except Exception:
        traceback.print_exc()
        return _fail("this is a defect of gmsdi; please report it with the lines above", DEFECT)


class _Parser(argparse.ArgumentParser):
    """argparse would end with 2, which here means an integrity failure."""

    def error(self, message: str) -> NoReturn:
        raise BadInputError(f"{message}; see `{self.prog} --help`")


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Options may stand before, between and after overrides, which argparse's own subcommands do not allow."""
    parser = _parser(arguments[0] if arguments else "")
    options, rest = parser.parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-") or not hasattr(options, "overrides")]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        options.overrides += rest
    if getattr(options, "config_dir", None):
        from benchmarks.config import beside

        options.overrides.insert(0, beside(options.config_dir))
    return options


def _parser(wanted: str) -> argparse.ArgumentParser:
    """A parser that knows all verbs by name, and what the ``wanted`` one takes."""
    parser = _Parser(
        prog="gmsdi",
        description="Benchmark of generalized multi-source diffusion inference.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, path in VERBS.items():
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        verb = subparsers.add_parser(
            name,
            help=text.partition("\n")[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == wanted:
            from benchmarks.verbs import takes_overrides

            module = import_module(f"benchmarks.verbs.{path.stem}")
            getattr(module, "add_options", takes_overrides)(verb)
            verb.set_defaults(run=module.run)
    return parser


def _fail(message: str, code: int) -> int:
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
