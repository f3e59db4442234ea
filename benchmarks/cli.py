"""The command ``gmsdi``: verbs and hydra overrides.

Only what a verb needs is imported, and only when it runs: ``gmsdi --help`` must not wait for torch.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from gmsdi.errors import GmsdiError

INTERRUPTED = 130
EPILOG = """\
Overrides are hydra's: KEY=VALUE changes a value, GROUP=OPTION picks a file of configs/GROUP, e.g.

  gmsdi run dataset=slakh2100 data=/data/slakh2100_flac_redux system=[mixture,oracle-irm]
  gmsdi table system=[folder] estimates=DIR allow_partial=true
  gmsdi run --cfg job

exit codes: 0 good, 1 a quality regression, 2 an integrity failure (corrupt, missing, stale),
            3 not comparable, 4 bad input (a file, a key, a value, a full disk)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; every error that a user can act on is one line and an exit code."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if unknown := [word for word in rest if word.startswith("-")]:
        parser.error(f"unknown option {unknown[0]}")
    options.overrides += rest
    try:
        return _run(options)
    except GmsdiError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        return _fail(f"{error.filename or 'disk'}: {error.strerror or error}; what was finished is kept, run again", 4)
    except KeyboardInterrupt:
        return _fail("interrupted; what was finished is kept, run again to go on", INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gmsdi",
        description="Benchmark of generalized multi-source diffusion inference.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, summary in SUMMARIES.items():
        verb = verbs.add_parser(name, help=summary, description=summary)
        if name == "data":
            verb.add_argument("action", choices=("prepare", "verify"), help="make a split ready, or check all of it")
        verb.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="KEY=VALUE or GROUP=OPTION")
        verb.add_argument("--cfg", choices=("job",), help="print the composed config and stop")
    return parser


SUMMARIES = {
    "run": "compute and score what a table needs and the store lacks",
    "table": "print a table from the store and write it to files",
    "data": "prepare or verify a dataset",
    "doctor": "say what works on this machine and what is missing",
}


def _run(options: argparse.Namespace) -> int:
    from benchmarks import config, verbs

    logging.basicConfig(format="warning: %(message)s", level=logging.WARNING)
    settings = config.load(options.overrides)
    if options.cfg:
        print(config.show(settings), end="")
        return 0
    name = f"{options.verb}_{options.action}" if options.verb == "data" else options.verb
    verb: Callable[..., int] = getattr(verbs, name)
    return verb(settings)


def _fail(message: str, code: int) -> int:
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
