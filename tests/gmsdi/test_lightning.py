"""Lightning's checkpoints: what torch saved is what is read, and a file that asks for more is refused and does nothing."""

import collections
import copyreg
import functools
import importlib
import os
import pickle
import random
import struct
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from gmsdi import STEMS
from gmsdi.checkpoint import load, save
from gmsdi.errors import BadInputError
from gmsdi.lightning import LightningCheckpoint, Record, read_lightning, to_checkpoint

ARGUMENTS: dict[str, Any] = {
    "learning_rate": 1e-4,
    "beta1": 0.9,
    "beta2": 0.99,
    "in_channels": 4,
    "channels": 256,
    "patch_factor": 16,
    "patch_blocks": 1,
    "resnet_groups": 8,
    "kernel_multiplier_downsample": 2,
    "kernel_sizes_init": [1, 3, 7],
    "multipliers": [1, 2, 4, 4, 4, 4, 4],
    "factors": [4, 4, 4, 2, 2, 2],
    "num_blocks": [2, 2, 2, 2, 2, 2],
    "attentions": [False, False, False, True, True, True],
    "attention_heads": 8,
    "attention_features": 128,
    "attention_multiplier": 2,
    "use_nearest_upsample": False,
    "use_skip_scale": True,
    "use_attention_bottleneck": True,
    "diffusion_sigma_data": 0.2,
    "diffusion_dynamic_threshold": 0.0,
}
"""The constructor's arguments in MSDM's configuration of its training."""

PLACE = "archive/data.pkl"


def foreign(path: str) -> type:
    """A class that pickles as one of that name, as long as ``installed`` has it."""
    module, _, name = path.rpartition(".")
    return type(name, (), {"__module__": module})


class Installed:
    """Modules that are there while a file is saved, and gone when it is read."""

    def __init__(self, *classes: type) -> None:
        self.classes = classes

    def __enter__(self) -> None:
        self.before = dict(sys.modules)
        for made in self.classes:
            parts = made.__module__.split(".")
            for end in range(1, len(parts) + 1):
                sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
            setattr(sys.modules[made.__module__], made.__name__, made)

    def __exit__(self, *_: object) -> None:
        for name in sys.modules.keys() - self.before.keys():
            del sys.modules[name]


def checkpoint(**changes: Any) -> dict[str, Any]:
    """What Lightning saves of MSDM, tied weights and all, but small."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv1d(4, 8, 3), torch.nn.Linear(8, 8))
    network = torch.nn.Module()
    network.unet, network.diffusion = net, torch.nn.Module()
    network.diffusion.net = net
    module = torch.nn.Module()
    module.model, module.scale = network, torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam(module.parameters())
    net[0](torch.randn(1, 4, 8)).sum().backward()
    optimizer.step()
    content = {
        "epoch": 12,
        "global_step": 3456,
        "pytorch-lightning_version": "1.8.6",
        "state_dict": module.state_dict(),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": collections.defaultdict(list, total=[1])}},
        "callbacks": {"ModelCheckpoint{'monitor': 'valid_loss'}": {"best_model_score": torch.tensor(0.25)}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": ARGUMENTS,
    }
    return {**content, **changes}


def repack(path: Path, edit: Callable[[dict[str, bytes]], None], compression: int = zipfile.ZIP_STORED) -> Path:
    """The zip at ``path`` with its entries edited."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    edit(entries)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """``saved(content)``: the path of a file that torch saved it to."""

    def make(content: object) -> Path:
        torch.save(content, tmp_path / "msdm.ckpt")
        return repack(tmp_path / "msdm.ckpt", lambda entries: rename(entries, "archive"))

    return make


def rename(entries: dict[str, bytes], folder: str) -> None:
    for name in list(entries):
        entries[f"{folder}/{name.partition('/')[2]}"] = entries.pop(name)


@pytest.fixture
def pickled(saved: Callable[..., Path]) -> Callable[[bytes], Path]:
    """``pickled(bytes)``: the path of a checkpoint with that pickle."""
    return lambda content: repack(saved(checkpoint()), lambda entries: entries.update({PLACE: content}))


def refusal(path: Path) -> str:
    """The message that the file at ``path`` is refused with, after its path."""
    with pytest.raises(BadInputError) as caught:
        read_lightning(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()  # one line
    return message.removeprefix(f"{path}: ")


# What torch saved is what is read


def test_the_weights_are_those_that_were_saved(saved: Callable[..., Path]) -> None:
    content = checkpoint()
    found = read_lightning(saved(content))
    expected = {name: tensor for name, tensor in content["state_dict"].items() if name.startswith("model.")}
    assert {f"model.{name}" for name in found.weights} == set(expected)
    assert all(torch.equal(tensor, expected[f"model.{name}"]) for name, tensor in found.weights.items())
    assert (found.ignored, found.step, found.epoch, found.hyper_parameters) == (("scale",), 3456, 12, ARGUMENTS)


def test_the_file_that_torch_wrote_is_read_as_it_is(tmp_path: Path) -> None:
    torch.save(checkpoint(), tmp_path / "epoch=12-valid_loss=0.250.ckpt")
    assert read_lightning(tmp_path / "epoch=12-valid_loss=0.250.ckpt").step == 3456


def test_tied_weights_are_held_once(saved: Callable[..., Path]) -> None:
    weights = read_lightning(saved(checkpoint())).weights
    assert weights["unet.0.weight"].data_ptr() == weights["diffusion.net.0.weight"].data_ptr()


BASE = torch.arange(24.0)
TENSORS = {
    "transposed": BASE.reshape(4, 6).T,
    "stepped": BASE[3::5],
    "tail": BASE[20:],
    "scalar": torch.tensor(1.5),
    "empty": torch.empty(0, 3),
    "expanded": torch.tensor([2.0]).expand(5),
    "parameter": torch.nn.Parameter(torch.ones(3)),
    **{
        str(dtype): torch.tensor([0, 1, 3]).to(dtype)
        for dtype in (
            *(torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64, torch.complex128),
            *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool, torch.uint16, torch.uint64),
        )
    },
}


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tolist() == other.tolist()


@pytest.mark.parametrize("order", ["little", "big", None])
def test_every_type_and_stride_of_tensor_is_read(saved: Callable[..., Path], order: str | None) -> None:
    """Big-endian files are made as a big-endian machine would, by swapping the storages."""
    path = saved(checkpoint(state_dict={f"model.{name}": tensor for name, tensor in TENSORS.items()}))
    widths = [tensor.dtype.to_real().itemsize for tensor in TENSORS.values()]
    widths = [4, *widths[3:]]  # the first three share a storage

    def swap(entries: dict[str, bytes]) -> None:
        entries.pop("archive/byteorder")
        if order is not None:
            entries["archive/byteorder"] = order.encode()
        if order == "big":
            for key, width in enumerate(widths):
                stored = np.frombuffer(entries[f"archive/data/{key}"], f"V{width}")
                entries[f"archive/data/{key}"] = b"".join(item.tobytes()[::-1] for item in stored)

    found = read_lightning(repack(path, swap)).weights
    assert list(found) == list(TENSORS)
    assert all(same(found[name], tensor) for name, tensor in TENSORS.items())


@pytest.fixture
def distribution(saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> LightningCheckpoint:
    """A checkpoint whose hyper-parameters hold objects of classes that are gone by now."""
    for module in [name for name in sys.modules if name.split(".")[0] == "audio_diffusion_pytorch"]:
        monkeypatch.delitem(sys.modules, module)  # that another test compares our network with
    normal = foreign("audio_diffusion_pytorch.diffusion.LogNormalDistribution")
    data = foreign("main.data.MultiSourceDataset")
    monitor = foreign("pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")
    sigmas, dataset = normal(), data()
    vars(sigmas).update(mean=-3.0, std=1.0)
    vars(dataset).update(cumsum=np.cumsum([1.0, 2.0]), folder=Path("/data"), length=np.float64(3))
    with Installed(normal, data, monitor):
        path = saved(
            checkpoint(
                hyper_parameters={**ARGUMENTS, "diffusion_sigma_distribution": sigmas},
                datamodule_hyper_parameters={"train_dataset": dataset, "size": torch.zeros(2).shape},
                callbacks={monitor: {"mode": "min", "device": torch.device("cpu"), "seen": {1, 2}, "raw": b"\x80"}},
            )
        )
    assert "audio_diffusion_pytorch" not in sys.modules
    return read_lightning(path)


def test_objects_of_foreign_classes_become_records(distribution: LightningCheckpoint) -> None:
    record = distribution.hyper_parameters["diffusion_sigma_distribution"]
    assert isinstance(record, Record)
    assert record.path == "audio_diffusion_pytorch.diffusion.LogNormalDistribution"
    assert record.state == {"mean": -3.0, "std": 1.0}
    assert not callable(record)
    assert "audio_diffusion_pytorch" not in sys.modules
    assert to_checkpoint(distribution)[1].config["sigma_data"] == 0.2


@pytest.mark.parametrize("whole", [True, False])
def test_omegaconf_nodes_become_plain_values(saved: Callable[..., Path], whole: bool) -> None:
    config = OmegaConf.create(ARGUMENTS)
    found = read_lightning(saved(checkpoint(hyper_parameters=config if whole else dict(config))))
    assert found.hyper_parameters == ARGUMENTS


def test_lightnings_own_dictionary_becomes_a_plain_one(saved: Callable[..., Path]) -> None:
    made = type("AttributeDict", (dict,), {"__module__": "pytorch_lightning.utilities.parsing"})
    with Installed(made):
        path = saved(checkpoint(hyper_parameters=made(ARGUMENTS)))
    assert read_lightning(path).hyper_parameters == ARGUMENTS


# Into a checkpoint of ours


def test_msdm_becomes_a_checkpoint(saved: Callable[..., Path], tmp_path: Path) -> None:
    content = checkpoint()
    save(tmp_path / "msdm.safetensors", *to_checkpoint(read_lightning(saved(content))))
    found = load(tmp_path / "msdm.safetensors", kind="msdm", rate=22_050)
    assert set(found.weights) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert torch.equal(found.weights["1.weight"], content["state_dict"]["model.unet.1.weight"])
    assert (found.manifest.stems, found.manifest.step, found.manifest.training["epoch"]) == (STEMS, 3456, 12)
    network = {"in_channels", "channels", "patch_factor", "multipliers", "factors", "num_blocks", "attentions"}
    network |= {
        "attention_heads",
        "attention_features",
        "attention_multiplier",
        "resnet_groups",
    }
    assert found.manifest.config == {
        "backbone": "UNet1d",
        "sigma_data": ARGUMENTS["diffusion_sigma_data"],
        **{name: ARGUMENTS[name] for name in network},
    }


def test_weak_msdm_becomes_a_checkpoint_of_the_stem_that_is_told(saved: Callable[..., Path]) -> None:
    weak = read_lightning(saved(checkpoint(hyper_parameters={**ARGUMENTS, "in_channels": 1})))
    manifest = to_checkpoint(weak, "drums")[1]
    assert (manifest.kind, manifest.stems, manifest.config["in_channels"]) == ("weak-msdm", ("drums",), 1)
    for stem in (None, "voice"):
        with pytest.raises(BadInputError, match="as its stem give one of bass, drums, guitar, piano"):
            to_checkpoint(weak, stem)


def test_an_argument_that_was_not_given_has_the_packages_default(saved: Callable[..., Path]) -> None:
    given = {name: value for name, value in ARGUMENTS.items() if name not in ("channels", "multipliers")}
    config = to_checkpoint(read_lightning(saved(checkpoint(hyper_parameters=given))))[1].config
    assert (config["channels"], config["multipliers"]) == (128, [1, 2, 4, 4, 4, 4, 4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_channels": 2}, "a network of 2 in_channels; MSDM has 4 and Weakly MSDM 1"),
        ({"in_channels": None}, "a network of None in_channels"),
        ({"use_skip_scale": False}, "use_skip_scale is False; in MSDM's networks it is True"),
        ({"patch_blocks": 4}, "patch_blocks is 4; in MSDM's networks it is 1"),
        ({"channels": "256"}, "channels is '256'; in MSDM's networks it is like 128"),
        ({"factors": [4, "4"]}, r"factors is \[4, '4'\]; "),
        ({"multipliers": torch.zeros(2)}, "multipliers is <record of"),
    ],
)
def test_another_network_is_refused(saved: Callable[..., Path], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        to_checkpoint(read_lightning(saved(checkpoint(hyper_parameters={**ARGUMENTS, **changes}))))


def test_a_stem_of_msdm_and_a_model_without_a_unet_are_refused(saved: Callable[..., Path]) -> None:
    with pytest.raises(BadInputError, match="a network of 4 in_channels; as its stem give none"):
        to_checkpoint(read_lightning(saved(checkpoint())), "bass")
    with pytest.raises(BadInputError, match=r"no weights under model\.unet\."):
        to_checkpoint(read_lightning(saved(checkpoint(state_dict={"model.net": torch.zeros(2)}))))


def test_a_message_about_nested_values_stays_short(saved: Callable[..., Path]) -> None:
    nested: list[Any] = []
    for _ in range(60):
        nested = [nested, nested]  # 2**60 lists, if they were all written down
    with pytest.raises(BadInputError, match="channels is") as caught:
        to_checkpoint(read_lightning(saved(checkpoint(hyper_parameters={**ARGUMENTS, "channels": nested}))))
    assert len(str(caught.value)) < 5000


# Hostile pickles do nothing


class Calls:
    """An object whose pickle is a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any, state: Any = None) -> None:
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[str]:
    """A file that a hostile pickle would make, and that must not be there when it has been read."""
    path = tmp_path / "marker"
    yield str(path)
    assert not path.exists()


def test_the_hostile_pickles_would_work(tmp_path: Path) -> None:
    """The tests below would see it if the calls were made."""
    torch.save({"state_dict": Calls(os.system, f"touch {tmp_path / 'marker'}")}, tmp_path / "a.ckpt")
    torch.load(tmp_path / "a.ckpt", weights_only=False)
    assert (tmp_path / "marker").exists()


HOSTILE: dict[str, tuple[Callable[[str], Any], str]] = {
    "system": (lambda marker: Calls(os.system, f"touch {marker}"), "posix.system"),
    "eval": (lambda marker: Calls(eval, f"open({marker!r}, 'w')"), "builtins.eval"),
    "exec": (lambda marker: Calls(exec, f"open({marker!r}, 'w')"), "builtins.exec"),
    "getattr": (lambda marker: Calls(getattr, marker, "system"), "builtins.getattr"),
    "open": (lambda marker: Calls(open, marker, "w"), "io.open"),
    "popen": (lambda marker: Calls(subprocess.Popen, ["touch", marker]), "subprocess.Popen"),
    "partial": (lambda marker: functools.partial(os.system, f"touch {marker}"), "functools.partial"),
    "import": (lambda marker: Calls(importlib.import_module, "antigravity"), "importlib.import_module"),
    "torch.load": (lambda marker: Calls(torch.load, marker), "torch.serialization.load"),
    "copyreg": (lambda marker: Calls(copyreg._reconstructor, Path, object, None), "copyreg._reconstructor"),
    "bytes": (lambda marker: Calls(bytearray, 1 << 50), "builtins.bytearray"),
    "tensor": (lambda marker: Calls(torch.FloatTensor, 1 << 50), "torch.FloatTensor"),
    "breakpoint": (lambda marker: breakpoint, "builtins.breakpoint"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("place", ["root", "hyper_parameters", "state_dict", "state", "key"])
def test_a_call_is_refused_by_name(saved: Callable[..., Path], marker: str, name: str, place: str) -> None:
    make, asked = HOSTILE[name]
    hostile = make(marker)
    match place:
        case "root":
            content = hostile
        case "state":  # of a harmless object
            normal = foreign("audio_diffusion_pytorch.diffusion.LogNormalDistribution")
            sigmas = normal()
            vars(sigmas).update(mean=hostile)
            with Installed(normal):
                path = saved(checkpoint(hyper_parameters={**ARGUMENTS, "diffusion_sigma_distribution": sigmas}))
            assert refusal(path) == f"refuses to load: the pickle asks for {asked}; it is not a plain checkpoint"
            return
        case "key":
            content = checkpoint(callbacks={(1, hostile): 2})
        case _:
            content = checkpoint(**{place: {"model.a": [1, {"b": hostile}]}})
    assert refusal(saved(content)) == f"refuses to load: the pickle asks for {asked}; it is not a plain checkpoint"


@pytest.mark.parametrize(
    "asked",
    [
        ("sys", "modules"),
        ("os", "system"),
        ("audio_diffusion_pytorch.os", "system"),
        ("audio_diffusion_pytorch", "os.system"),
        ("audio_diffusion_pytorch.diffusion", "Schedule.__init__.__globals__"),
        ("audio_diffusion_pytorch.diffusion", "LogNormalDistribution.os"),
        ("audio_diffusion_pytorch_evil", "Schedule"),
        ("omegaconf.nodes", "yaml.load"),
        ("omegaconf", "__builtins__"),
        ("torch", "os.system"),
        ("torch._utils", "_rebuild_qtensor"),
        ("torch.storage", "_load_from_bytes"),
        ("main.data", "load_audio"),
        ("builtins", "eval"),
        ("gmsdi.lightning", "read_lightning"),
    ],
)
@pytest.mark.parametrize("spelling", ["GLOBAL", "INST", "OBJ"])
def test_names_that_lead_elsewhere_are_refused(
    pickled: Callable[[bytes], Path], marker: str, asked: tuple[str, str], spelling: str
) -> None:
    module, name = (part.encode() for part in asked)
    command = f"touch {marker}".encode()
    content = {
        "GLOBAL": b"c" + module + b"\n" + name + b"\n(S'" + command + b"'\ntR.",
        "INST": b"(S'" + command + b"'\ni" + module + b"\n" + name + b"\n.",
        "OBJ": b"(c" + module + b"\n" + name + b"\nS'" + command + b"'\no.",
    }[spelling]
    assert refusal(pickled(content)).startswith(f"refuses to load: the pickle asks for {'.'.join(asked)}; ")


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_later_protocols_are_refused(pickled: Callable[[bytes], Path], marker: str, protocol: int) -> None:
    """Among them is STACK_GLOBAL, whose names may have dots."""
    assert "refuses to load" in refusal(pickled(pickle.dumps(Calls(os.system, f"touch {marker}"), protocol)))
    dotted = b"\x80\x04\x8c\x17audio_diffusion_pytorch\x8c\x09os.system\x93."
    assert "holds the instruction SHORT_BINUNICODE" in refusal(pickled(dotted))


def test_extension_codes_are_refused(pickled: Callable[[bytes], Path], marker: str) -> None:
    """They would find a function that anyone in the process has registered, without asking for it by name."""
    copyreg.add_extension("posix", "system", 77)
    try:
        content = pickle.dumps(Calls(os.system, f"touch {marker}"), 2)
        assert b"\x82\x4d" in content
        assert "holds the instruction EXT1" in refusal(pickled(content))
    finally:
        copyreg.remove_extension("posix", "system", 77)


def test_a_call_of_a_harmless_name_makes_a_record(pickled: Callable[[bytes], Path]) -> None:
    assert "no Lightning checkpoint" in refusal(pickled(b"ctorch\nSize\n(I1\nI2\ntR."))


@pytest.mark.parametrize(
    "target",
    [
        b"ccollections\nOrderedDict\n",
        b"ctorch\nSize\n",
        b"ctorch\nfloat32\n",
        b"ctorch\nFloatStorage\n",
        b"comegaconf.nodes\nAnyNode\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"ccollections\nOrderedDict\n)R",
        b"comegaconf.nodes\nAnyNode\n)R",
        b"comegaconf.nodes\nAnyNode\n)\x81",
    ],
)
def test_no_attribute_of_ours_or_torchs_can_be_set(pickled: Callable[[bytes], Path], target: bytes) -> None:
    """BUILD with a pair sets attributes, of classes too, and could replace our methods by other objects of the pickle."""
    names = ("keys", "items", "path", "__setitem__", "__setstate__", "__new__", "itemsize")
    state = b"N}" + b"".join(b"S'" + name.encode() + b"'\nI1\ns" for name in names) + b"\x86"
    refusal(pickled(target + state + b"b."))
    assert torch.float32.itemsize == 4
    assert all(callable(vars(Record)[name]) for name in ("__setitem__", "__setstate__", "__new__"))
    assert "path" not in vars(Record)


def test_a_name_of_several_lines_is_told_in_one(saved: Callable[..., Path]) -> None:
    weights = {"model.a\n\x1b[31mb": 3}
    assert "is no plain tensor" in refusal(saved(checkpoint(state_dict=weights)))


# Bombs


def rebuilt(size: str, key: str = "0", count: int = 32, stride: str = "(I1\nt", offset: int = 0) -> bytes:
    """The pickle of a checkpoint with one weight ``a`` of float32 in storage ``key`` of ``count`` elements."""
    storage = f"(S'storage'\nctorch\nFloatStorage\nS'{key}'\nS'cpu'\nI{count}\nt".encode() + b"Q"
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + f"I{offset}\n{size}{stride}I00\nNtR".encode()
    return b"(dS'state_dict'\n(dS'model.a'\n" + call + b"ssS'epoch'\nI1\nsS'global_step'\nI1\ns."


@pytest.fixture
def weight(pickled: Callable[[bytes], Path]) -> Callable[..., Path]:
    """``weight(...)``: the path of the checkpoint of ``rebuilt`` whose storage 0 has 32 elements."""

    def make(*arguments: Any, **options: Any) -> Path:
        return repack(
            pickled(rebuilt(*arguments, **options)), lambda entries: entries.update({"archive/data/0": bytes(128)})
        )

    return make


def test_the_pickle_of_the_bombs_is_a_good_one(weight: Callable[..., Path]) -> None:
    assert read_lightning(weight("(I32\nt")).weights["a"].shape == (32,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "(I99999999999\nt", "stride": "(I0\nt"}, "bytes of weights in a file of"),
        ({"size": "(L99999999999999999999999999L\nt"}, "bytes of weights in a file of"),
        ({"size": "(L0L\nL99999999999999999999999999L\nt", "stride": "(I1\nI1\nt"}, "'a' lies outside"),
        ({"size": "(I33\nt"}, "'a' lies outside of what is stored"),
        ({"size": "(I2\nt", "stride": "(I32\nt"}, "'a' lies outside"),
        ({"size": "(I2\nt", "offset": 31}, "'a' lies outside"),
        ({"size": "(I2\nt", "offset": -4}, "'a' is no plain tensor"),
        ({"size": "(I2\nt", "stride": "(I-1\nt"}, "'a' is no plain tensor"),
        ({"size": "(I2\nI2\nt"}, "'a' is no plain tensor"),
        ({"size": "N"}, "'a' is no plain tensor"),
        ({"size": "(I2\nt", "count": 1 << 60}, "storage '0' has 128 bytes where 4611686018427387904 are announced"),
        ({"size": "(I2\nt", "count": 16}, "storage '0' has 128 bytes where 64 are announced"),
        ({"size": "(I2\nt", "key": "../../../etc/passwd"}, "'a' lies outside of what is stored"),
    ],
)
def test_tensors_beyond_the_file_are_refused(
    weight: Callable[..., Path], options: dict[str, Any], message: str
) -> None:
    assert message in refusal(weight(**options))


def test_compressed_entries_are_refused(saved: Callable[..., Path]) -> None:
    path = saved(checkpoint())
    repack(path, lambda entries: entries.update({"archive/data/0": bytes(50_000_000)}), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    assert "its entries are compressed or encrypted" in refusal(path)


def test_entries_that_announce_more_than_the_file_are_refused(saved: Callable[..., Path]) -> None:
    path = saved(checkpoint())
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")  # of the central directory: its sizes are 20 bytes in
    content[entry + 20 : entry + 28] = struct.pack("<II", 1 << 31, 1 << 31)
    path.write_bytes(content)
    assert "bytes in a file of" in refusal(path)


@pytest.mark.parametrize("put", [b"r\xff\xff\xff\x7f", b"p2147483647\n"])
def test_a_place_that_would_fill_the_memory_is_refused(pickled: Callable[[bytes], Path], put: bytes) -> None:
    assert "the pickle keeps an object at place 2147483647" in refusal(pickled(b"N" + put + b"."))


# Other files


def test_files_of_old_torch_are_refused_with_a_way_out(tmp_path: Path) -> None:
    torch.save(checkpoint(), tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert "torch.load it and torch.save it again" in refusal(tmp_path / "old.ckpt")


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path, saved: Callable[..., Path]) -> None:
    path = tmp_path / "a.ckpt"
    assert refusal(path) == "no such checkpoint"
    for content in (b"", b"RIFF", pickle.dumps({"state_dict": {}})):
        path.write_bytes(content)
        assert refusal(path).startswith("damaged, or no checkpoint (File is not a zip file)")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("read.me", "hello")
    assert "a zip, but none of torch.save" in refusal(path)
    assert "no Lightning checkpoint" in refusal(saved({"weights": torch.zeros(2)}))
    assert "no weights under model." in refusal(saved(checkpoint(state_dict={"net.a": torch.zeros(2)})))
    assert "hyper_parameters are not a dictionary" in refusal(saved(checkpoint(hyper_parameters=[1])))


def test_conjugate_and_quantized_weights_are_refused(saved: Callable[..., Path]) -> None:
    lazy = torch.ones(2, dtype=torch.complex64).conj()
    assert "'a' is no plain tensor" in refusal(saved(checkpoint(state_dict={"model.a": lazy})))
    quantized = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    assert "asks for torch._utils._rebuild_qtensor" in refusal(saved(checkpoint(state_dict={"model.a": quantized})))


def test_a_flipped_bit_in_a_weight_is_noticed(saved: Callable[..., Path]) -> None:
    path = saved(checkpoint())
    content = path.read_bytes()
    weight = checkpoint()["state_dict"]["model.unet.1.weight"].numpy().tobytes()
    at = content.index(weight)
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    assert "damaged, or no checkpoint (Bad CRC-32" in refusal(path)


def test_damage_anywhere_is_one_line_or_changes_nothing(saved: Callable[..., Path]) -> None:
    path = saved(checkpoint())
    content, expected = path.read_bytes(), read_lightning(path).weights
    generator = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[generator.randrange(len(content))] = generator.randrange(256)
        path.write_bytes(damaged if generator.random() < 0.9 else damaged[: generator.randrange(len(content))])
        try:
            found = read_lightning(path).weights
        except BadInputError as error:
            assert "\n" not in str(error)
        else:
            assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def imported() -> set[str]:
    """The modules that are there, without the codecs that decoding text brings in."""
    return {name for name in sys.modules if not name.startswith("encodings.")}


def test_damage_of_the_pickle_is_one_line_or_another_checkpoint(saved: Callable[..., Path], marker: str) -> None:
    """Beyond the CRC: the pickle itself is damaged, in a zip that is whole."""
    path = saved(checkpoint(hyper_parameters={**ARGUMENTS, "conf": OmegaConf.create({"a": [1, 2]})}))
    with zipfile.ZipFile(path) as archive:
        content = archive.read(PLACE)
    generator, modules = random.Random(0), imported()
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(generator.randint(1, 4)):
            damaged[generator.randrange(len(content))] = generator.randrange(256)
        repack(path, lambda entries, pickle=bytes(damaged): entries.update({PLACE: pickle}))
        try:
            read_lightning(path)
        except BadInputError as error:
            assert str(error).isprintable()
    assert imported() == modules
