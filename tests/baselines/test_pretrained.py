"""Public separators of the demucs package, with small models of random weights laid out as the package's own files are."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import yaml
from demucs.demucs import Demucs
from demucs.htdemucs import HTDemucs
from demucs.states import serialize_model
from demucs.utils import center_trim
from omegaconf import OmegaConf

from baselines import pretrained
from baselines.pretrained import PretrainedDemucs, names_of_files
from benchmarks import cli, config
from benchmarks.config import build
from benchmarks.plan.systems import resolve, resolve_all
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.errors import BadInputError, IntegrityError
from gmsdi.system import Batch

SOURCES = ["drums", "bass", "other", "vocals"]
MAPPING = {"bass": "bass", "drums": "drums"}
TINY = {
    "channels": 4,
    "depth": 2,
    "norm_starts": 9,
    "dconv_attn": 9,
    "dconv_lstm": 9,
    "samplerate": 44100,
    "segment": 1,
}


def write(folder: Path, signature: str, content: object) -> str:
    """A file as the package names them."""
    path = folder / "weights.th"
    torch.save(content, path)
    name = f"{signature}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.th"
    path.rename(folder / name)
    return name


def package(model: torch.nn.Module) -> dict:
    """What the package's own training writes."""
    return serialize_model(model, OmegaConf.create({}))  # type: ignore[no-any-return]


@pytest.fixture
def lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's lists, of small models: one alone, and a bag of two of which each says something of other sources."""
    folder = tmp_path / "lists"
    folder.mkdir()
    torch.manual_seed(0)
    names = [write(folder, f"000000{i}a", package(Demucs(SOURCES, **TINY))) for i in range(2)]
    (folder / "files.txt").write_text("# tiny\nroot: tiny/\n" + "\n".join(names))
    (folder / "one.yaml").write_text(yaml.safe_dump({"models": ["0000000a"]}))
    weights = [[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]]
    (folder / "bag.yaml").write_text(yaml.safe_dump({"models": ["0000000a", "0000001a"], "weights": weights}))
    monkeypatch.setattr(pretrained, "LISTS", folder)
    return folder


def mixtures(frames: int = SAMPLE_RATE) -> Batch:
    noise = 0.1 * torch.randn(2, frames, generator=torch.Generator().manual_seed(1))
    return Batch(noise, SAMPLE_RATE, (1, 2))


def test_the_packages_own_lists_name_the_files() -> None:
    assert names_of_files("htdemucs") == ["955717e8-8726e21a.th"]
    assert len(names_of_files("mdx")) == 4
    with pytest.raises(BadInputError, match="no model 'htdemuc'; did you mean htdemucs "):
        names_of_files("htdemuc")


def test_it_is_what_the_model_says_at_its_own_rate(lists: Path) -> None:
    """Against the model itself on one segment: resampled, doubled to stereo, normalised by hand; the other stems are zeros."""
    batch = mixtures(SAMPLE_RATE // 2)
    separator = PretrainedDemucs("one", str(lists), MAPPING)
    found = separator.separate(batch)
    assert found.shape == (2, len(STEMS), SAMPLE_RATE // 2)
    assert not found[:, 2:].any()
    loud = torch.from_numpy(audio.resample(batch.mixtures.numpy(), SAMPLE_RATE, 44100))
    mean, deviation = loud.mean(dim=1, keepdim=True), loud.std(dim=1, keepdim=True)
    model = separator.model.models[0]
    with torch.no_grad():
        more = model.valid_length(loud.shape[1]) - loud.shape[1]
        whole = F.pad((loud - mean) / deviation, (more // 2, more - more // 2))[:, None].expand(-1, 2, -1)
        estimates = center_trim(model(whole), loud).mean(dim=2) * deviation[:, None]
    for stem, place in ((0, 1), (1, 0)):
        back = torch.from_numpy(audio.resample(estimates[:, place].numpy(), 44100, SAMPLE_RATE))
        torch.testing.assert_close(found[:, stem], back, rtol=1e-3, atol=1e-5)


def test_the_members_of_a_bag_have_their_weights(lists: Path) -> None:
    """In this bag, drums are the first model's, bass the second's."""
    batch = mixtures()
    bag = PretrainedDemucs("bag", str(lists), MAPPING).separate(batch)
    first = PretrainedDemucs("one", str(lists), MAPPING).separate(batch)
    torch.testing.assert_close(bag[:, 1], first[:, 1])
    assert not torch.allclose(bag[:, 0], first[:, 0])


def test_what_is_not_mapped_is_undefined_in_the_table_not_zero(
    lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    tiny = ["dataset.songs.test=1", "protocol.chunk=100000", f"store={tmp_path / 'runs'}", f"out={tmp_path}"]
    separator = "systems.mdx.separator"
    chosen = ["system=[silence,mdx]", f"{separator}.name=bag", f"{separator}.folder={lists}", "table.baseline=silence"]
    assert cli.main(["run", *tiny, *chosen]) == 0
    assert cli.main(["table", *tiny, *chosen, "table.reported=null"]) == 0
    shown = capsys.readouterr().out
    assert "undef." in shown
    assert "the system does not separate this stem" in shown
    (found,) = tmp_path.glob("**/separation.csv")
    rows = pd.read_csv(found).query("name == 'mdx'")
    defined = rows.groupby("column")["value"].apply(lambda values: values.notna().all())
    assert defined.to_dict() == {"bass": True, "drums": True, "guitar": False, "piano": False, "all": False}
    assert set(rows.reason.dropna()) == {"the system does not separate this stem"}


def test_of_a_persons_song_there_are_the_stems_that_it_separates(lists: Path, tmp_path: Path) -> None:
    audio.write(tmp_path / "song.wav", mixtures(20_000).mixtures[:1].numpy(), SAMPLE_RATE)
    chosen = ["system=mdx", "systems.mdx.separator.name=one", f"systems.mdx.separator.folder={lists}"]
    assert cli.main(["separate", str(tmp_path / "song.wav"), *chosen, f"out={tmp_path / 'out'}"]) == 0
    assert sorted(path.name for path in (tmp_path / "out" / "song").iterdir()) == ["bass.wav", "drums.wav"]


def test_a_missing_file_is_named_by_the_run_and_by_the_doctor(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = [f"systems.htdemucs.separator.folder={tmp_path}", f"store={tmp_path / 'runs'}"]
    monkeypatch.setenv("COLUMNS", "300")
    assert cli.main(["run", "system=[htdemucs]", *where]) == 4
    assert "put 955717e8-8726e21a.th" in capsys.readouterr().err
    assert cli.main(["doctor", "system=[htdemucs]", *where]) == 4
    assert "955717e8-8726e21a.th" in capsys.readouterr().out


def test_damaged_and_hostile_files_are_refused(lists: Path, tmp_path: Path) -> None:
    (path,) = lists.glob("0000000a-*.th")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="damaged"):
        PretrainedDemucs("one", str(lists), MAPPING)
    path.unlink()

    class Hostile:
        def __reduce__(self) -> tuple[Callable, tuple]:
            return Path.touch, (tmp_path / "executed",)

    name = write(lists, "0000000a", {**package(Demucs(SOURCES, **TINY)), "state": Hostile()})
    (lists / "files.txt").write_text(name)
    with pytest.raises(IntegrityError, match="no model of the demucs package"):
        PretrainedDemucs("one", str(lists), MAPPING)
    assert not (tmp_path / "executed").exists()
    pickle.loads(pickle.dumps(Hostile()))  # it would have been
    assert (tmp_path / "executed").exists()


def test_unknown_stems_and_sources_are_refused(lists: Path) -> None:
    with pytest.raises(BadInputError, match="no source 'base'; did you mean bass"):
        PretrainedDemucs("one", str(lists), {"bass": "base"})
    with pytest.raises(BadInputError, match="'gitar' is no stem; did you mean guitar"):
        PretrainedDemucs.stems(mapping={"gitar": "other"})


def test_its_identity_is_the_files_not_the_folder(lists: Path, tmp_path: Path) -> None:
    def identity(folder: Path, name: str = "one") -> str:
        chosen = ["system=[mdx]", f"systems.mdx.separator.name={name}", f"systems.mdx.separator.folder={folder}"]
        return resolve("mdx", config.load(chosen).systems.mdx).id

    copy = tmp_path / "copy"
    copy.mkdir()
    for path in lists.glob("*.th"):
        (copy / path.name).write_bytes(path.read_bytes())
    assert identity(copy) == identity(lists) != identity(lists, "bag")


def test_what_is_made_of_it_has_the_stems_that_it_takes_from_it(lists: Path, tmp_path: Path) -> None:
    """An ensemble has each stem that its chosen member has; a mean has those that all its inputs have."""
    choice = tmp_path / "choice.yaml"
    ensemble = (
        f"{{label: E, separator: {{_target_: gmsdi.ensemble.Ensemble, members: [mdx, silence], choice: {choice}}}}}"
    )
    mean = "{label: M, separator: {_target_: gmsdi.ensemble.Mean, of: mdx, samples: 2}}"
    chosen = ["system=[silence,mdx]", "systems.mdx.separator.name=bag", f"systems.mdx.separator.folder={lists}"]
    members = [{"row": system.name, "system": system.id} for system in resolve_all(config.load(chosen).systems)]
    choice.write_text(f"choice: {{bass: mdx, drums: mdx, guitar: silence, piano: mdx}}\nrows: {members}")
    systems = resolve_all(config.load([*chosen, f"+systems.ensemble={ensemble}", f"+systems.mean={mean}"]).systems)
    stems = {system.name: system.stems for system in systems}
    assert stems == {
        "silence": STEMS,
        "mdx": ("bass", "drums"),
        "ensemble": ("bass", "drums", "guitar"),
        "mean": ("bass", "drums"),
    }


def test_the_real_transformer_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTDemucs, with its fractions: small, with random weights."""
    monkeypatch.setattr(pretrained, "LISTS", tmp_path)
    torch.manual_seed(0)
    sizes = {
        "channels": 8,
        "depth": 2,
        "t_layers": 1,
        "t_heads": 2,
        "bottom_channels": 16,
        "dconv_comp": 4,
        "nfft": 512,
    }
    try:
        model = HTDemucs(SOURCES, segment=1, **sizes)
    except TypeError:
        pytest.fail("the package's HTDemucs takes other arguments now")
    (tmp_path / "files.txt").write_text(write(tmp_path, "0000000a", package(model)))
    (tmp_path / "one.yaml").write_text("models: ['0000000a']")
    found = PretrainedDemucs("one", str(tmp_path), MAPPING).separate(mixtures(8000))
    assert found[:, :2].abs().amax(dim=(1, 2)).min() > 0
    assert np.isfinite(found.numpy()).all()


def test_the_configs_name_models_that_the_package_lists() -> None:
    for name in ("htdemucs", "mdx", "htdemucs-6s"):
        node = config.load([f"system=[{name}]"]).systems[name].separator
        assert names_of_files(node.name)
        assert set(build(node.mapping)) <= set(STEMS)
