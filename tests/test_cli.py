"""The command line: what it prints, and one line and an exit code for everything that can be wrong with what it is given."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from baselines.bounds import Mixture
from benchmarks import cli, config
from benchmarks.metrics.pretrained import PANN, EnCodec, VGGish
from benchmarks.run import timings
from benchmarks.run.slurm.submissions import Submissions, Submitted
from benchmarks.store.store import Store
from gmsdi import SAMPLE_RATE, STEMS, audio, checkpoint
from gmsdi.errors import BadInputError

SMALL = [
    "system=[mixture,silence,oracle-irm]",
    "protocol.chunk=22050",
    "metrics.si_sdri.window=1.0",
    "metrics.si_sdri.hop=0.5",
]


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Three songs of four seconds in MSDM's layout; the second has no piano."""
    rng = np.random.default_rng(0)
    for song in ("Track1", "Track2", "Track3"):
        (tmp_path / "songs" / "test" / song).mkdir(parents=True)
        for stem in STEMS:
            if (song, stem) != ("Track2", "piano"):
                noise = 0.1 * rng.standard_normal((1, 4 * SAMPLE_RATE), dtype=np.float32)
                audio.write(tmp_path / "songs" / "test" / song / f"{stem}.wav", noise, SAMPLE_RATE)
    return tmp_path / "songs"


@pytest.fixture
def overrides(songs: Path, tmp_path: Path) -> list[str]:
    places = [f"data={songs}", f"store={tmp_path / 'store'}", f"cache={tmp_path / 'cache'}", f"out={tmp_path / 'out'}"]
    return ["dataset=msdm_layout", "dataset.title=Noise", *places, *SMALL]


def test_help_needs_neither_torch_nor_hydra() -> None:
    program = "import sys, benchmarks.cli; print(sorted({'torch', 'hydra', 'numpy', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_printing_the_config_does_not_wait_for_torch() -> None:
    program = "import sys; from benchmarks import cli; cli.main(['run', '--cfg', 'job']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "protocol:" in done.stdout and done.stdout.splitlines()[-1] == "False"


def test_the_table_of_the_bounds(overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", *overrides]) == 0
    capsys.readouterr()
    assert cli.main(["table", *overrides]) == 0
    printed = capsys.readouterr().out
    assert "Noise test" in printed
    assert "Mixture (no separation)" in printed
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"separation.{suffix}" for suffix in ("md", "csv", "tex", "json", "html", "svg", "png")
    }


def test_a_table_without_a_store_is_refused_and_writes_nothing(
    overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["table", *overrides]) == 2
    assert "run `gmsdi run`" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_table_of_an_unfinished_run_is_partial(
    overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store").mkdir()
    assert cli.main(["table", *overrides]) == 2
    assert "0/3" in capsys.readouterr().out
    assert cli.main(["table", *overrides, "allow_partial=true"]) == 0


def test_a_dry_run_says_what_is_missing_and_writes_nothing(
    overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timings, "SHIPPED", tmp_path / "no-timings.yaml")
    assert cli.main(["run", *overrides, "dry_run=true"]) == 0
    printed = capsys.readouterr().out
    size = 12 * 22_050 * 4 * 4
    assert f"{size:,}" in printed
    assert "unknown" in printed
    assert not (tmp_path / "store").exists()


def test_the_cost_of_a_new_song_is_estimated_from_timings(
    overrides: list[str], songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", *overrides]) == 0
    rng = np.random.default_rng(1)
    (songs / "test" / "Track4").mkdir()
    noise = 0.1 * rng.standard_normal((1, 4 * SAMPLE_RATE), dtype=np.float32)
    audio.write(songs / "test" / "Track4" / "bass.wav", noise, SAMPLE_RATE)
    audio.write(songs / "test" / "Track4" / "drums.wav", noise[:, ::-1], SAMPLE_RATE)
    capsys.readouterr()
    assert cli.main(["run", *overrides, "dry_run=true"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "mixture" in line)
    assert row.replace("│", " ").split()[1:3] == ["16", "4"]
    assert "unknown" not in row


def test_cfg_prints_the_composed_config(overrides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", *overrides, "--cfg", "job"]) == 0
    assert "chunk: 22050" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("system=[oracle]", "oracle-irm"),
        ("dataset=slak", "slakh2100"),
        ("metric=[si_sdr1]", "si_sdri"),
        ("sede=1", "seed"),
        ("systems.oracle-irm.separator.windw=1", "systems.oracle-irm.separator.window"),
        ("+systems.mixture.separator.gain=2", "gain"),
        ("keep_audio=mp3", "float32, flac, false"),
        ("batch_size=0", "batch_size"),
        ("batch_size=abc", "batch_size"),
        ("dry_run=maybe", "dry_run"),
        ("metrics.si_sdri.hop=5", "hop"),
        ("+metrics.si_sdri.windw=3", "windw"),
        ("protocol.chunk=0", "chunk"),
        ("device=tpu9", "device=tpu9"),
        ("system=[]", "system=["),
        ("+systems.mine.label=X", "separator"),
        ("sytem=[mixture]", "did you mean system or "),
        ("seed=x", "seed"),
        ("protocol.chunk=99999999", "no track holds a chunk"),
        ("split=tset", "tset"),
        ("data=/nowhere", "/nowhere"),
        ("system=[folder]", "estimates=DIR"),
        ("system", "override"),
        ("table=bsseval metric=[si_sdri]", "metric=[bsseval]"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_4(
    overrides: list[str], tmp_path: Path, override: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = "table" if override.startswith("table") else "run"
    (tmp_path / "store").mkdir()
    assert cli.main([verb, *overrides, *override.split()]) == 4
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]


@pytest.mark.parametrize(
    "words", [["runn"], ["run", "--force"], ["data", "verfy"], [], ["import-checkpoint", "a", "b", "c"]]
)
def test_a_wrong_verb_or_option_is_bad_input_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 4
    assert "--help" in capsys.readouterr().err


def test_a_checkpoint_of_msdm_is_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gmsdi.unet import UNet1d, UNetConfig

    lists = {"multipliers": [1, 2], "factors": [2], "num_blocks": [1], "attentions": [False]}
    small = {"channels": 16, "patch_factor": 4, "resnet_groups": 4, "attention_heads": 2, "attention_features": 8}
    network = UNet1d(UNetConfig(4, **small, **{name: tuple(values) for name, values in lists.items()}))
    lightning = {
        "state_dict": {f"model.unet.{name}": tensor for name, tensor in network.state_dict().items()},
        "hyper_parameters": {"in_channels": 4, "diffusion_sigma_data": 0.2, "patch_blocks": 1, **small, **lists},
        "epoch": 1,
        "global_step": 10,
    }
    torch.save(lightning, tmp_path / "msdm.ckpt")
    assert cli.main(["import-checkpoint", str(tmp_path / "msdm.ckpt"), str(tmp_path / "msdm.safetensors")]) == 0
    assert "msdm" in capsys.readouterr().out
    imported = checkpoint.load(tmp_path / "msdm.safetensors", kind="msdm", rate=SAMPLE_RATE)
    checkpoint.load_into(network, imported)


def test_a_subset_of_songs_is_scored_and_the_table_counts_it(
    overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stem in STEMS:
        samples = np.zeros((1, 4 * SAMPLE_RATE), dtype=np.float32)
        for song in ("Track1", "Track2"):
            (tmp_path / "estimates" / song).mkdir(parents=True, exist_ok=True)
            audio.write(tmp_path / "estimates" / song / f"{stem}.wav", samples, SAMPLE_RATE)
    folder = [*overrides, "system=[mixture,folder]", f"estimates={tmp_path / 'estimates'}"]
    assert cli.main(["run", *folder]) == 0
    assert "not Track3" in capsys.readouterr().err
    assert cli.main(["table", *folder]) == 2
    assert "2/3" in capsys.readouterr().out
    assert cli.main(["table", *folder, "allow_partial=true"]) == 0


def test_a_damaged_output_is_made_again(
    overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", *overrides]) == 0
    wav = next((tmp_path / "store" / "audio").rglob("bass.wav"))
    sound = wav.read_bytes()
    wav.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    capsys.readouterr()
    assert cli.main(["run", *overrides]) == 0
    assert "changed since it was written" in capsys.readouterr().err
    assert wav.read_bytes() == sound


def test_data_prepare_prints_the_digest(overrides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "prepare", *overrides]) == 0
    assert "3 songs" in capsys.readouterr().out


def test_data_verify_finds_a_changed_file(
    overrides: list[str], songs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "verify", *overrides]) == 0
    path = songs / "test" / "Track1" / "bass.wav"
    samples, rate = audio.read(path)
    audio.write(path, np.full_like(samples, np.nan), rate)
    capsys.readouterr()
    assert cli.main(["data", "verify", *overrides]) == 2
    captured = capsys.readouterr()
    assert "NaN" in captured.out + captured.err


def test_doctor_says_what_works(overrides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", *overrides]) == 0
    assert "SoundFont" in capsys.readouterr().out


def test_doctor_says_what_embedders_lack_and_whether_files_are_what_their_names_say(
    overrides: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "1500")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def row(embedder: str) -> str:
        assert cli.main(["doctor", *overrides]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if f"embedder {embedder} " in line)

    assert "ok" in row("logmel") and "needs no files" in row("logmel")
    hubconf, weights, pca = VGGish().files
    assert "3 of 3 files missing" in row("vggish")
    for path in (hubconf, weights, pca):
        assert f"put there: {path}" in row("vggish")
    for path in (hubconf, weights, pca):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"other")
    found = row("vggish")
    assert "extra" in found and f"{weights}: sha256 does not begin with 10086976" in found
    assert f"{pca}: sha256 does not begin with 970ea276" in found and "put there" not in found
    assert "1 of 1 files missing" in row("pann")
    PANN().files[0].write_bytes(b"other")
    assert "ok" in row("pann") and "sha256 unknown" in row("pann")
    # a file whose content is what the name says: the sha256 of "other", which no published file has
    named = EnCodec().files[0]
    begin = hashlib.sha256(b"other").hexdigest()[:8]
    monkeypatch.setitem(EnCodec.NAMES, 24_000, f"encodec-{begin}.th")
    (named.parent / f"encodec-{begin}.th").write_bytes(b"other")
    assert "ok" in row("encodec") and f"sha256 as the names of encodec-{begin}.th begin it" in row("encodec")


def test_doctor_misses_weights_where_a_system_needs_them(
    overrides: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert cli.main(["doctor", *overrides, "weights=mini", "system=[gmsdi-separator]"]) == 0
    assert "7 checkpoints: gmsdi, msdm, weak-msdm, demucs" in capsys.readouterr().out
    assert cli.main(["doctor", *overrides, "weights.gmsdi=gone.safetensors", "system=[gmsdi-separator]"]) == 4
    assert "gone.safetensors: no such checkpoint" in capsys.readouterr().out


@pytest.fixture
def handed_over(overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The config of a submission to Slurm of long ago, in the store."""
    assert cli.main(["run", *overrides, "launcher=slurm", "--cfg", "job"]) == 0
    file = tmp_path / "store" / "slurm" / "gmsdi-1" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(capsys.readouterr().out)
    Submissions(Store(tmp_path / "store")).record([Submitted("1", "gmsdi-1", "log", ("unit",))])
    return file


@pytest.mark.parametrize("override", ["system=[mixture]", "batch_size=8", "keep_audio=false", "device=cpu", "data=/no"])
def test_resume_refuses_what_it_would_not_heed(
    handed_over: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    assert cli.main(["resume", f"store={tmp_path / 'store'}", override, "dry_run=true"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {override}: resume goes on as the last submission was configured")


def test_a_dry_run_of_resume_says_what_is_missing_and_submits_nothing(
    handed_over: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["resume", f"store={tmp_path / 'store'}", "launcher.minutes=480", "dry_run=true"]) == 0
    assert f"{12 * 22_050 * 4 * 4:,}" in capsys.readouterr().out
    assert list((tmp_path / "store").iterdir()) == [tmp_path / "store" / "slurm"]


def test_a_stored_config_that_this_code_does_not_understand_is_named(
    handed_over: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = handed_over.read_text()
    for text, why in {
        f"{good}gone: 1\n": "Key 'gone' not in 'Settings'",
        good.replace("seed: 0", "seed: many"): "seed: Value 'many'",
        good.replace("split: test\n", ""): "has no split",
        f"{good}: [": "cannot be read",
        "- 1\n": "cannot be read",
        "": "has no dataset",
    }.items():
        handed_over.write_text(text)
        assert cli.main(["resume", f"store={tmp_path / 'store'}", "dry_run=true"]) == 4
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {handed_over}: ") and why in line


def test_cancel_without_a_submission_says_so_and_creates_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["cancel", f"store={tmp_path / 'typo'}"]) == 4
    assert "nothing was given to Slurm from this store" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Configs of a person's own, in a folder whose name is not easy to quote: a system, a dataset, and what is usual for it."""
    own = tmp_path / 'it\'s, my=own "configs"'
    for name, text in {
        "system/halves": "# @package systems.halves\nlabel: Half\nseparator: {_target_: baselines.bounds.Mixture}\n",
        "dataset/loud": "# @package _global_\ndefaults: [msdm_layout, _self_]\ndataset: {title: Loud}\nusual: {protocol: short}\n",
        "protocol/short": "defaults: [quick, _self_]\nname: short\nchunk: 22050\n",
    }.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / f"{name}.yaml").write_text(text)
    return own


def test_configs_of_a_persons_own_are_found_beside_those_that_ship(
    mine: Path, songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"data={songs}", f"store={tmp_path / 'store'}", f"cache={tmp_path / 'cache'}", f"out={tmp_path / 'out'}"]
    words = ["--config-dir", str(mine), *places, "dataset=loud", "system=[mixture,halves]", "table=separation"]
    words += ["metrics.si_sdri.window=1.0", "metrics.si_sdri.hop=0.5"]
    assert cli.main(["run", *words]) == 0
    capsys.readouterr()
    assert cli.main(["table", *words]) == 0
    printed = capsys.readouterr().out
    assert "Loud test" in printed and "protocol short" in printed and "Half" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["system=[halve]"], "unknown system 'halve'; did you mean halves"),
        (["system=[oracle]"], "oracle-irm"),
        (["system=[halves]", "systems.halves.separator.gain=1"], "systems.halves.separator"),
    ],
)
def test_near_names_are_of_both(mine: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert cli.main(["run", f"--config-dir={mine}", *words]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_folder_of_configs_that_would_not_be_seen_is_refused(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hidden = mine / "system" / "mixture.yaml"
    hidden.write_text("")
    assert cli.main(["run", f"--config-dir={mine}", "--cfg", "job"]) == 4
    assert cli.main(["run", f"--config-dir={mine / 'gone'}", "--cfg", "job"]) == 4
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"error: {hidden}: gmsdi has its own system/mixture.yaml")
    assert second == f"error: --config-dir {mine / 'gone'}: there is no such folder"


def test_hydras_own_settings_are_no_keys_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "hydra.verbose=true", "--cfg", "job"]) == 4
    assert "unknown key 'hydra.verbose'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "protocol", "sampling"),
    [
        ([], "quick", True),
        (["protocol=full"], "full", True),
        (["dataset=slakh2100", "data=/data"], "msdm", False),
        (["dataset=slakh2100", "data=/data", "sampling=mini"], "msdm", True),
    ],
)
def test_what_is_usual_for_a_dataset_is_taken_unless_another_is_chosen(
    overrides: list[str], protocol: str, sampling: bool
) -> None:
    composed = config.load(overrides)
    assert (composed.protocol.name, composed.sampling.bf16) == (protocol, sampling)


@pytest.mark.parametrize("sizes", ["mini", "paper"])
@pytest.mark.parametrize("key", ["sampling.weak-msdm.dirac.sigmas.steps", "generation.weak-msdm.sampler.churn"])
def test_an_override_changes_one_copy_of_settings_that_are_written_once(key: str, sizes: str) -> None:
    """The yamls repeat schedules and samplers by anchors; each system has its own all the same."""
    choices = ["table=subfad", f"sampling={sizes}", f"generation={sizes}"]
    usual, other = (flat(config.load([*choices, *more])) for more in ([], [f"{key}=7"]))
    changed = {name for name in usual if usual[name] != other[name]}
    assert {name for name in changed if not name.endswith(".label")} == {key}


def flat(node: Any, key: str = "") -> dict[str, Any]:
    """The leaves of a config by their dotted keys; interpolations as they are written."""
    content = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node
    if not isinstance(content, dict):
        return {key: content}
    return {
        name: leaf
        for child, value in content.items()
        for name, leaf in flat(value, f"{key}.{child}".strip(".")).items()
    }


@pytest.mark.parametrize(
    ("overrides", "name", "label"),
    [
        (["systems.msdm-mean.separator.samples=2"], "msdm-mean", "MSDM, projected, mean of 2"),
        (["sampling.demucs-gibbs.steps=3"], "demucs-gibbs", "Demucs + Gibbs (3 steps)"),
        (["sampling.msdm.dirac.sampler.churn=7"], "msdm-dirac", "MSDM, Dirac, churn=7"),
        (["sampling.msdm.dirac.sampler.churn=7"], "msdm-projected", "MSDM, projected"),
        (["systems.msdm-dirac.separator.bf16=false"], "msdm-dirac", "MSDM, Dirac, bf16=false"),
        (["weights.msdm=other.safetensors"], "msdm-dirac", "MSDM, Dirac"),
        (["systems.msdm-dirac.label=Mine", "sampling.msdm.dirac.sampler.churn=7"], "msdm-dirac", "Mine"),
        (["seed=3", "batch_size=1"], "msdm-dirac", "MSDM, Dirac"),
        (["+systems.mine={label: Mine, separator: {_target_: baselines.bounds.Mixture}}"], "mine", "Mine"),
    ],
)
def test_a_label_says_what_was_changed(overrides: list[str], name: str, label: str) -> None:
    assert config.load(["table=separation-all", *overrides]).systems[name].label == label


@pytest.mark.parametrize("target", ["os.system", "subprocess.run", "builtins.eval", "torch.hub.load", "nowhere.at.all"])
def test_a_config_from_a_file_calls_nothing_foreign(target: str) -> None:
    """What a person types may name anything; a file may have been edited."""
    node = {"systems": {"a": {"separator": {"_target_": "baselines.bounds.Mixture", "more": [{"_target_": target}]}}}}
    with pytest.raises(BadInputError, match=f"config.yaml: .*{target.split('.')[0]}"):
        config.require_own_targets(node, "config.yaml")


def test_a_config_from_a_file_may_have_systems_of_a_persons_own_and_what_lies_beside_them() -> None:
    config.require_own_targets({"a": {"_target_": "test_cli.Own"}, "b": {"_target_": "test_cli.flat"}}, "config.yaml")


class Own(Mixture):
    """A person's own system."""
