"""What works on this machine, what is missing, and where it goes."""

import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table as Grid

from benchmarks.config import CONFIGS, build
from benchmarks.plan.systems import resolve_all
from benchmarks.plan.tasks import tasks_of
from benchmarks.run.launch import Launcher
from benchmarks.store.provenance import provenance
from benchmarks.store.store import Store
from gmsdi import SAMPLE_RATE, checkpoint
from gmsdi.errors import GmsdiError

GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``remedy`` is empty when it is fine. What is not ``needed`` is an extra."""

    what: str
    state: str
    remedy: str = ""
    needed: bool = True


def examine(config: DictConfig) -> int:
    """Print all findings; 4 if something that is needed is missing."""
    findings = [*(check(config) for check in CHECKS), *_embedders()]
    grid = Grid(title="gmsdi doctor", title_justify="left")
    for heading in ("", "what", "state", "what to do"):
        grid.add_column(heading)
    for finding in findings:
        mark = "[green]ok[/]" if not finding.remedy else "[red]missing[/]" if finding.needed else "[yellow]extra[/]"
        grid.add_row(mark, finding.what, finding.state, finding.remedy)
    Console().print(grid)
    return 4 if any(finding.remedy and finding.needed for finding in findings) else 0


def _python(config: DictConfig) -> Finding:
    import torch

    return Finding(
        "python, torch", f"{platform.python_version()}, {torch.__version__}, {torch.get_num_threads()} threads"
    )


def _gpu(config: DictConfig) -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("GPU", torch.cuda.get_device_name())
    return Finding("GPU", "none: everything runs on the CPU")


def _code(config: DictConfig) -> Finding:
    facts = provenance("cpu")
    if facts["commit"] == "unknown":
        return Finding(
            "code", "not a git checkout", "clone the repository, so that tables can name the commit", needed=False
        )
    return Finding("code", facts["commit"][:10] + (" with uncommitted changes" if facts["dirty"] else ""))


def _ffmpeg(config: DictConfig) -> Finding:
    if shutil.which("ffmpeg") and shutil.which("ffprobe"):
        return Finding("ffmpeg (museval)", "there")
    return Finding("ffmpeg (museval)", "not on PATH", "for metric=[bsseval]: sudo apt-get install ffmpeg", needed=False)


def _soundfont(config: DictConfig) -> Finding:
    from benchmarks.data.minislakh.render import SOUNDFONT

    remedy = "" if SOUNDFONT.is_file() else "install pretty_midi again: its wheel carries it"
    return Finding("SoundFont (MiniSlakh)", str(SOUNDFONT), remedy)


def _dataset(config: DictConfig) -> Finding:
    what = f"{config.dataset.title} {config.split}"
    if build(config.dataset).is_ready(config.split):
        return Finding(what, "ready")
    needs_data = "${data}" in OmegaConf.to_yaml(config.dataset, resolve=False)
    if needs_data and (config.data is None or not Path(config.data).is_dir()):
        return Finding(what, f"data={config.data} is no folder", "give data=FOLDER, where the dataset lies")
    return Finding(what, "will be prepared on first use")


def _weights(config: DictConfig) -> Finding:
    """The checkpoints of the chosen ``weights``, each compared with the hash in its manifest; whether one is needed, systems say."""
    paths = [Path(path) for path in _leaves(OmegaConf.to_container(config.weights, resolve=True))]
    missing = [str(path) for path in paths if not path.is_file()]
    kinds = []
    try:
        for path in paths:
            if path.is_file():
                kinds.append(checkpoint.read_manifest(path).kind)
                checkpoint.load(path, kind=kinds[-1], rate=SAMPLE_RATE)
    except GmsdiError as error:
        return Finding("weights", "not all can be used", f"{error}; or give weights.NAME=FILE")
    state = f"{len(kinds)} checkpoints: {', '.join(dict.fromkeys(kinds))}"
    return Finding("weights", state, f"not there: {', '.join(missing)}" if missing else "", needed=False)


def _systems(config: DictConfig) -> Finding:
    """Whether all files are there that the chosen systems are made of."""
    try:
        systems = resolve_all(config.systems, tasks_of(OmegaConf.to_container(config.table, resolve=True)))  # type: ignore[arg-type]
    except GmsdiError as error:
        return Finding("systems", "not all can be made", str(error))
    return Finding("systems", f"the files of {len(systems)} are there")


def _launcher(config: DictConfig) -> Finding:
    """Whether the launcher can do its work from here: of launcher=slurm, whether Slurm answers and has the partition."""
    launcher: Launcher = build(config.launcher)
    what = f"launcher {type(launcher).__name__.lower()}"
    try:
        return Finding(what, launcher.check())
    except GmsdiError as error:
        return Finding(what, "cannot be used here", str(error))


def _leaves(node: object) -> list[str]:
    """The values of nested mappings."""
    return [leaf for value in node.values() for leaf in _leaves(value)] if isinstance(node, dict) else [str(node)]


def _embedders() -> Iterator[Finding]:
    """What each embedder of a Fréchet distance needs, and whether the files are those that their names promise. All are extras."""
    from benchmarks.metrics.pretrained import official, strange

    for path in sorted((CONFIGS / "embedder").glob("*.yaml")):
        embedder = build(cast(DictConfig, OmegaConf.load(path)))
        what = f"embedder {path.stem}"
        missing = [file for file in embedder.files if not file.exists()]
        wrong = [found for file in embedder.files if file.is_file() and (found := strange(file))]
        if missing or wrong:
            remedy = [*(f"put there: {file}" for file in missing), *(f"{found}: fetch it again" for found in wrong)]
            state = f"{len(missing)} of {len(embedder.files)} files missing" if missing else "not the official weights"
            yield Finding(what, state, f"{'; '.join(remedy)} (from {embedder.source})", needed=False)
        elif embedder.files:
            checked = [file.name for file in embedder.files if official(file)]
            known = f", sha256 as the names of {' and '.join(checked)} begin it" if checked else ", sha256 unknown"
            yield Finding(what, f"{len(embedder.files)} files there{known}")
        else:
            yield Finding(what, "needs no files")


def _store(config: DictConfig) -> Finding:
    store = Store(config.store).refresh()
    return Finding(f"store {config.store}", f"{len(store.outputs):,} outputs, {len(store.scores):,} scores")


def _disk(config: DictConfig) -> Finding:
    place = Path(config.store).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / GIB
    remedy = "" if free > 2 else "free some: MiniSlakh takes 0.5 GiB, its training split 2 GiB"
    return Finding(f"disk of {config.store}", f"{free:,.0f} GiB free", remedy)


CHECKS: tuple[Callable[[DictConfig], Finding], ...] = (
    _python,
    _gpu,
    _code,
    _ffmpeg,
    _soundfont,
    _dataset,
    _weights,
    _systems,
    _launcher,
    _store,
    _disk,
)
