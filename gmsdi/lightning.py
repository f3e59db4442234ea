"""Read the checkpoints of MSDM's authors, which pytorch-lightning wrote, without running anything that is in them.

Such a file is a pickle in a zip, and a pickle is a program: it names globals and calls them. ``torch.load(weights_only=True)``
refuses these files (their hyper-parameters hold objects of foreign classes) unless stand-ins are registered for the whole process,
and it lets a file of a few bytes ask for any amount of memory. So the pickle is read here by Python's own unpickler, which can reach
globals through ``find_class`` alone, and ``find_class`` imports nothing. It answers with one of three things, whose attributes a
pickle cannot set: a ``torch.dtype``; a dictionary; or a class made on the spot, whose instances (``Record``) note what they
were called with. The functions that rebuild tensors are records too, so no name in the file is ever resolved or called. The
allow-list of names is there to tell a checkpoint from something else; adding to it makes no code reachable.

Tensors are made afterwards, from the records of the model's weights alone, within the size of the file.
"""

import io
import math
import pickle
import pickletools
import re
import reprlib
import struct
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.checkpoint import Manifest
from gmsdi.errors import BadInputError

PREFIX = "model."
"""What Lightning's module calls MSDM's network, in front of the name of each of its weights."""

UNET = "unet."
"""The U-Net in MSDM's network; ``diffusion.net.`` is the same module once more."""

MOST_TIED = 4
"""The most that a file's weights may take, in sizes of the file: tied weights are stored once, and MSDM's are tied in pairs."""

PACKAGES = {"audio_diffusion_pytorch", "audio_data_pytorch", "main", "omegaconf", "pytorch_lightning", "lightning"}
"""The packages whose objects a checkpoint may hold; ``main`` is MSDM's code, whose data sets Lightning saves too."""

CLASS_NAME = re.compile(r"_?[A-Z]\w*", re.ASCII)
"""The name of a class in PEP 8's spelling, at the top of its module: no function, and no dotted path."""

DTYPES = {f"torch.{name}": dtype for name, dtype in vars(torch).items() if isinstance(dtype, torch.dtype)}

STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
    "torch.ComplexDoubleStorage": torch.complex128,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.storage.UntypedStorage": torch.uint8,
}
"""The type of a storage's elements, by its class's name."""

HARMLESS = {
    *("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter"),
    *("torch.Size", "torch.device", "typing.Any", "collections.defaultdict", "_codecs.encode"),
    *("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "main.data._identity"),
    *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "numpy.ndarray", "numpy.dtype"),
    *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
    *(f"builtins.{name}" for name in ("bool", "complex", "dict", "float", "int", "list", "object")),
    *(f"builtins.{name}" for name in ("range", "set", "slice", "str", "tuple")),
}
"""Other globals of such checkpoints."""

LEGACY = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
"""How files of ``torch.save`` before 1.6 begin."""

DAMAGED = (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, struct.error)
"""What ``zipfile`` raises for a file that is no zip or a broken one."""


class Record:
    """What a foreign object became: its class's name and the arguments to make it from, each a plain value or a record."""

    __slots__ = ("arguments", "items", "state")
    path: ClassVar[str]

    arguments: tuple[Any, ...]
    items: dict[Any, Any]
    state: Any

    def __new__(cls, *arguments: Any) -> "Record":
        record = super().__new__(cls)
        record.arguments, record.items, record.state = arguments, {}, None
        return record

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def __setstate__(self, state: Any) -> None:
        # Without it the unpickler would set attributes, the class's own among them.
        self.state = state

    def __repr__(self) -> str:
        return f"<record of {self.path}>"


@dataclass(frozen=True)
class LightningCheckpoint:
    """The useful parts of a Lightning checkpoint."""

    path: Path
    weights: dict[str, Tensor]  # those of ``model.``, without the prefix; tied as in the file, so they may share memory
    ignored: tuple[str, ...]  # the other keys of the state dict
    hyper_parameters: dict[str, Any]  # the constructor's arguments: plain values, and records of objects
    step: int
    epoch: int


def read_lightning(path: Path | str) -> LightningCheckpoint:
    """Read a Lightning checkpoint, trusting nothing in it.

    Raises ``BadInputError`` for a file that is missing, damaged or in the format before torch 1.6, that is no checkpoint, that asks
    for a global that checkpoints have no use for, or whose tensors do not fit what it stores.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInputError(f"{path}: no such checkpoint")
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from None
    except DAMAGED as error:
        raise BadInputError(f"{path}: {_why_no_zip(path, error)}") from None


def _why_no_zip(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        if file.read(len(LEGACY) - 1) == LEGACY[:-1]:
            return "in the format before torch 1.6; on a machine that trusts it, torch.load it and torch.save it again"
    return f"damaged, or no checkpoint ({error}); copy or download it again"


def _read(path: Path, archive: zipfile.ZipFile) -> LightningCheckpoint:
    stored = _Stored(path, archive)
    content = _unpickle(path, stored.pickled)
    match content:
        case {"state_dict": dict() as state, "global_step": int() as step, "epoch": int() as epoch} if _named(state):
            records = {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}
        case _:
            raise BadInputError(f"{path}: no Lightning checkpoint; it has no state_dict, global_step and epoch")
    if not records:
        raise BadInputError(f"{path}: its state_dict has no weights under {PREFIX}; it is no checkpoint of MSDM")
    ignored = tuple(name for name in state if not name.startswith(PREFIX))
    return LightningCheckpoint(path, stored.tensors(records), ignored, _hyper_parameters(path, content), step, epoch)


def _named(values: object) -> bool:
    """Whether it is a dictionary whose keys are strings."""
    return isinstance(values, dict) and all(isinstance(name, str) for name in values)


# The pickle


class _Dictionary(dict[Any, Any]):
    """What an ``OrderedDict`` becomes."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Drop what torch attaches to a state dict; as in ``Record``, no attribute can be set."""


class _Refused(Exception):
    pass


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        # torch.save makes pickle write the names of Python 2.
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        asked = f"{module}.{name}"
        if asked == "collections.OrderedDict":
            return _Dictionary
        if asked in STORAGES or asked in DTYPES:
            return STORAGES.get(asked) or DTYPES[asked]
        if asked in HARMLESS or (module.partition(".")[0] in PACKAGES and CLASS_NAME.fullmatch(name)):
            return type(name, (Record,), {"__slots__": (), "path": asked})
        raise _Refused(f"the pickle asks for {asked}")

    def persistent_load(self, identifier: Any) -> Any:
        """A storage stays the tuple that names it, to be checked when a tensor is made of it."""
        return identifier


def _unpickle(path: Path, pickled: bytes) -> Any:
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            # torch.save writes protocol 2. Later ones can announce objects of any size; extension codes name globals by number.
            if opcode.proto > 2 or opcode.name.startswith("EXT"):
                raise _Refused(f"the pickle holds the instruction {opcode.name}, which torch.save does not write")
            # For an object at one place, the unpickler first makes room for all lower places.
            if opcode.name.endswith("PUT") and isinstance(argument, int) and argument > len(pickled):
                raise _Refused(f"the pickle keeps an object at place {argument}")
        return _Unpickler(io.BytesIO(pickled)).load()
    except _Refused as refused:
        what = "".join(character if character.isprintable() else "?" for character in str(refused))
        raise BadInputError(f"{path}: refuses to load: {what}; it is not a plain checkpoint") from None
    except Exception as error:  # a broken pickle can raise any; none can come from code in the file
        raise BadInputError(
            f"{path}: its pickle is damaged ({type(error).__name__}); copy or download it again"
        ) from None


# The tensors


@dataclass(frozen=True)
class _View:
    """A tensor as the pickle describes it: elements of a storage. Nothing is checked yet."""

    dtype: torch.dtype
    key: str
    storage_bytes: int
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return math.prod(self.size) * self.dtype.itemsize


def _view(value: Any) -> _View | None:
    """The view that a record describes; None for what is no plain tensor or parameter, such as a lazy conjugate."""
    match value:
        case Record(path="torch._utils._rebuild_parameter", arguments=(Record() as data, _, _)):
            value = data
    match value:
        case Record(path="torch._utils._rebuild_tensor_v2", arguments=(storage, offset, size, stride, _, _)):
            dtype = None  # the storage's
        case Record(
            path="torch._utils._rebuild_tensor_v3",
            arguments=(storage, offset, size, stride, _, _, torch.dtype() as dtype),
        ):
            pass
        case _:
            return None
    match storage:
        case ("storage", torch.dtype() as stored, str() as key, _, int() as count):
            if _whole((count, offset)) and _whole(size) and _whole(stride) and len(size) == len(stride):
                return _View(dtype or stored, key, count * stored.itemsize, offset, size, stride)
    return None


def _whole(numbers: Any) -> bool:
    return isinstance(numbers, tuple) and all(isinstance(number, int) and number >= 0 for number in numbers)


class _Stored:
    """The archive of ``torch.save``: one folder with the pickle, the byte order and a file for each storage."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self._archive = path, archive
        entries = archive.infolist()
        self._size = path.stat().st_size
        # Hence nothing that is read can be larger than the file.
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in entries):
            raise BadInputError(f"{path}: its entries are compressed or encrypted; it is not a plain checkpoint")
        announced = sum(entry.file_size for entry in entries)
        if announced > self._size:
            raise BadInputError(
                f"{path}: announces {announced} bytes in a file of {self._size}; it is not a plain checkpoint"
            )
        pickles = [entry.filename for entry in entries if re.fullmatch(r"[^/]+/data\.pkl", entry.filename)]
        if len(pickles) != 1:
            raise BadInputError(f"{path}: a zip, but none of torch.save; it has {len(pickles)} pickles")
        self._folder = pickles[0].partition("/")[0]
        self.pickled = archive.read(pickles[0])
        self._swapped = self._read("byteorder", b"little") == b"big"

    def tensors(self, records: Mapping[str, Any]) -> dict[str, Tensor]:
        """The tensors of the records, each storage read once."""
        views = {}
        for name, value in records.items():
            view = _view(value)
            if view is None:
                raise BadInputError(f"{self.path}: {name!r} is no plain tensor")
            views[name] = view
        total = sum(view.bytes for view in views.values())
        if total > MOST_TIED * self._size:
            raise BadInputError(
                f"{self.path}: {total} bytes of weights in a file of {self._size}; it is not a plain checkpoint"
            )
        storages: dict[tuple[str, torch.dtype], Tensor] = {}
        tensors = {}
        for name, view in views.items():
            stored = (view.key, view.dtype)
            try:
                if stored not in storages:
                    storages[stored] = self._storage(view)
                tensors[name] = torch.as_strided(storages[stored], view.size, view.stride, view.offset)
            except (RuntimeError, OverflowError, TypeError, KeyError):
                raise BadInputError(
                    f"{self.path}: {name!r} lies outside of what is stored; copy or download it again"
                ) from None
        return tensors

    def _storage(self, view: _View) -> Tensor:
        """All elements of the view's storage ``[N]``."""
        data = bytearray(self._read(f"data/{view.key}"))
        if len(data) != view.storage_bytes:
            raise BadInputError(
                f"{self.path}: storage {view.key!r} has {len(data)} bytes where {view.storage_bytes} are announced; "
                "copy or download it again"
            )
        if not data:
            return torch.empty(0, dtype=view.dtype)
        elements = torch.frombuffer(data, dtype=torch.uint8).view(view.dtype)
        if self._swapped:
            elements.untyped_storage().byteswap(view.dtype)
        return elements

    def _read(self, name: str, default: bytes | None = None) -> bytes:
        """The bytes of an entry; ``KeyError`` when there is none and no default."""
        name = f"{self._folder}/{name}"
        if default is not None and name not in self._archive.NameToInfo:
            return default
        return self._archive.read(name)


# What the records mean


def _hyper_parameters(path: Path, content: dict[Any, Any]) -> dict[str, Any]:
    given = _omegaconf("_content", content.get("hyper_parameters", {}))
    if isinstance(given, Record):
        given = given.items  # of Lightning's AttributeDict
    if not _named(given):
        raise BadInputError(f"{path}: its hyper_parameters are not a dictionary; it is no checkpoint of MSDM")
    return {name: _plain(value) for name, value in given.items()}


def _plain(value: Any) -> Any:
    """A value or a list of values, out of omegaconf's nodes; anything else as it is. It does not recurse: records can be cyclic."""
    items = _omegaconf("_content", value)
    return [_omegaconf("_val", item) for item in items] if isinstance(items, list) else _omegaconf("_val", value)


def _omegaconf(attribute: str, value: Any) -> Any:
    """The attribute of an omegaconf node; anything else as it is."""
    if isinstance(value, Record) and value.path.startswith("omegaconf.") and isinstance(value.state, dict):
        return value.state.get(attribute, value)
    return value


# MSDM

NETWORK: dict[str, Any] = {
    "channels": 128,
    "patch_factor": 2,
    "multipliers": [1, 2, 4, 4, 4, 4, 4],
    "factors": [4, 4, 4, 2, 2, 2],
    "num_blocks": [2, 2, 2, 2, 2, 2],
    "attentions": [False, False, False, True, True, True],
    "attention_heads": 8,
    "attention_features": 64,
    "attention_multiplier": 2,
    "resnet_groups": 8,
    "diffusion_sigma_data": 0.1,
}
"""The arguments that MSDM's network is built from beside ``in_channels``, with the defaults of audio-diffusion-pytorch 0.0.43."""

FIXED: dict[str, tuple[Any, Any]] = {
    "patch_blocks": (4, 1),
    "kernel_sizes_init": ([1, 3, 7], [1, 3, 7]),
    "kernel_multiplier_downsample": (2, 2),
    "use_nearest_upsample": (False, False),
    "use_skip_scale": (True, True),
    "use_attention_bottleneck": (True, True),
    "use_context_time": (True, True),
    "use_classifier_free_guidance": (False, False),
    "diffusion_dynamic_threshold": (0.0, 0.0),
}
"""The arguments that are the same in all of MSDM's networks: for each the package's default, and MSDM's value."""


def to_checkpoint(read: LightningCheckpoint, stem: str | None = None) -> tuple[dict[str, Tensor], Manifest]:
    """The U-Net's weights and their manifest, to be saved: of MSDM (four channels), or of Weakly MSDM, whose ``stem`` must be given.

    The manifest's ``config`` is what ``gmsdi.model`` builds the denoiser from.
    Raises ``BadInputError`` for a network that is neither.
    """
    in_channels = read.hyper_parameters.get("in_channels")
    if in_channels not in (1, len(STEMS)):
        raise BadInputError(
            f"{read.path}: a network of {reprlib.repr(in_channels)} in_channels; MSDM has {len(STEMS)} and Weakly MSDM 1"
        )
    if (stem is None) != (in_channels == len(STEMS)) or stem not in (None, *STEMS):
        needed = f"one of {', '.join(STEMS)}" if in_channels == 1 else "none"
        raise BadInputError(f"{read.path}: a network of {in_channels} in_channels; as its stem give {needed}")
    for name, (default, value) in FIXED.items():
        if read.hyper_parameters.get(name, default) != value:
            found = read.hyper_parameters.get(name, default)
            raise BadInputError(f"{read.path}: {name} is {reprlib.repr(found)}; in MSDM's networks it is {value!r}")
    config = {name: read.hyper_parameters.get(name, default) for name, default in NETWORK.items()}
    for name, value in config.items():
        if not _alike(value, NETWORK[name]):
            raise BadInputError(
                f"{read.path}: {name} is {reprlib.repr(value)}; in MSDM's networks it is like {NETWORK[name]!r}"
            )
    sigma_data = config.pop("diffusion_sigma_data")
    weights = {name.removeprefix(UNET): value for name, value in read.weights.items() if name.startswith(UNET)}
    if not weights:
        raise BadInputError(f"{read.path}: has no weights under {PREFIX}{UNET}; it is no checkpoint of MSDM")
    manifest = Manifest(
        kind="msdm" if stem is None else "weak-msdm",
        config={"backbone": "UNet1d", "in_channels": in_channels, "sigma_data": sigma_data, **config},
        stems=STEMS if stem is None else (stem,),
        sample_rate=SAMPLE_RATE,
        training_data=None,
        step=read.step,
        metrics={},
        training={"epoch": read.epoch, "imported": read.path.name, "sha256": audio.file_sha256(read.path)},
    )
    return weights, manifest


def _alike(value: Any, example: Any) -> bool:
    """Whether a value has the type of the example; of lists, whether all values have the type of the example's first."""
    if isinstance(example, list):
        return isinstance(value, list) and all(isinstance(item, type(example[0])) for item in value)
    return isinstance(value, type(example))
