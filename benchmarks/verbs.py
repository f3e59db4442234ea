"""What the verbs of the command line do, given a composed config. Each returns an exit code."""

import logging
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from yaml import YAMLError

from benchmarks.config import Settings, build, load, require_count, show
from benchmarks.cost import print_costs
from benchmarks.data.dataset import Dataset, track_folders
from benchmarks.data.msdm_layout import MsdmLayout
from benchmarks.device import chosen, usable
from benchmarks.execute import Failures
from benchmarks.launch import Job, Launcher
from benchmarks.metrics.judges import Judge
from benchmarks.metrics.scores import Metric
from benchmarks.notices import say
from benchmarks.plan import make_plan
from benchmarks.provenance import provenance
from benchmarks.spec import Task, resolve_all
from benchmarks.store import KeepAudio, Store, open_store
from gmsdi import SAMPLE_RATE
from gmsdi.errors import BadInputError, IntegrityError

if TYPE_CHECKING:
    from benchmarks.tables.table import Table  # tables import seaborn, which takes longer than all the rest

SPLITS = ("train", "validation", "test")

RESUMABLE = ("store", "wait", "dry_run", "launcher")
"""What of a config may be different when it is resumed."""


def run(config: DictConfig) -> int:
    """Compute and score what the store lacks; with ``dry_run`` say what that is."""
    if config.debug:
        logging.getLogger("gmsdi.sampler").setLevel(logging.DEBUG)
    if config.dry_run:
        print_costs(job_of(config, Store(config.store).refresh()), config.evaluations_per_second)
        return 0
    job, failures = _carry_out(config)
    if failures is None:
        return 0
    total = len(job.plan.everything())
    say(f"{total - len(failures)} of {total} excerpts done or left out; the store is {config.store}")
    if failures:
        bad_input = all(isinstance(failure, BadInputError) for failure in failures.values())
        kind, remedy = (BadInputError, "mend the input") if bad_input else (IntegrityError, "run again to retry")
        raise kind(f"{len(failures)} of {total} excerpts failed, see above; {remedy}")
    return 0


def status(config: DictConfig) -> int:
    """Print what has become of what was given to Slurm from the store."""
    from benchmarks.submissions import print_status

    print_status(Store(config.store).refresh())
    return 0


def cancel(config: DictConfig) -> int:
    """Cancel the Slurm jobs of the store; ``BadInputError`` if it never had any."""
    from benchmarks.submissions import Submissions

    count = Submissions(Store(config.store)).cancel()
    say(f"{count} jobs cancelled; what is finished is kept, `gmsdi resume store={config.store}` goes on")
    return 0


def resume(overrides: Sequence[str]) -> int:
    """Run again what was last given to Slurm from the store: what is finished, or still in the queue, is not submitted again.

    All but ``RESUMABLE`` is as it was then. ``launcher=NAME`` takes another launcher; ``launcher.KEY`` changes one value of it.
    """
    from benchmarks.submissions import Submissions

    chooses = any(override.startswith("launcher=") for override in overrides)
    config = load(overrides if chooses else ["launcher=slurm", *overrides])
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in parsed:
        if override.key_or_group.split(".")[0] not in RESUMABLE:
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
    return run(again)


def _stored(file: Path) -> DictConfig:
    """The config that a submission was made from; ``BadInputError`` if this code does not understand it."""
    remedy = "`gmsdi run` with the overrides of then goes on"
    try:
        config = cast(DictConfig, OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.load(file)))
    except (OmegaConfBaseException, YAMLError, OSError, ValueError, TypeError) as error:
        why = ": ".join(filter(None, (getattr(error, "full_key", ""), str(error).partition("\n")[0].strip())))
        raise BadInputError(f"{file}: cannot be read ({why}); {remedy}") from None
    if lacking := [str(key) for key in config if OmegaConf.is_missing(config, key)]:
        raise BadInputError(f"{file}: has no {', '.join(lacking)}; {remedy}")
    return config


def table(config: DictConfig) -> int:
    """Print the table and write its files; exit 2 if cells lack tracks, unless ``allow_partial``."""
    from benchmarks.tables.render import print_table, write_all

    if not Path(config.store).is_dir():
        raise IntegrityError(f"{config.store}: no store here; run `gmsdi run` with the same overrides first")
    job = job_of(config, Store(config.store).refresh())
    made = _table(config, job)
    with suppress(SystemExit):  # rich's answer to a reader who has seen enough (`| head`); the files are still due
        print_table(made, Console())
    for path in write_all(made, Path(config.out), build(config.table.plot)):
        say(f"wrote {path}")
    if made.partial and not config.allow_partial:
        raise IntegrityError(
            "some cells lack songs; run `gmsdi run` with the same overrides, or give allow_partial=true"
        )
    return 0


def tune(overrides: Sequence[str]) -> int:
    """Measure every combination of a sweep on the validation split, print them as a table, and write down the best."""
    from benchmarks import tuning
    from benchmarks.tables.render import print_table

    sweep = tuning.read_sweep(overrides)
    config, rows = tuning.compose(sweep)
    job, failures = _carry_out(config)
    if failures is None:
        raise BadInputError(
            "tune reads what it measured: give wait=true, or run the same command again when all is done"
        )
    made = _table(config, job)
    with suppress(SystemExit):
        print_table(made, Console())
    name = config.tuned or "+".join(dict.fromkeys(row.split()[0] for row in rows))
    for path in tuning.write(Path(config.out), name, made, rows, job, ["gmsdi", "tune", *overrides]):
        say(f"wrote {path}")
    if failures:
        say(f"{len(failures)} excerpts failed; rows that lack songs are not chosen")
    return 0


def data_prepare(config: DictConfig) -> int:
    """Make the split ready to be measured."""
    dataset = _dataset(config)
    manifest = dataset.manifest
    hours = sum(track.frames for track in manifest.tracks) / manifest.rate / 3600
    print(f"{manifest.title} {manifest.split}: {len(manifest.tracks)} songs, {hours:.2f} h, digest {manifest.digest}")
    print(f"in {dataset.folder}")
    return 0


def data_verify(config: DictConfig) -> int:
    """Re-read and re-hash the split, and compare it with the other splits that are ready; exit 2 if anything is wrong."""
    from benchmarks.data.verify import Report, inspect_folder, print_report, verify

    source = build(config.dataset)
    names = [config.split, *(name for name in SPLITS if name != config.split and source.is_ready(name))]
    try:
        report = verify([source.split(name) for name in names])
    except BadInputError:
        if not isinstance(source, MsdmLayout):
            raise
        # not even a manifest can be made: look at all files, not just at the first that is bad
        folders = [Path(source.root or "") / name for name in names]
        track_folders(folders[0])  # raises where there is no such split at all
        report = Report((), tuple(problem for folder in folders for problem in inspect_folder(folder, SAMPLE_RATE)))
    print_report(report, Console())
    if report.problems:
        raise IntegrityError(f"{len(report.problems)} problem(s) in {config.dataset.title}, listed above")
    return 0


def train(config: DictConfig) -> int:
    """Train a model on the train split, and save its checkpoint. Under ``torchrun`` its processes share the work."""
    from benchmarks.train import Training
    from gmsdi import processes

    source, model = build(config.dataset), config.model
    training = Training(
        model.name,
        build(model.material),
        OmegaConf.to_container(model.network, resolve=True),  # type: ignore[arg-type]
        build(model.train),
        model.chunk,
        model.batch_size,
        Path(config.folder),
        Path(config.checkpoint),
    )
    with processes.joined(usable(config.device)) as device:
        with processes.first_before_others():
            splits = source.split("train"), source.split("validation")
        trained = training.run(*splits, device, ["gmsdi", *sys.argv[1:]])
        if processes.first():
            say(f"wrote {training.checkpoint}: {trained.step} steps in {trained.seconds / 60:.1f} min")
    return 0


def separate(config: DictConfig, *files: str) -> int:
    """Separate a person's own songs, each into a folder of its own in ``out``."""
    from benchmarks.separate import Separation, lone_system, songs_of

    songs = songs_of(files, Path(config.out))
    require_count("batch_size", config.batch_size)
    device = usable(config.device)
    Separation(lone_system(config.systems), Path(config.out), config.seed, config.batch_size, device).run(songs)
    return 0


def generate(config: DictConfig) -> int:
    """Generate music for a person to hear."""
    from benchmarks.generate import Order, generate, words
    from gmsdi import SAMPLE_RATE

    require_count("batch_size", config.batch_size)
    if not math.isfinite(config.seconds):
        raise BadInputError(f"seconds={config.seconds}: give a number")
    given = Path(config.given) if config.given else None
    samples = round(config.seconds * SAMPLE_RATE)
    order = Order(tuple(words(config.prompt)), given, config.n, samples, config.seed, Path(config.out))
    for folder in generate(config.systems, order, config.batch_size, usable(config.device)):
        say(f"wrote {folder}")
    return 0


def doctor(config: DictConfig) -> int:
    """Say what works here and what is missing."""
    from benchmarks.doctor import examine

    return examine(config)


def _table(config: DictConfig, job: Job) -> "Table":
    from benchmarks import aggregate, distributions

    metrics: dict[str, Any] = dict(zip(config.metrics, job.metrics, strict=True))
    make_table = distributions.make_table if _tasks(config) else aggregate.make_table
    return make_table(_content(config.table), job.plan, metrics, job.store, provenance(chosen(job.device)))


def _content(node: DictConfig) -> dict[str, Any]:
    content: dict[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    return content


def _tasks(config: DictConfig) -> tuple[Task, ...]:
    """What generators are to do for the table; nothing for a table of separation."""
    from benchmarks.distributions import tasks_of

    return tasks_of(_content(config.table))


def _carry_out(config: DictConfig) -> tuple[Job, Failures | None]:
    """Do what a config asks for and its store lacks; no failures are known where it has only been handed over."""
    launcher: Launcher = build(config.launcher)
    job = replace(job_of(config, open_store(config.store)), config=show(config))
    job = replace(job, run=job.store.record_run(provenance(chosen(job.device))))
    failures = launcher.run(job)
    job.store.compact()
    return job, failures


def job_of(config: DictConfig, store: Store) -> Job:
    """What a config asks for, planned, on a store."""
    keep_audio = str(config.keep_audio).lower()
    if keep_audio not in get_args(KeepAudio):
        raise BadInputError(f"keep_audio={config.keep_audio}: choose one of {', '.join(get_args(KeepAudio))}")
    if not config.systems or not config.metrics:
        raise BadInputError("there is nothing to do: give at least one system=[…] and one metric=[…]")
    require_count("batch_size", config.batch_size)
    tasks = _tasks(config)
    systems = resolve_all(config.systems, tasks)
    metrics: tuple[Metric | Judge, ...] = tuple(build(metric) for metric in config.metrics.values())
    for name, metric in zip(config.metrics, metrics, strict=True):
        if isinstance(metric, Judge) != bool(tasks):
            use = "separation" if tasks else "generation"
            raise BadInputError(f"metric={name} is for {use}, which table={config.table.name} is not")
    dataset = _dataset(config)
    plan = make_plan(dataset.manifest, build(config.protocol), systems, config.seed)
    seconds = plan.protocol.chunk / plan.manifest.rate
    for name, metric in zip(config.metrics, metrics, strict=True):
        if isinstance(metric, Judge) and seconds < metric.shortest:
            raise BadInputError(
                f"protocol.chunk={plan.protocol.chunk}: {seconds:.2f} s are too short for metric={name}, "
                f"which needs {metric.shortest:.2f} s"
            )
    return Job(plan, dataset, metrics, store, config.batch_size, cast(KeepAudio, keep_audio), config.device)


def _dataset(config: DictConfig) -> Dataset:
    return build(config.dataset).split(config.split)
