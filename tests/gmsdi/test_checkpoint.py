"""Checkpoints: what is saved is what is loaded, and what cannot be trusted or does not fit is refused in one line."""

import dataclasses
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.checkpoint import Checkpoint, Manifest, load, load_into, save
from gmsdi.errors import BadInputError, GmsdiError, IntegrityError

MANIFEST = Manifest(
    kind="msdm",
    config={"backbone": "UNet1d", "in_channels": 4, "factors": [4, 4, 2]},
    stems=STEMS,
    sample_rate=SAMPLE_RATE,
    training_data="sha256:0123",
    step=1000,
    metrics={"valid_loss": 0.25},
    training={"command": "gmsdi train", "seed": 0, "machine": "Gerät"},
)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(4, 8, 3), nn.GroupNorm(2, 8), nn.Conv1d(8, 4, 3))


@pytest.fixture
def path(tmp_path: Path, net: nn.Module) -> Path:
    """A checkpoint of ``net``."""
    save(tmp_path / "net.safetensors", net.state_dict(), MANIFEST)
    return tmp_path / "net.safetensors"


def load_msdm(path: Path) -> Checkpoint:
    return load(path, kind="msdm", rate=SAMPLE_RATE)


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def edit(path: Path, **values: object) -> None:
    """Change values of the manifest of the checkpoint at ``path``."""
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps({**json.loads(beside.read_text()), **values}))


def refused(path: Path, error: type[GmsdiError], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        load_msdm(path)
    assert "\n" not in str(caught.value)
    assert str(path.parent) in str(caught.value)


# What is saved is what is loaded


def test_float32_weights_and_the_manifest_come_back_exactly(path: Path, net: nn.Module) -> None:
    found = load_msdm(path)
    assert found.manifest == MANIFEST
    assert found.weights.keys() == net.state_dict().keys()
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_disk_is_loaded_as_float32(tmp_path: Path, net: nn.Module, dtype: torch.dtype) -> None:
    half = {name: tensor.to(dtype) for name, tensor in net.state_dict().items()}
    save(tmp_path / "half.safetensors", half, MANIFEST)
    found = load_msdm(tmp_path / "half.safetensors").weights
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert all(torch.equal(found[name].to(dtype), tensor) for name, tensor in half.items())


def test_integers_strided_and_empty_weights_come_back(tmp_path: Path) -> None:
    weights = {"count": torch.tensor(3), "turned": torch.arange(6.0).reshape(2, 3).T, "none": torch.empty(0, 4)}
    save(tmp_path / "a.safetensors", weights, MANIFEST)
    found = load_msdm(tmp_path / "a.safetensors").weights
    assert all(
        torch.equal(found[name], tensor) and found[name].shape == tensor.shape for name, tensor in weights.items()
    )
    assert found["count"].dtype == torch.int64


def test_saving_twice_gives_the_same_bytes(path: Path, net: nn.Module) -> None:
    before = files(path.parent)
    save(path, net.state_dict(), MANIFEST)
    assert files(path.parent) == before


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_who_may_read_the_files_is_the_umasks_to_say(tmp_path: Path, net: nn.Module, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        save(tmp_path / "net.safetensors", net.state_dict(), MANIFEST)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()] == [mode, mode]


def test_a_module_gets_the_weights(path: Path, net: nn.Module) -> None:
    torch.manual_seed(1)
    other = nn.Sequential(nn.Conv1d(4, 8, 3), nn.GroupNorm(2, 8), nn.Conv1d(8, 4, 3))
    load_into(other, load_msdm(path))
    signal = torch.randn(1, 4, 32)
    assert torch.equal(other(signal), net(signal))


# What is refused


@pytest.mark.parametrize("where", [10, 200, -1])
def test_a_flipped_bit_is_an_integrity_failure(path: Path, where: int) -> None:
    content = bytearray(path.read_bytes())
    content[where] ^= 1
    path.write_bytes(content)
    refused(path, IntegrityError, "damaged, or not the weights of net.json")


def test_truncated_weights_are_an_integrity_failure(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])
    refused(path, IntegrityError, "damaged")


def test_weights_of_another_manifest_are_an_integrity_failure(path: Path, net: nn.Module) -> None:
    other = path.with_name("other.safetensors")
    save(other, {name: tensor + 1 for name, tensor in net.state_dict().items()}, MANIFEST)
    other.replace(path)
    refused(path, IntegrityError, "not the weights of")


def test_a_file_that_is_no_safetensors_is_refused_even_with_its_sha256(path: Path) -> None:
    path.write_bytes(b"\xff" * 64)
    edit(path, sha256=audio.file_sha256(path))
    refused(path, IntegrityError, "no safetensors file")


def test_a_missing_manifest_is_an_integrity_failure(path: Path) -> None:
    path.with_suffix(".json").unlink()
    refused(path, IntegrityError, "its manifest net.json is gone")


@pytest.mark.parametrize("content", [b"", b'{"kind": "msdm"', b"\xff\xfe", b"[" * 200_000])
def test_a_broken_manifest_is_an_integrity_failure(path: Path, content: bytes) -> None:
    path.with_suffix(".json").write_bytes(content)
    refused(path, IntegrityError, "damaged, no JSON")


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"step": "1000"}, "step is of type str"),
        ({"step": True}, "step is of type bool"),
        ({"sample_rate": 22050.0}, "sample_rate is of type float"),
        ({"config": []}, "config is of type list"),
        ({"stems": "bass"}, "stems is of type str"),
        ({"stems": [1]}, "a stem is not a string"),
        ({"metrics": {"loss": "low"}}, "a metric is not a number"),
        ({"training_data": 1}, "training_data is of type int"),
        ({"colour": "red"}, "its keys are not kind, config, "),
    ],
)
def test_a_manifest_with_other_types_is_an_integrity_failure(path: Path, values: dict[str, object], fault: str) -> None:
    edit(path, **values)
    refused(path, IntegrityError, fault)


@pytest.mark.parametrize("content", ["[]", "null", "{}"])
def test_json_that_is_no_manifest_is_an_integrity_failure(path: Path, content: str) -> None:
    path.with_suffix(".json").write_text(content)
    refused(path, IntegrityError, "net.json: damaged")


def test_another_kind_rate_or_name_is_bad_input(path: Path) -> None:
    with pytest.raises(BadInputError, match="of kind msdm, where one of kind gmsdi is needed"):
        load(path, kind="gmsdi", rate=SAMPLE_RATE)
    with pytest.raises(BadInputError, match="trained at 22050 Hz, where 44100 Hz are needed"):
        load(path, kind="msdm", rate=44_100)
    refused(path.with_suffix(".ckpt"), BadInputError, r"is named NAME\.safetensors")
    refused(path.with_name("other.safetensors"), BadInputError, "no such checkpoint")


def misfit(module: nn.Module, path: Path) -> str:
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(BadInputError) as caught:
        load_into(module, load_msdm(path))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_other_names_and_shapes_are_named(path: Path) -> None:
    message = misfit(nn.Sequential(nn.Conv1d(4, 8, 5), nn.Identity(), nn.Conv1d(8, 4, 3), nn.Linear(2, 2)), path)
    assert "do not fit Sequential; missing: 3.weight, 3.bias; unexpected: 1.bias, 1.weight; " in message
    assert message.endswith("of another shape: 0.weight [8, 4, 3] for [8, 4, 5]")


def test_of_many_misfits_the_first_are_named(path: Path) -> None:
    module = nn.Sequential(*(nn.Linear(2, 2) for _ in range(20)))
    assert "missing: 1.weight" not in misfit(module, path)
    assert "missing: 3.weight, 3.bias, 4.weight and 31 more" in misfit(module, path)


# A failed save leaves the old pair as it was


@pytest.mark.parametrize("training", [{"when": object()}, {"loss": float("nan")}])
def test_a_manifest_that_is_no_json_leaves_the_old_pair(
    path: Path, net: nn.Module, training: dict[str, object]
) -> None:
    before = files(path.parent)
    other = {name: tensor + 1 for name, tensor in net.state_dict().items()}
    with pytest.raises(BadInputError, match="cannot be written as JSON"):
        save(path, other, dataclasses.replace(MANIFEST, training=training))
    assert files(path.parent) == before
    load_msdm(path)


def test_tied_weights_leave_the_old_pair(path: Path) -> None:
    before, one = files(path.parent), torch.zeros(3)
    with pytest.raises(BadInputError, match="weights share memory") as caught:
        save(path, {"a": one, "b": one}, MANIFEST)
    assert "\n" not in str(caught.value)
    assert files(path.parent) == before


def test_a_folder_is_made_unless_something_else_is_there(path: Path, net: nn.Module) -> None:
    save(path.parent / "a" / "b" / "net.safetensors", net.state_dict(), MANIFEST)
    load_msdm(path.parent / "a" / "b" / "net.safetensors")
    with pytest.raises(BadInputError, match="cannot be written"):
        save(path / "net.safetensors", net.state_dict(), MANIFEST)


def test_a_crash_between_the_two_files_is_noticed(path: Path, net: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def crash(self: Path, target: Path) -> Path:
        if target.suffix == ".json":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        save(path, {name: tensor + 1 for name, tensor in net.state_dict().items()}, MANIFEST)
    refused(path, IntegrityError, "not the weights of")
    assert len(files(path.parent)) == 2


def test_a_full_disk_leaves_the_old_pair(tmp_path: Path, net: nn.Module) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        save(disk / "net.safetensors", net.state_dict(), MANIFEST)
        before = files(disk)
        with pytest.raises(BadInputError, match="cannot be written") as caught:
            save(disk / "net.safetensors", {"large": torch.zeros(1_000_000)}, MANIFEST)
        assert "\n" not in str(caught.value)
        assert files(disk) == before
        load_msdm(disk / "net.safetensors")
    finally:
        subprocess.run(["umount", disk], check=True)
