"""The small models that ship, the settings that they are sampled with, and where both come from."""

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from baselines import demucs
from benchmarks import config
from benchmarks.config import build
from benchmarks.metrics.si_sdr import SiSDR
from benchmarks.plan.systems import resolve_all
from benchmarks.plan.tasks import tasks_of
from gmsdi import SAMPLE_RATE, STEMS, audio, checkpoint
from gmsdi.system import Batch, Derived, Separator

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = sorted((ROOT / "results/reference/checkpoints").glob("*.safetensors"))
TUNED = ROOT / "results/reference/tuned"
CHUNK = 131_072


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths of ``configs/weights`` are relative to where commands are run."""
    monkeypatch.chdir(ROOT)


def test_all_of_them_are_small() -> None:
    assert len(CHECKPOINTS) == 7
    assert sum(path.stat().st_size for path in CHECKPOINTS) < 40e6


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_a_checkpoint_says_how_it_was_made(path: Path) -> None:
    manifest = checkpoint.read_manifest(path)
    assert checkpoint.load(path, kind=manifest.kind, rate=SAMPLE_RATE).weights
    training = manifest.training
    assert training["command"] == f"gmsdi train model={path.stem} checkpoint=results/reference/checkpoints/{path.name}"
    assert training["seed"] == 0
    assert training["minutes"] > 1
    assert training["machine"]
    assert training["curve"][-1]["step"] == manifest.step == training["steps"]
    assert training["curve"][-1]["validation_loss"] < training["curve"][0]["validation_loss"]
    assert manifest.training_data == checkpoint.read_manifest(CHECKPOINTS[0]).training_data


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_a_checkpoint_is_of_the_model_that_its_config_describes(path: Path) -> None:
    manifest = checkpoint.read_manifest(path)
    weak = ["model=weak-mini", f"model.stem={manifest.stems[0]}"]
    model = config.load(weak if manifest.kind == "weak-msdm" else [f"model={path.stem}"], "train").model
    assert model.name == path.stem
    network = OmegaConf.to_container(model.network)
    assert network.items() <= manifest.config.items()  # type: ignore[union-attr]
    assert (model.train.steps, model.batch_size, model.chunk) == (
        manifest.step,
        manifest.training["batch_size"],
        manifest.training["chunk"],
    )


@pytest.mark.parametrize(
    "name",
    [
        "weak-msdm-dirac",
        "weak-msdm-projected",
        "msdm-dirac",
        "msdm-projected",
        "gmsdi-separator",
        "gmsdi-extractor",
        "gmsdi-separator-projected",
        "gmsdi-extractor-projected",
        "demucs-gibbs",
    ],
)
def test_the_settings_are_those_that_were_chosen_on_validation(name: str) -> None:
    found = yaml.safe_load((TUNED / f"{name}.yaml").read_text())
    assert found["on"]["dataset"] == "MiniSlakh validation"
    best = max(found["rows"], key=lambda row: row["all"])
    assert found["chosen"] == {"row": best["row"], "overrides": best["overrides"]}
    tuned, usual = (
        resolve_all(config.load([f"system=[{name}]", *overrides]).systems)[0]
        for overrides in (found["chosen"]["overrides"], [])
    )
    assert tuned.id == usual.id


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("gmsdi-generator", "subfad-tune"),
        ("gmsdi-generator-projected", "subfad-tune"),
        ("msdm-generator", "subfad-tune"),
        ("weak-msdm-generator", "fad"),
        ("gmsdi-source", "fad"),
        ("gmsdi-source-null", "fad"),
    ],
)
def test_generators_have_the_settings_that_were_chosen_on_validation(name: str, table: str) -> None:
    found = yaml.safe_load((TUNED / f"{name}.yaml").read_text())
    assert found["on"]["dataset"] == "MiniSlakh validation"
    column = "mean" if table == "subfad-tune" else "all"
    best = min(found["rows"], key=lambda row: row[column])
    assert found["chosen"] == {"row": best["row"], "overrides": best["overrides"]}
    tuned, usual = (
        config.load([f"table={table}", f"system=[{name}]", *overrides])
        for overrides in (found["chosen"]["overrides"], [])
    )
    tasks = tasks_of(OmegaConf.to_container(usual.table, resolve=True))
    assert [system.id for system in resolve_all(tuned.systems, tasks)] == [
        system.id for system in resolve_all(usual.systems, tasks)
    ]


@pytest.mark.parametrize("name", ["gmsdi-ensemble", "gmsdi-ensemble-projected", "gmsdi-ensemble-mean"])
def test_the_ensembles_take_what_was_better_on_validation(name: str) -> None:
    found = yaml.safe_load((TUNED / f"{name}.yaml").read_text())
    assert found["on"]["dataset"] == "MiniSlakh validation"
    for stem in STEMS:
        assert found["choice"][stem] == max(found["rows"], key=lambda row: row[stem])["row"]
    composed = config.load(["table=separation-all"])
    systems = {system.name: system for system in resolve_all(composed.systems)}  # as they are in the table
    members = {systems[member].id for member in composed.systems[name].separator.members}
    assert members <= {row["system"] for row in found["rows"]} <= {system.id for system in systems.values()}


def test_every_row_of_the_table_can_be_made() -> None:
    composed = config.load(["table=separation-all"])
    for system in resolve_all(composed.systems):
        assert isinstance(system.derived or system.build(), Separator | Derived)


def test_the_short_table_is_part_of_the_long_one_and_both_show_the_families_in_order() -> None:
    short, long = (resolve_all(config.load([f"table={name}"]).systems) for name in ("separation", "separation-all"))
    assert {system.id for system in short} < {system.id for system in long}
    for systems in (short, long):
        families = [family for family, _ in groupby(system.family for system in systems)]
        assert families == ["bounds", "supervised", "MSDM", "GMSDI", "beyond the papers"]
    papers = [system.name for system in short if system.family in ("MSDM", "GMSDI")]
    beyond = [system.name for system in short if system.family == "beyond the papers"]
    assert beyond == [f"{name.removesuffix('-dirac')}-projected" for name in papers]


def test_a_family_is_no_part_of_what_a_system_is() -> None:
    nodes = config.load(["system=[mixture,oracle-irm]"]).systems
    usual = resolve_all(nodes)
    for node in nodes.values():
        node.family = None
    assert [system.family for system in resolve_all(nodes)] == ["", ""]
    assert [system.id for system in resolve_all(nodes)] == [system.id for system in usual]


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> audio.Samples:
    """The middle of a validation song in which all four play, ``[K, T]``."""
    cache = tmp_path_factory.mktemp("cache")
    dataset = build(config.load([f"cache={cache}", "dataset.songs.validation=3"]).dataset).split("validation")
    middles = []
    for track in dataset.manifest.tracks:
        stems = dataset.stems(track)
        start = (stems.shape[1] - CHUNK) // 2
        middles.append(stems[:, start : start + CHUNK])
    return max(middles, key=lambda stems: np.sqrt((stems**2).mean(axis=1)).min())


@pytest.mark.parametrize(
    "name", ["demucs", "demucs-gibbs", "weak-msdm-projected", "msdm-projected", "gmsdi-extractor-projected"]
)
@torch.inference_mode()
def test_they_separate(name: str, song: audio.Samples) -> None:
    """Better than the mixture, whose SI-SDRi is 0, on music that was not trained on; in a few steps, in float32."""
    steps = [f"sampling.{family}.projected.sigmas.steps=10" for family in ("weak-msdm", "msdm", "gmsdi-extractor")]
    separator = build(config.load([f"system=[{name}]", "sampling.bf16=false", *steps]).systems[name].separator)
    mixture = torch.from_numpy(audio.mixture(song))[None]
    found = separator.separate(Batch(mixture, SAMPLE_RATE, (1,)))[0].numpy()
    values = SiSDR()(list(found), list(song), SAMPLE_RATE)["active"].values
    assert np.nanmean(values) > 1


@torch.inference_mode()
def test_demucs_uses_the_sources_that_it_is_given(song: audio.Samples) -> None:
    """Each stem, from the mixture and all other stems, is nearer to the truth than from the mixture alone."""
    model = demucs.load(ROOT / "results/reference/checkpoints/demucs-mini.safetensors")
    sources = torch.from_numpy(song)[None]  # [1, K, T]
    mixture = sources.sum(dim=1)
    alone = model.alone(mixture)
    gains = []
    for k in range(len(STEMS)):
        given = torch.tensor([[place != k for place in range(len(STEMS))]])
        errors = [(found[0, k] - sources[0, k]).square().mean() for found in (alone, model(mixture, sources, given))]
        gains.append(10 * torch.log10(errors[0] / errors[1]).item())  # dB
    assert min(gains) > 1
    assert np.mean(gains) > 6
