"""The store: outputs, scores and failures by content address. Everything that a table shows is read from here.

Layout below the root:

    audio/ab/UNIT/{bass,drums,guitar,piano}.wav, unit.json   outputs (float32) and what they are; appear complete or not at all
    flac/ab/UNIT/{bass,drums,guitar,piano}.flac              to listen to, where keep_audio=flac dropped the float32 files
    embeddings/ab/KEY.npy                                    of generated and real audio; KEY is a hash of what they were computed from
    outputs/*.jsonl    completion records, written last: the hashes of each output's files
    scores/*.jsonl     a metric's scores of one track through one system
    failures/*.jsonl   units that failed and why, a record for each attempt
    origins/*.jsonl    what each unit was: everything that makes it again
    systems/ID.json    what each system was: its identity, its resolved config, the files that it was made from
    invalidated/*.jsonl  units that a person has declared worthless, with who and why
    left_out/*.jsonl   units of tracks that their system does not cover, as workers found
    slurm/             what was handed to Slurm, and its logs (benchmarks/run/slurm/submissions.py)
    runs/RUN.json      provenance: code, versions, machine
    leases/ab/         what is being computed right now, and by whom

An output is done when its completion record is there and the files have the recorded hashes, never because a folder exists.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from omegaconf import OmegaConf

from benchmarks.identity import canonical, digest, short
from benchmarks.notices import warn
from benchmarks.plan.systems import SystemSpec
from benchmarks.plan.units import WorkUnit
from benchmarks.store.journal import Journal, Record
from benchmarks.store.lease import Leases
from gmsdi import audio, files
from gmsdi.errors import BadInputError, IntegrityError, one_line

Floats = npt.NDArray[np.float64]

MANY = 500
"""Segments of a journal, above which they are merged during a run: each batch adds a segment, and lists all of them."""

KeepAudio = Literal["float32", "flac", "false"]


@dataclass(frozen=True, slots=True)
class Output:
    """The completion record of a unit: the sha256 of each stem's file and, over them, of the whole output."""

    unit: str
    files: tuple[str, ...]  # of the stems that its system outputs, in their order
    seconds: float
    bytes: int
    device: str
    run: str

    @property
    def sha256(self) -> str:
        return digest(list(self.files))


class Store:
    """A store at ``root``; several processes may work on one at once."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._outputs = Journal(self.root / "outputs", Output.__slots__)
        self._scores = Journal(self.root / "scores", ("key", "outputs"))
        self._failures = Journal(self.root / "failures", ("unit", "attempt", "error", "message"))
        self._left_out = Journal(self.root / "left_out", ("unit",))
        self._origins = Journal(self.root / "origins", ("unit", "system", "seed"))
        self._invalidated = Journal(self.root / "invalidated", ("unit", "when", "who", "why", "undo"))
        self._journals = (
            self._outputs,
            self._scores,
            self._failures,
            self._left_out,
            self._origins,
            self._invalidated,
        )
        self._runs: dict[str, dict[str, Any]] = {}  # provenance that was read
        self._made: dict[str, Record] = {}  # the origins of outputs that are written and not yet recorded
        self.outputs: dict[str, Output] = {}
        self.scores: dict[str, Record] = {}
        self.failures: dict[str, Record] = {}
        self.left_out: set[str] = set()
        self.invalidated: dict[str, Record] = {}

    def __reduce__(self) -> tuple[type["Store"], tuple[Path]]:
        """Pickled as its path alone: another process reads the records itself."""
        return Store, (self.root,)

    def refresh(self) -> "Store":
        """Take in what has been recorded, by anyone, since the last call."""
        for record in self._outputs.refresh():
            fields = {name: record[name] for name in Output.__slots__}
            self.outputs[record["unit"]] = Output(**fields | {"files": tuple(record["files"])})
        for record in self._scores.refresh():
            self.scores[record["key"]] = record
        for record in self._failures.refresh():
            self.failures[record["unit"]] = record
        self.left_out.update(record["unit"] for record in self._left_out.refresh())
        for record in self._invalidated.refresh():
            self._take(record)
        return self

    def _take(self, record: Record) -> None:
        self.invalidated.pop(record["unit"], None)
        if not record["undo"]:
            self.invalidated[record["unit"]] = record

    def invalidate(self, units: Iterable[str], who: str, why: str, undo: bool = False) -> None:
        """Declare units worthless, or that they are not: tables leave out and count what was made of them. Nothing is deleted."""
        when = datetime.now(UTC).isoformat(timespec="seconds")
        records = [{"unit": unit, "when": when, "who": who, "why": why, "undo": undo} for unit in units]
        self._invalidated.append(records)
        for record in records:
            self._take(record)

    def is_invalidated(self, unit: WorkUnit) -> Record | None:
        """The record that declares a unit worthless, or something that it is made of; None if there is none."""
        if not self.invalidated:
            return None
        found = (self.is_invalidated(each) for each in unit.inputs)
        return self.invalidated.get(unit.id) or next(filter(None, found), None)

    def origins(self) -> dict[str, Record]:
        """Of every unit that was ever recorded: its system, excerpt, seeds, what it was made of, and by which run. Reads them anew."""
        return {record["unit"]: record for record in Journal(self._origins.folder, self._origins.fields).refresh()}

    def system(self, system: str) -> Record:
        """What a system was: ``name``, ``identity``, ``config`` and ``files``; ``IntegrityError`` if that is gone or damaged."""
        return _read_sealed(self.root / "systems" / f"{system}.json")

    def leases(self) -> Leases:
        """Fresh leases, to be used as a context manager."""
        return Leases(self.root / "leases")

    def audio_folder(self, unit: str) -> Path:
        return self.root / "audio" / unit[:2] / unit

    def write_output(
        self, unit: WorkUnit, stems: audio.Samples, rate: int, seconds: float, device: str, run: str
    ) -> Output:
        """Write the stems ``[K, T]`` that the unit's system outputs, and unit.json. They do not count until ``record_outputs``."""
        folder = self.audio_folder(unit.id)
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
        temporary.mkdir(parents=True)
        try:
            for stem, samples in zip(unit.system.outputs, stems, strict=True):
                audio.write(temporary / f"{stem}.wav", samples[None], rate)
            files = tuple(audio.file_sha256(temporary / f"{stem}.wav") for stem in unit.system.outputs)
            output = Output(unit.id, files, round(seconds, 6), stems.nbytes, device, run)
            origin = _origin(unit, output, [self.outputs[each.id] for each in unit.inputs])
            (temporary / "unit.json").write_text(canonical(origin) + "\n")
            shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was never recorded
            temporary.rename(folder)
            _sync(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._keep_system(unit.system)
        self._made[unit.id] = origin
        return output

    def _keep_system(self, system: SystemSpec) -> None:
        path = self.root / "systems" / f"{system.id}.json"
        if not path.exists():
            content = {
                "name": system.name,
                "identity": json.loads(system.identity),
                "config": OmegaConf.to_container(system.config, resolve=True),
                "files": dict(system.files),
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            with audio.atomic(path) as temporary:
                temporary.write_text(_sealed(content) + "\n")

    def record_outputs(self, outputs: Iterable[Output]) -> None:
        """Declare outputs done.

        An output that was scored and dropped may be made again for another metric. It must have the same bytes as before;
        otherwise ``IntegrityError``, and the old record and its scores stay.
        """
        outputs = list(outputs)
        for output in outputs:
            before = self.outputs.get(output.unit, output)
            if before.files != output.files and any(
                before.sha256 in score["outputs"] for score in self.scores.values()
            ):
                shutil.rmtree(self.audio_folder(output.unit))
                raise IntegrityError(
                    f"unit {short(output.unit)} came out otherwise than when it was scored (not deterministic, or another device "
                    "or library); score all metrics in one run, or keep_audio=float32, or another store=DIR"
                )
        origins = [self._made.pop(output.unit, None) for output in outputs]
        self._origins.append(origin for origin in origins if origin)  # first: an output that counts has its origin
        self._outputs.append(_output_record(output) for output in outputs)
        self.outputs.update({output.unit: output for output in outputs})

    def read_output(self, unit: WorkUnit) -> audio.Samples:
        """The stems ``[K, T]`` of a finished unit; ``IntegrityError`` unless every file is the one that was recorded."""
        folder, output = self.audio_folder(unit.id), self.outputs[unit.id]
        stems = []
        for stem, recorded in zip(unit.system.outputs, output.files, strict=True):
            path = folder / f"{stem}.wav"
            if not path.exists():
                raise IntegrityError(f"{path}: recorded as done but gone; remove {folder} and run again")
            data, found = files.read(path)
            if found != recorded:
                raise IntegrityError(f"{path}: changed since it was written; remove {folder} and run again")
            stems.append(audio.decode(path, data)[0][0])
        return np.stack(stems)

    def remove_damaged(self, units: Sequence[WorkUnit]) -> set[str]:
        """Remove, with a warning, the audio of units whose files are not those that were recorded; returns their ids."""

        def is_damaged(unit: WorkUnit) -> bool:
            try:
                self.read_output(unit)
            except (IntegrityError, BadInputError):
                return self.has_output(unit.id)  # no longer there: another process has dropped it meanwhile
            return False

        present = [unit for unit in units if self.has_output(unit.id)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            damaged = {unit.id for unit, bad in zip(present, pool.map(is_damaged, present), strict=True) if bad}
        for unit_id in damaged:
            warn(f"{self.audio_folder(unit_id)}: changed since it was written; made again")
            shutil.rmtree(self.audio_folder(unit_id), ignore_errors=True)
        return damaged

    def has_output(self, unit: str) -> bool:
        """Whether a unit is recorded as done and its float32 audio has not been dropped."""
        return unit in self.outputs and self.audio_folder(unit).is_dir()

    def drop_audio(self, unit: WorkUnit, keep: KeepAudio) -> None:
        """After scoring: keep the float32 files, a FLAC of each for listening (24 bit, scaled down if it peaks over 1), or none.

        The hashes stay in the record, so the unit can be made again and checked.
        """
        folder = self.audio_folder(unit.id)
        if keep == "float32" or not folder.is_dir():
            return
        if keep == "flac":
            listening = self.root / "flac" / unit.id[:2] / unit.id
            listening.mkdir(parents=True, exist_ok=True)
            for stem in unit.system.outputs:
                samples, rate = audio.read(folder / f"{stem}.wav")
                peak = max(1.0, float(np.abs(samples).max()))
                audio.write(listening / f"{stem}.flac", samples / np.float32(peak), rate, subtype="PCM_24")
        doomed = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
        folder.rename(doomed)  # in one step, so that a half-removed folder never looks like an output
        shutil.rmtree(doomed)

    def embed(self, key: str, make: Callable[[], Floats]) -> Record:
        """Make the embeddings ``[n, d]`` of ``key`` unless they are there; returns their key and sha256.

        Files that cannot be read are made again. Two processes may make the same embeddings at once: they are equal.
        """
        path = self._embeddings(key)
        try:
            found = np.load(path)
        except (FileNotFoundError, ValueError, EOFError):
            found = make()
            path.parent.mkdir(parents=True, exist_ok=True)
            with audio.atomic(path) as temporary, temporary.open("wb") as file:
                np.save(file, found)
        return {"key": key, "sha256": _sha256(found)}

    def has_embeddings(self, score: Record) -> bool:
        """Whether all embeddings that a score refers to are there. True for a score that refers to none."""
        found = (each for excerpt in score.get("excerpts", ()) for each in excerpt.values() if isinstance(each, dict))
        return all(self._embeddings(each["key"]).is_file() for each in found)

    def read_embeddings(self, found: Record) -> Floats:
        """The embeddings ``[n, d]`` of a key and sha256 that ``embed`` returned; ``IntegrityError`` if the file has others."""
        path = self._embeddings(found["key"])
        try:
            embeddings: Floats = np.load(path)
        except (FileNotFoundError, ValueError, EOFError):
            raise IntegrityError(f"{path}: gone or damaged; remove it if it is there, and run again") from None
        if _sha256(embeddings) != found["sha256"]:
            raise IntegrityError(f"{path}: changed since it was written; remove it and run again")
        return embeddings

    def _embeddings(self, key: str) -> Path:
        return self.root / "embeddings" / key[:2] / f"{key}.npy"

    def record_scores(self, records: Iterable[Record]) -> None:
        """Record scores; equal keys mean equal scores."""
        records = list(records)
        self._scores.append(records)
        self.scores.update({record["key"]: record for record in records})

    def record_failures(self, units: Iterable[WorkUnit], error: BaseException, run: str) -> None:
        """Record one failed attempt at each of some units."""
        kind, message = type(error).__name__, one_line(error) or type(error).__name__
        records = {
            unit.id: {
                "unit": unit.id,
                "attempt": self.failures.get(unit.id, {"attempt": 0})["attempt"] + 1,
                "error": kind,
                "message": message,
                "run": run,
            }
            for unit in units
        }
        self._failures.append(records.values())
        self.failures.update(records)

    def record_left_out(self, units: Iterable[str]) -> None:
        """Remember units of tracks that their systems do not cover."""
        units = [unit for unit in units if unit not in self.left_out]
        self._left_out.append({"unit": unit} for unit in units)
        self.left_out.update(units)

    def record_run(self, provenance: dict[str, Any]) -> str:
        """Keep the provenance of a run; returns its id, which outputs and scores carry."""
        run = digest(provenance)
        path = self.root / "runs" / f"{run}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with audio.atomic(path) as temporary:
                temporary.write_text(canonical(provenance) + "\n")
        return run

    def run(self, run: str) -> dict[str, Any]:
        """The provenance that ``record_run`` kept."""
        if run not in self._runs:
            path = self.root / "runs" / f"{run}.json"
            try:
                provenance: dict[str, Any] = json.loads(path.read_text())
            except (FileNotFoundError, ValueError):
                provenance = {}
            if digest(provenance) != run:
                raise IntegrityError(f"{path}: provenance of recorded work is gone or damaged; restore the file")
            self._runs[run] = provenance
        return self._runs[run]

    def compact(self) -> None:
        """Merge the small files that finished batches left behind, unless another process is at it."""
        with self.leases() as leases:
            if leases.acquire("compaction"):
                for journal in self._journals:
                    journal.compact()

    def tidy(self) -> None:
        """``compact`` if the last ``refresh`` found many small files."""
        if any(journal.segments > MANY for journal in self._journals):
            self.compact()


def _output_record(output: Output) -> Record:
    return {name: getattr(output, name) for name in Output.__slots__}


def _origin(unit: WorkUnit, output: Output, inputs: Sequence[Output]) -> Record:
    """Everything that makes a unit again, together with the records of its system and its run."""
    return {
        "system": unit.system.id,
        "name": unit.system.name,
        "track": unit.excerpt.track,
        "start": unit.excerpt.start,
        "length": unit.excerpt.length,
        "excerpt": unit.excerpt.id,
        "base": unit.base,
        "replicate": unit.replicate,
        "seed": unit.seed,
        "inputs": [{"unit": each.unit, "sha256": each.sha256} for each in inputs],
        "elsewhere": [[each.track, each.start] for each in unit.elsewhere],
        **_output_record(output),
    }


def _sealed(content: Record) -> str:
    """Canonical JSON with a checksum."""
    return canonical({**content, "sha256": digest(content)})


def _read_sealed(path: Path) -> Record:
    """What ``_sealed`` wrote; ``IntegrityError`` for anything else."""
    try:
        content: Record = json.loads(path.read_text())
        intact = content.pop("sha256") == digest(content)
    except (OSError, ValueError, KeyError, AttributeError):
        intact = False
    if not intact:
        raise IntegrityError(f"{path}: gone or damaged; restore the file")
    return content


def _sha256(embeddings: Floats) -> str:
    shape = repr((embeddings.shape, embeddings.dtype.str)).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(embeddings).tobytes()).hexdigest()


def _sync(folder: Path) -> None:
    """Make a rename in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_store(root: Path | str) -> Store:
    """A store that can be written to; ``BadInputError`` when it cannot."""
    store = Store(root)
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        probe = store.root / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadInputError(
            f"{root}: the store cannot be written to ({error.strerror}); give another with store=DIR"
        ) from None
    return store.refresh()
