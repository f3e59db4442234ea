"""prepare or verify a dataset"""

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from benchmarks.config import build
from benchmarks.notices import say
from benchmarks.verbs import takes_overrides, with_config
from gmsdi import SAMPLE_RATE
from gmsdi.errors import BadInputError, IntegrityError

SPLITS = ("train", "validation", "test")


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=tuple(ACTIONS), help="make a split ready, or check all of it")
    takes_overrides(parser)


def run(options: Namespace) -> int:
    return with_config(options, ACTIONS[options.action])


def prepare(config: DictConfig) -> int:
    """Make the split ready to be measured."""
    from benchmarks.run.configured import dataset_of

    dataset = dataset_of(config)
    manifest = dataset.manifest
    hours = sum(track.frames for track in manifest.tracks) / manifest.rate / 3600
    print(f"{manifest.title} {manifest.split}: {len(manifest.tracks)} songs, {hours:.2f} h, digest {manifest.digest}")
    print(f"in {dataset.folder}")
    return 0


def verify(config: DictConfig) -> int:
    """Re-read and re-hash the split, what it was prepared from, and the other splits that are ready; ``IntegrityError`` if anything is
    wrong.
    """
    from benchmarks.data.dataset import track_folders
    from benchmarks.data.msdm_layout import MsdmLayout
    from benchmarks.data.verify import Report, inspect_folder, of_sources, print_report
    from benchmarks.data.verify import verify as verify_splits

    source = build(config.dataset)
    names = [config.split, *(name for name in SPLITS if name != config.split and source.is_ready(name))]
    try:
        splits = [source.split(name) for name in names]
        report = verify_splits(splits)
        if not isinstance(source, MsdmLayout):  # whose tracks are the sources themselves
            compared = source.differences(splits[0])
            if compared is None:
                say("data=… is not given, so the prepared songs were not compared with what they were made from")
            else:
                report = replace(report, problems=(*report.problems, *of_sources(compared)))
    except BadInputError:
        if not isinstance(source, MsdmLayout):
            raise
        # not even a manifest can be made: look at all files, not just at the first that is bad
        folders = [Path(source.root or "") / name for name in names]
        track_folders(folders[0])  # raises where there is no such split at all
        report = Report((), tuple(problem for folder in folders for problem in inspect_folder(folder, SAMPLE_RATE)))
        if not report.problems:  # what stopped the manifest is none of a file by itself
            raise
    print_report(report, Console())
    if report.problems:
        raise IntegrityError(f"{len(report.problems)} problem(s) in {config.dataset.title}, listed above")
    return 0


ACTIONS = {"prepare": prepare, "verify": verify}
