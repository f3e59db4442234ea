"""``gmsdi train`` on a dataset of a few seconds: every model of ``configs/model``, its checkpoint, and what a kill leaves."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import cli
from benchmarks.data.msdm_layout import MsdmLayout
from gmsdi import SAMPLE_RATE, STEMS, audio
from gmsdi.checkpoint import Manifest
from gmsdi.denoiser import Denoiser
from gmsdi.errors import BadInputError
from gmsdi.model import build_encoder, load_denoiser
from gmsdi.train import CURVE, STATE

SPECTRAL = [f"+model.network.{value}" for value in ("window=64", "hop=32", "mapping=8")] + ["model.network.widths=[8]"]
WAVES = [
    f"+model.network.{value}"
    for value in (
        *("channels=16", "patch_factor=4", "multipliers=[1,1]", "factors=[2]", "num_blocks=[1]", "attentions=[true]"),
        *("attention_heads=1", "attention_features=4", "resnet_groups=4"),
    )
]
TRAINING = ["model.chunk=2048", "model.batch_size=4", "model.train.steps=4", "model.train.every=2"]
PAPER = {"msdm": STEMS} | {f"weak-{stem}": (stem,) for stem in STEMS}
MINI = {"gmsdi-mini": STEMS, "msdm-mini": STEMS, "weak-bass-mini": ("bass",)}


def choice(model: str) -> list[str]:
    """The overrides that choose a model by its name: those of single stems are one config."""
    family, _, rest = model.partition("-")
    stem, *size = rest.split("-")
    return [f"model={'-'.join(['weak', *size])}", f"model.stem={stem}"] if family == "weak" else [f"model={model}"]


@pytest.fixture
def songs(tmp_path: Path, noise: Callable[..., audio.Samples], write_track: Callable[..., Path]) -> Path:
    """Two songs to train on and one to validate on, of one second each."""
    for seed, song in enumerate(("train/Track1", "train/Track2", "validation/Track3")):
        stems = {stem: noise(10 * seed + k, SAMPLE_RATE) for k, stem in enumerate(STEMS)}
        write_track(tmp_path / "songs" / song, stems)
    return tmp_path / "songs"


@pytest.fixture
def arguments(songs: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """``arguments(model, folder, *overrides)``: those of ``gmsdi``, for a small training that keeps all it has in a folder."""

    def make(model: str, folder: str, *overrides: str) -> list[str]:
        data = ["dataset=msdm_layout", "dataset.title=Noise", f"data={songs}", f"cache={tmp_path / 'cache'}"]
        size = SPECTRAL if model.endswith("-mini") else WAVES
        return [
            *("train", *choice(model), *data, f"folder={tmp_path / folder}", "device=cpu", *TRAINING, *size),
            *overrides,
        ]

    return make


@pytest.fixture
def train(arguments: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """``train(model, folder, *overrides)``: train in this process; the path of the checkpoint."""

    def run(model: str, folder: str, *overrides: str) -> Path:
        given = arguments(model, folder, *overrides)
        monkeypatch.setattr(sys, "argv", ["/somewhere/gmsdi", *given])
        assert cli.main(given) == 0
        return tmp_path / folder / f"{model}.safetensors"

    return run


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, and other processes are to be compared with this one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load(path: Path, kind: str, stems: tuple[str, ...]) -> tuple[Denoiser, Manifest]:
    return load_denoiser(path, kind=kind, rate=SAMPLE_RATE, stems=stems)


def kind(model: str) -> str:
    return "weak-msdm" if model.startswith("weak") else model.removesuffix("-mini")


@pytest.mark.parametrize(("model", "stems"), MINI.items())
def test_a_checkpoint_is_loaded_and_its_manifest_says_how_it_was_made(
    train: Callable[..., Path], songs: Path, tmp_path: Path, model: str, stems: tuple[str, ...]
) -> None:
    path = train(model, "run", "model.train.seed=3")
    denoiser, manifest = load(path, kind(model), stems)
    embedding = build_encoder(manifest.config["text"]).encode(["bass"]) if "text" in manifest.config else None
    condition = {} if embedding is None else {"embedding": embedding}
    noisy = torch.randn(1, 4 if model == "msdm-mini" else 1, 2048)
    assert denoiser(noisy, torch.tensor([0.3]), **condition).isfinite().all()

    split = MsdmLayout("Noise", songs, tmp_path / "cache" / "manifests").split("train")
    made = manifest.training
    assert (manifest.step, manifest.training_data) == (4, split.manifest.digest)
    assert made["command"].startswith(f"gmsdi train {' '.join(choice(model))} dataset=msdm_layout")
    assert (made["model"], made["data"], made["seed"], made["chunk"]) == (model, "Noise train", 3, 2048)
    assert made["minutes"] >= 0
    assert "of" in made["machine"]
    assert [row["step"] for row in made["curve"]] == [2, 4]
    assert manifest.metrics["validation_loss"] == made["curve"][-1]["validation_loss"]
    assert (tmp_path / "run" / CURVE).read_text().count("\n") == 3


@pytest.mark.parametrize(("overrides", "said"), [([], "give model.stem="), (["model.stem=bas"], "did you mean bass?")])
def test_a_model_of_one_stem_needs_a_stem(
    arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], overrides: list[str], said: str
) -> None:
    given = [word for word in arguments("weak-bass-mini", "run", *overrides) if word != "model.stem=bass"]
    assert cli.main(given) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: model.stem") and said in line


def test_a_model_of_mixtures_is_judged_by_prompts_too(train: Callable[..., Path]) -> None:
    _, manifest = load(train("gmsdi-mini", "run"), "gmsdi", STEMS)
    assert manifest.config["embedding_features"] == 4
    assert {"validation_null-right@0.3", "validation_wrong-right@0.3"} < set(manifest.metrics)


@pytest.mark.parametrize(("model", "stems"), PAPER.items())
def test_the_models_of_the_papers_size_are_built_and_trained_when_made_small(
    train: Callable[..., Path], model: str, stems: tuple[str, ...]
) -> None:
    _, manifest = load(train(model, "run", "model.train.steps=2"), kind(model), stems)
    assert manifest.config["backbone"] == "UNet1d"
    assert manifest.config["in_channels"] == len(stems)
    assert manifest.training["bf16"]


def test_so_is_gmsdi_with_a_t5_and_its_network_has_a_null_prompt_of_its_own(
    train: Callable[..., Path], tiny_t5: Path
) -> None:
    encoder = [f"model.material.encoder.name_or_folder={tiny_t5}", "model.material.encoder.tokens=6"]
    denoiser, manifest = load(train("gmsdi", "run", "model.train.steps=2", *encoder), "gmsdi", STEMS)
    assert manifest.config["embedding_shape"] == [6, 16]
    assert denoiser.null is not None
    assert denoiser.null.shape == (6, 16)
    assert build_encoder(manifest.config["text"]).encode(["bass, drums"]).shape == (1, 6, 16)
    assert "validation_null-right@0.3" in manifest.metrics


def test_a_checkpoint_of_another_kind_or_stem_is_refused(train: Callable[..., Path]) -> None:
    path = train("weak-bass-mini", "run")
    with pytest.raises(BadInputError, match="of kind weak-msdm, where one of kind msdm is needed"):
        load(path, "msdm", STEMS)
    with pytest.raises(BadInputError, match="of bass, where drums is needed"):
        load(path, "weak-msdm", ("drums",))


def test_what_is_finished_is_not_trained_again_and_what_is_not_goes_on(
    train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = train("msdm-mini", "whole").read_bytes()
    capsys.readouterr()
    state = (tmp_path / "whole" / STATE).stat()
    assert train("msdm-mini", "whole").read_bytes() == whole
    assert (tmp_path / "whole" / STATE).stat().st_mtime_ns == state.st_mtime_ns
    assert "step 4" not in capsys.readouterr().err
    parts = train("msdm-mini", "parts", "+model.train.seconds=1e-9")
    assert load(parts, "msdm", STEMS)[1].step == 1
    assert train("msdm-mini", "parts").read_bytes() == whole


def test_the_folder_of_another_training_is_refused_in_one_line(
    train: Callable[..., Path], arguments: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    train("msdm-mini", "run")
    assert cli.main(arguments("msdm-mini", "run", "model.train.seed=9")) == 4
    assert "of a training with another seed" in capsys.readouterr().err.splitlines()[-1]


def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(
    train: Callable[..., Path], arguments: Callable[..., list[str]], tmp_path: Path, one_thread: None
) -> None:
    longer = ["model.train.steps=120", "model.train.every=20"]
    command = [sys.executable, "-m", "benchmarks.cli", *arguments("gmsdi-mini", "killed", *longer)]
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 240
        while not (tmp_path / "killed" / STATE).exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "gmsdi-mini.safetensors").exists()
    resumed, whole = train("gmsdi-mini", "killed", *longer), train("gmsdi-mini", "whole", *longer)
    assert resumed.read_bytes() == whole.read_bytes()


def test_two_processes_share_a_training(
    train: Callable[..., Path], arguments: Callable[..., list[str]], tmp_path: Path, one_thread: None
) -> None:
    """From an empty cache: the first alone indexes the songs and writes the mixtures."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    odd = "model.batch_size=5"
    command = [*launch, "benchmarks.cli", *arguments("gmsdi-mini", "shared", odd)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("mixing Noise train: 2/2") == done.stderr.count("wrote ") == 1
    shared, manifest = load(tmp_path / "shared" / "gmsdi-mini.safetensors", "gmsdi", STEMS)
    alone, _ = load(train("gmsdi-mini", "alone", odd), "gmsdi", STEMS)
    assert manifest.training["machine"].startswith("2 × ")
    for found, expected in zip(shared.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
