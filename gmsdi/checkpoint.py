"""Our checkpoints: the weights as ``NAME.safetensors`` and, beside them, ``NAME.json`` that says what they are.

The manifest holds the sha256 of the weights and is put in place after them, so a pair either belongs together or is refused:
a crash between the two leaves weights that the manifest does not know. Neither file can hold code.
"""

import dataclasses
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save_file
from torch import Tensor, nn

from gmsdi import audio, files
from gmsdi.errors import BadInputError, IntegrityError, one_line

SHOWN = 3
"""How many offending weights a message names."""

TYPES: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "config": dict,
    "stems": list,
    "sample_rate": int,
    "training_data": (str, type(None)),
    "step": int,
    "metrics": dict,
    "training": dict,
    "sha256": str,
}
"""The types of a manifest's values in JSON; a boolean counts as none of them."""


@dataclass(frozen=True)
class Manifest:
    """What the weights are. ``config``, ``metrics`` and ``training`` hold JSON's types: lists, not tuples."""

    kind: str  # gmsdi, msdm, weak-msdm, ...
    config: dict[str, Any]  # of the network: its class as "backbone" and the class's arguments
    stems: tuple[str, ...]  # of the output, in its order; the one stem of a weak model
    sample_rate: int  # Hz
    training_data: str | None  # the digest of what it was trained on; None where that is not known
    step: int  # of training
    metrics: dict[str, float]
    training: dict[str, Any]  # free-form: command, seed, seconds, machine, date

    def describe(self) -> str:
        """The network and its training, for a person."""
        data = self.training.get("data", "data that are not known")
        return f"{self.kind}: {self.config.get('backbone', 'network')}, {self.step} steps on {data}"


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and the manifest that was written for their file."""

    manifest: Manifest
    weights: dict[str, Tensor]  # float32, whatever they are on disk; integers as they are
    path: Path
    sha256: str  # of the weights' file: the identity of the trained model


def save(path: Path | str, weights: Mapping[str, Tensor], manifest: Manifest) -> None:
    """Write ``path`` and its manifest; give float16 weights to halve the file. A failed write leaves an older pair as it was.

    Raises ``BadInputError`` for a name without ``.safetensors``, a manifest that is no JSON, weights that share memory, and when
    the files cannot be written.
    """
    path = _named(path)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The inner file is put in place first; by then both are complete.
        with audio.atomic(_manifest_path(path)) as description, audio.atomic(path) as file:
            save_file(contiguous, file)
            description.write_text(_to_json(path, manifest, audio.file_sha256(file)), encoding="utf-8")
            shutil.copymode(description, file)  # safetensors makes files that nobody else may read, whatever the umask
    except (OSError, SafetensorError) as error:
        raise BadInputError(
            f"{path}: cannot be written ({error}); check its folder, its permissions and the disk"
        ) from None
    except RuntimeError as error:
        raise BadInputError(
            f"{path}: weights share memory, and each must be saved as its own ({one_line(error)})"
        ) from None


def load(path: Path | str, *, kind: str, rate: int) -> Checkpoint:
    """The checkpoint at ``path``, for a model of ``kind`` that runs at ``rate`` Hz.

    Raises ``IntegrityError`` when the manifest is gone or damaged, or was written for other weights;
    ``BadInputError`` when there is no such file, or it is of another kind or rate.
    """
    path = _named(path)
    if not path.is_file():
        raise BadInputError(f"{path}: no such checkpoint")
    manifest, recorded = _read_manifest(path)
    if manifest.kind != kind:
        raise BadInputError(f"{path}: a checkpoint of kind {manifest.kind}, where one of kind {kind} is needed")
    if manifest.sample_rate != rate:
        raise BadInputError(f"{path}: trained at {manifest.sample_rate} Hz, where {rate} Hz are needed")
    data, found = files.read(path)  # hashed and parsed are the same bytes, whatever happens to the file
    if found != recorded:
        raise IntegrityError(f"{path}: damaged, or not the weights of {_manifest_path(path).name}; copy both again")
    try:
        weights = parse(data)
    except SafetensorError as error:
        raise IntegrityError(f"{path}: no safetensors file ({one_line(error)}); copy it again") from None
    floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    return Checkpoint(manifest, floats, path, recorded)


def read_manifest(path: Path | str) -> Manifest:
    """What the checkpoint at ``path`` is, without its weights. Raises as ``load`` does."""
    path = _named(path)
    if not path.is_file():
        raise BadInputError(f"{path}: no such checkpoint")
    return _read_manifest(path)[0]


def load_into(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Give ``module`` the weights. Raises ``BadInputError`` unless names and shapes are exactly the module's own."""
    own = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in checkpoint.weights.items()}
    reshaped = [
        f"{name} {list(given[name])} for {list(own[name])}" for name in own if own[name] != given.get(name, own[name])
    ]
    faults = {
        "missing": [name for name in own if name not in given],
        "unexpected": sorted(name for name in given if name not in own),
        "of another shape": reshaped,
    }
    found = "; ".join(f"{fault}: {_some(names)}" for fault, names in faults.items() if names)
    if found:
        raise BadInputError(f"{checkpoint.path}: the weights do not fit {type(module).__name__}; {found}")
    module.load_state_dict(checkpoint.weights)


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _named(path: Path | str) -> Path:
    path = Path(path)
    if path.suffix != ".safetensors":
        raise BadInputError(f"{path}: a checkpoint is named NAME.safetensors, with NAME.json beside it")
    return path


def _manifest_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _to_json(path: Path, manifest: Manifest, sha256: str) -> str:
    try:
        content = {**dataclasses.asdict(manifest), "sha256": sha256}
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{path}: the manifest cannot be written as JSON ({error})") from None


def _read_manifest(path: Path) -> tuple[Manifest, str]:
    """The manifest of the checkpoint at ``path``, and the recorded sha256 of its weights."""
    beside = _manifest_path(path)
    if not beside.exists():
        raise IntegrityError(f"{path}: its manifest {beside.name} is gone; copy both files")
    try:
        content = json.loads(files.read(beside)[0].decode())
    except (ValueError, RecursionError):
        raise IntegrityError(f"{beside}: damaged, no JSON; copy it again") from None
    fault = _fault(content)
    if fault:
        raise IntegrityError(f"{beside}: damaged, {fault}; copy it again")
    sha256 = content.pop("sha256")
    return Manifest(**{**content, "stems": tuple(content["stems"])}), sha256


def _fault(content: object) -> str | None:
    """What is wrong with a manifest that was read; None for a good one."""
    if not isinstance(content, dict):
        return "not a JSON object"
    if content.keys() != TYPES.keys():
        return f"its keys are not {', '.join(TYPES)}"
    for key, types in TYPES.items():
        if not _all_are(types, [content[key]]):
            return f"{key} is of type {type(content[key]).__name__}"
    if not _all_are(str, content["stems"]):
        return "a stem is not a string"
    if not _all_are((int, float), content["metrics"].values()):
        return "a metric is not a number"
    return None


def _all_are(types: type | tuple[type, ...], values: Iterable[object]) -> bool:
    return all(isinstance(value, types) and not isinstance(value, bool) for value in values)
