"""Choose settings on the validation split: every combination of a sweep is a system of its own, run and stored like any other.

Test data are never read: the split is always ``validation``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from benchmarks import config
from benchmarks.run.job import Job
from benchmarks.tables import markdown
from benchmarks.tables.table import Better, Measured, MeasuredRow, Table, merit
from gmsdi import audio
from gmsdi.errors import BadInputError, IntegrityError

SPLIT = "validation"


@dataclass(frozen=True)
class Sweep:
    """Overrides of which some have several values, ``KEY=a,b``."""

    fixed: tuple[str, ...]
    swept: tuple[tuple[str, ...], ...]  # for each of these overrides KEY=a and KEY=b

    @property
    def combinations(self) -> list[tuple[str, ...]]:
        """Every choice of one value for each."""
        return list(product(*self.swept))


def read_sweep(overrides: Sequence[str]) -> Sweep:
    """Part the overrides of several values from those of one; ``BadInputError`` for another split than validation."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in parsed:
        if override.key_or_group == "split" and override.value() != SPLIT:
            raise BadInputError(f"split={override.value()}: settings are chosen on {SPLIT} alone")
    swept = [
        tuple(f"{_key(override)}={value}" for value in override.sweep_string_iterator())
        for override in parsed
        if override.is_sweep_override()
    ]
    fixed = [override.input_line or "" for override in parsed if not override.is_sweep_override()]
    return Sweep((*fixed, f"split={SPLIT}"), tuple(swept))


def _key(override: Override) -> str:
    """What is before the "=", with the + of a key that is new."""
    return (override.input_line or "").partition("=")[0]


def compose(sweep: Sweep) -> tuple[DictConfig, dict[str, tuple[str, ...]]]:
    """One config whose systems are the configured ones in every combination, and the combination behind each of its rows."""
    combined, rows = config.load([*sweep.fixed, *sweep.combinations[0]]), {}
    systems: dict[str, Any] = {}
    for combination in sweep.combinations:
        found = config.load([*sweep.fixed, *combination]).systems
        for name, node in found.items():
            row = " ".join([str(name), *_short(combination)])
            systems[row] = {**OmegaConf.to_container(node, resolve=True), "label": row}  # type: ignore[dict-item]
            rows[row] = combination
    combined.systems = systems
    combined.reported = None
    return combined, rows


def _short(combination: Sequence[str]) -> list[str]:
    """A short name such as ``guidance=2``: of each key as many of its last parts as tell all keys apart."""
    pairs = [override.split("=", 1) for override in combination]
    parts = [key.split(".") for key, _ in pairs]
    for length in range(1, max(map(len, parts), default=0) + 1):
        names = [".".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return [f"{name}={value}" for name, (_, value) in zip(names, pairs, strict=True)]
    return list(combination)


def write(
    folder: Path, name: str, table: Table, rows: dict[str, tuple[str, ...]], job: Job, command: Sequence[str]
) -> tuple[Path, Path]:
    """``NAME.md``, the table, and ``NAME.yaml``: the best row, the best row of each column, and everything that was tried.

    The last group of the table's columns decides, by its last column. Raises ``IntegrityError`` when no row is complete.
    """
    group = table.groups[-1]
    complete = [row for row in table.rows if row.tracks == row.expected and row.cells[-1][-1].value is not None]
    if not complete:
        raise IntegrityError(f"{name}: no combination has all stems measured on all songs, so there is none to choose")

    def best(column: int) -> MeasuredRow:
        return max(complete, key=lambda row: _merit(row.cells[-1][column], group.better))

    content = {
        "chosen": {"row": best(-1).name, "overrides": list(rows[best(-1).name])},
        "choice": {column: best(place).name for place, column in enumerate(group.columns[:-1])},
        "on": {
            "dataset": table.dataset,
            "digest": table.dataset_digest,
            "protocol": table.protocol,
            "metric": group.signature,
            "decided by": group.title,
        },
        "by": {"command": " ".join(command), "commit": job.store.run(job.run)["commit"], "run": job.run},
        "rows": [_row(row, group.columns, rows[row.name], job) for row in table.rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / f"{name}.yaml", folder / f"{name}.md"
    texts = (yaml.safe_dump(content, sort_keys=False, width=136), markdown.render(table))
    for path, text in zip(written, texts, strict=True):
        with audio.atomic(path) as temporary:
            temporary.write_text(text)
    return written


def _merit(cell: Measured, better: Better) -> float:
    """What is the higher the better, whatever the metric; an undefined cell is worst."""
    return float("-inf") if cell.value is None else merit(cell.value, better)


def _row(row: MeasuredRow, columns: Sequence[str], combination: tuple[str, ...], job: Job) -> dict[str, Any]:
    """The results of a combination; ``seconds`` are those of a chunk, on the machine that ran it."""
    seconds = [job.store.outputs[unit].seconds for unit in row.units if unit in job.store.outputs]
    cells = row.cells[-1]
    return {
        "row": row.name,
        "overrides": list(combination),
        "system": row.system,
        **{
            column: None if cell.value is None else round(cell.value, 3)
            for column, cell in zip(columns, cells, strict=True)
        },
        "interval": [None if bound is None else round(bound, 3) for bound in (cells[-1].low, cells[-1].high)],
        "songs": f"{row.tracks}/{row.expected}",
        "seconds": round(sum(seconds) / len(seconds), 2) if seconds else None,
    }
