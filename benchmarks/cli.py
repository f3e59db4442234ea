"""The command ``gmsdi``: verbs and hydra overrides.

Only what a verb needs is imported, and only when it runs: ``gmsdi --help`` must not wait for torch.
"""

import argparse
import logging
import re
import sys
import traceback
from collections.abc import Callable, Sequence
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

SEPARATE = """\
Separate songs into OUT/SONG/{bass,drums,guitar,piano}.wav, with one system:

  gmsdi separate song.flac other.wav system=gmsdi-separator out=OUT

A FILE is anything that libsndfile reads, of any rate, length and number of channels. The systems hear it as mono at 22 050 Hz.
Each stem is mono float32 with the song's own rate and length, so it lies under the song sample by sample, and has nothing above
11 025 Hz. The same file, system and seed=N give the same stems, whatever the batch_size=N, which is the number of chunks of 12 s
that have to fit into memory at once. Without out=OUT the stems go to results/separated.

A word is an override if what is before its first "=" could be a key, and a FILE otherwise: write ./a=b.wav for the file a=b.wav.
A song that cannot be read, or whose folder in OUT exists, is told in a line of its own; the others are separated, and the exit
code is 4."""

OVERRIDE = re.compile(r"[+~]*[A-Za-z_][\w.@-]*=")
"""How words begin that are overrides where there can be files, too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; every error that a user can act on is one line and an exit code."""
    try:
        return _run(_parse(arguments))
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


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options may stand before, between and after overrides, which argparse's own subcommands do not allow."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-") or not hasattr(options, "overrides")]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        options.overrides += rest
    return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
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
    summary = "separate songs of your own into bass, drums, guitar and piano"
    verb = verbs.add_parser(
        "separate", help=summary, description=SEPARATE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verb.add_argument("overrides", nargs="*", metavar="FILE|OVERRIDE", help="a song, or KEY=VALUE or GROUP=OPTION")
    verb.add_argument("--cfg", choices=("job",), help="print the composed config and stop")
    summary = "convert a pytorch-lightning checkpoint of MSDM, executing nothing of it"
    verb = verbs.add_parser("import-checkpoint", help=summary, description=summary)
    verb.add_argument("file", metavar="FILE", help="the .ckpt file")
    verb.add_argument("out", metavar="OUT", help="the .safetensors file to write; its manifest goes beside it")
    verb.add_argument("--stem", help="of a weakly supervised model: the one stem that it knows")
    return parser


SUMMARIES = {
    "run": "compute and score what a table needs and the store lacks",
    "status": "what was given to Slurm from a store: shards by state, why, and where their logs are",
    "cancel": "cancel the Slurm jobs of a store; what is finished is kept",
    "resume": "submit again what the last `gmsdi run launcher=slurm` of a store lacks (store, wait, dry_run, launcher)",
    "table": "print a table from the store and write it to files",
    "tune": "choose settings on the validation split: KEY=a,b,c tries each value, several such keys all combinations",
    "data": "prepare or verify a dataset",
    "generate": "generate stems and their mix: prompt='bass, drums' given=FOLDER n=4 seed=0 out=FOLDER",
    "train": "train a model of configs/model and save its checkpoint; a killed training goes on",
    "doctor": "say what works on this machine and what is missing",
}


def _run(options: argparse.Namespace) -> int:
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.DEBUG, "debug")
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    if options.verb == "import-checkpoint":
        return _import_checkpoint(options)
    from benchmarks import config, verbs

    if options.verb in ("tune", "resume") and not options.cfg:  # they have a config besides that of their overrides
        return int(getattr(verbs, options.verb)(options.overrides))
    files, overrides = _sort(options)
    settings = config.load(overrides, options.verb if options.verb in config.ROOTS else "config")
    if options.cfg:
        print(config.show(settings), end="")
        return 0
    name = f"{options.verb}_{options.action}" if options.verb == "data" else options.verb
    verb: Callable[..., int] = getattr(verbs, name)
    return verb(settings, *files)


def _sort(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The files and the overrides among the words of a verb; only ``separate`` takes files, and has a folder of its own for them."""
    if options.verb == "generate":  # a list of stems is one text to hydra only when it is quoted
        return [], [re.sub(r"^prompt=([^\"'].*)$", r'prompt="\1"', word) for word in options.overrides]
    if options.verb != "separate":
        return [], options.overrides
    overrides = [word for word in options.overrides if OVERRIDE.match(word)]
    return [word for word in options.overrides if not OVERRIDE.match(word)], ["out=results/separated", *overrides]


def _import_checkpoint(options: argparse.Namespace) -> int:
    from gmsdi import checkpoint, lightning

    weights, manifest = lightning.to_checkpoint(lightning.read_lightning(options.file), options.stem)
    checkpoint.save(options.out, weights, manifest)
    print(f"wrote {options.out}: {manifest.kind}, {sum(tensor.numel() for tensor in weights.values()):,} parameters")
    return 0


def _fail(message: str, code: int) -> int:
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
