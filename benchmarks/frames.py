"""What was measured as pandas frames, for a notebook: the cells of a table, and the songs and windows behind them.

Long frames, one number a line. Made of a table's json and a store's records, never of audio; docs/frames.md shows how they are used.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.cells.stats import TrackStatistics
from benchmarks.identity import short
from benchmarks.metrics.scores import Pooling, WindowScores
from benchmarks.plan.systems import Task
from benchmarks.run.score import from_json
from benchmarks.store.journal import Record
from benchmarks.store.store import Store
from benchmarks.tables import jsonfile
from benchmarks.tables.frame import cells
from benchmarks.tables.table import Table
from gmsdi import STEMS
from gmsdi.errors import BadInputError, IntegrityError

ONE_OF = ("name", "label", "system", "column", "signature", "song", "given", "run")
"""Columns with few different texts, which are categories in the order of the table."""


@dataclass(frozen=True)
class Scored:
    """The windows of one song through one system under one signature."""

    facts: Mapping[str, Any]  # ONE_OF, and the units with their outputs
    stems: tuple[str, ...]  # K
    scores: WindowScores  # [K, W]
    pooling: Pooling


@dataclass(frozen=True)
class Results:
    """Three frames, each made when it is first asked for; ``BadInputError`` for one that ``results`` was not given the source of.

    ``name``, ``label`` and ``system`` are the table's; of a store alone the name that audio was made under, and the system's id.
    ``signature`` says how a number was made. ``value`` is NaN where ``reason`` says why. ``outputs`` are the sha256 of what was scored,
    ``units`` the ids of the work that it came from, ``run`` the provenance of the scoring: systems that gave the same outputs are
    scored once, so units may be another's.
    """

    table: Table | None
    scored: tuple[Scored, ...] | None

    def __repr__(self) -> str:
        source = f"{self.table.title}, {self.table.dataset}" if self.table else "everything in a store"
        return f"Results({source})"

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A line for each row, group and column of the table: ``benchmarks.tables.frame.cells``."""
        if self.table is None:
            raise BadInputError("a store alone has no cells: give the json of a table, and the store as store=DIR")
        return cells(self.table)

    @cached_property
    def songs(self) -> pd.DataFrame:
        """A line for each system, signature, song and stem: what the metric makes of the song's windows, in dB for separation.

        That is their mean, or their median where the table shows medians. ``windows`` of them are defined.
        """
        scored = self._scored()
        statistics = [TrackStatistics.of([each.scores], each.pooling) for each in scored]
        totals, weights = (_joined([getattr(each, name)[0] for each in statistics]) for name in ("totals", "weights"))
        counts = [np.isfinite(each.scores.values).sum(axis=1) for each in scored]
        return _frame(
            scored,
            [len(each.stems) for each in scored],
            stem=_category(stem for each in scored for stem in each.stems),
            windows=_joined(counts).astype(np.int64),
            value=np.divide(totals, weights, out=np.full(totals.shape, np.nan), where=weights > 0),
            reason=_category(_reason(row) for each in scored for row in each.scores.reasons),
        )

    @cached_property
    def windows(self) -> pd.DataFrame:
        """A line for each system, signature, song, stem and window.

        ``window`` numbers the windows of a song that count, in their order; when each begins is not recorded. Of generation a
        window is an excerpt.
        """
        scored = self._scored()
        shapes = [each.scores.values.shape for each in scored]
        return _frame(
            scored,
            [stems * windows for stems, windows in shapes],
            stem=_category(stem for each in scored for stem in np.repeat(each.stems, each.scores.values.shape[1])),
            window=_joined([np.tile(np.arange(windows), stems) for stems, windows in shapes]).astype(np.int64),
            value=_joined([each.scores.values.ravel() for each in scored]),
            reason=_category(reason for each in scored for reason in each.scores.reasons.ravel()),
        )

    def _scored(self) -> tuple[Scored, ...]:
        if self.scored is None:
            raise BadInputError("the json of a table holds its cells alone: for songs and windows give store=DIR")
        return self.scored


def results(source: Path | str, store: Path | str | None = None) -> Results:
    """The frames of a table's json, and with a ``store`` those of what lies behind its rows; or of everything in a store.

    A table of generation has songs and windows of what is a number for each excerpt by itself (rhythm, harmony, overlap), with the
    initials of what was generated as ``stem``. Its distances (FAD, KAD) are of sets of excerpts: they are in the cells alone.

    ``BadInputError`` for what cannot be read, ``IntegrityError`` for a store that does not hold what the table was made from.
    """
    path = Path(source)
    if path.is_dir():
        if store is not None:
            raise BadInputError(f"{path}: a folder; give the json of a table, or this store alone")
        opened = _open(path)
        return Results(None, tuple(_split(opened, _everything(opened))))
    table = _read(path)
    if store is None:
        return Results(table, None)
    opened = _open(Path(store))
    return Results(
        table, tuple(_split(opened, _behind(table, path, opened), [each.signature for each in table.groups]))
    )


def _read(path: Path) -> Table:
    try:
        return jsonfile.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "no text"
        raise BadInputError(f"{path}: cannot be read ({why}); `gmsdi table` writes NAME.json into out=DIR") from None
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None


def _open(root: Path) -> Store:
    store = Store(root).refresh()
    if not store.scores:
        raise BadInputError(f"{root}: no store with scores; `gmsdi run store=DIR` makes one")
    return store


Named = tuple[str, str, str, Record]
"""The name, label and id of a system, or of a row of systems, and a record of its scores."""


def _everything(store: Store) -> Iterator[Named]:
    """All scores, under the names that systems had when they were made; where that is not known, the first digits of the id."""
    names: dict[str, str] = {}
    for system in {record["system"] for record in store.scores.values()}:
        with suppress(IntegrityError):
            names[system] = store.system(system)["name"]
    taken = Counter(names.values())
    for record in store.scores.values():
        name, identity = names.get(record["system"], ""), short(record["system"])
        name = name if taken[name] == 1 else f"{name} {identity}".strip()
        yield name, name, record["system"], record


def _behind(table: Table, path: Path, store: Store) -> Iterator[Named]:
    """The scores that the rows of a table were made from; ``IntegrityError`` if the store lacks any."""
    for row in table.rows:
        if lacking := [key for key in row.scores if key not in store.scores]:
            raise IntegrityError(
                f"{store.root}: lacks {len(lacking)} of the {len(row.scores)} scores behind {row.label} in {path}; "
                "give the store that the table was made from"
            )
        yield from ((row.name, row.label, row.system, store.scores[key]) for key in row.scores)


def _split(store: Store, named: Iterable[Named], groups: Sequence[str] | None = None) -> Iterator[Scored]:
    """What records hold under each signature by itself: all, or in their order those of the ``groups`` of a table."""
    for name, label, system, record in named:
        if "signatures" not in record:
            raise IntegrityError(
                f"{store.root}: scored by older code, which did not say how windows become a cell; remove "
                f"{store.root / 'scores'} and run again, which scores all audio that is there anew"
            )
        facts = {
            "name": name,
            "label": label,
            "system": system,
            "song": record["track"],
            "given": " ".join(record.get("given", ())),
            "run": record["run"],
            "units": tuple(record["units"]),
            "outputs": tuple(record["outputs"]),
        }
        signatures = record["signatures"]
        for column in signatures if groups is None else _shown(signatures, groups):
            stems, scores, pooling = _measured(record, column)
            yield Scored({**facts, "column": column, "signature": signatures[column]}, stems, scores, pooling)


def _shown(signatures: Mapping[str, str], groups: Iterable[str]) -> list[str]:
    """The columns that a table shows. The signature of a group of generation says, too, what is made of the excerpts."""
    fitting = (
        column
        for group in groups
        for column, signature in signatures.items()
        if group == signature or group.startswith(f"{signature} ")
    )
    return list(dict.fromkeys(fitting))


def _measured(record: Record, column: str) -> tuple[tuple[str, ...], WindowScores, Pooling]:
    """The stems of a record and what it holds of them: of separation windows, of generation excerpts."""
    if "columns" in record:
        return STEMS, from_json(record["columns"][column]), record["pooling"]
    task = Task(tuple(record["stems"]), tuple(record["given"]))
    values = np.array([[excerpt[column] for excerpt in record["excerpts"]]], dtype=np.float64)
    reasons = np.array([[excerpt[f"{column}-undefined"] for excerpt in record["excerpts"]]])
    return (task.name,), WindowScores(values, reasons), "window-mean"


def _frame(scored: Sequence[Scored], sizes: Sequence[int], **numbers: Any) -> pd.DataFrame:
    """``sizes`` lines of each of what was scored, with its facts around the columns ``numbers``."""
    lines = np.repeat(np.arange(len(scored)), sizes)
    facts = {name: _category(each.facts[name] for each in scored).take(lines) for name in ONE_OF}
    lists = {name: np.fromiter((each.facts[name] for each in scored), object)[lines] for name in ("units", "outputs")}
    run = facts.pop("run")
    return pd.DataFrame({**facts, **numbers, "run": run, **lists})


def _category(texts: Iterable[str]) -> pd.Categorical:
    """Texts as categories in the order of their first appearance."""
    texts = list(texts)
    return pd.Categorical(texts, categories=pd.Index(list(dict.fromkeys(texts)), dtype="str"))


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0), *arrays])


def _reason(reasons: np.ndarray) -> str:
    """Why no window ``[W]`` of a song is defined; "" if one is."""
    if (reasons == "").any():
        return ""
    return "; ".join(sorted(set(reasons.tolist()))) or "no window counts"
