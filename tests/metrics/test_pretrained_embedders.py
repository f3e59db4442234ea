"""The embedders of the field's library: the real library with random weights where it looks for the official ones, and its numbers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from benchmarks.config import CONFIGS
from benchmarks.metrics import fad_library, pretrained
from benchmarks.metrics.embedders import Embedder
from benchmarks.metrics.pretrained import CLAP, PANN, EnCodec, VGGish
from benchmarks.perf import random_vggish
from gmsdi import SAMPLE_RATE, audio
from gmsdi.errors import BadInputError

ROUNDING = 5e-5
"""Of float32 in networks whose sums have some 5 · 10⁴ terms from end to end (VGGish: 12288 + 2 · 4096 after six convolutions of up to
4608), relative to the largest number: four times ε √(5 · 10⁴) = 1.3e-5.
"""

SWITCHES = [(False, False), (False, True), (True, False), (True, True)]


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A TORCH_HOME with a VGGish of random weights."""
    folder = tmp_path_factory.mktemp("torch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(folder))
        random_vggish.lay_out()
        yield folder


def assert_same(found: npt.ArrayLike, expected: npt.NDArray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())


def music(seconds: float, rate: int, seed: int = 0) -> audio.Samples:
    """Noise and tones whose loudness changes."""
    random = np.random.default_rng(seed)
    at = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * pitch * at) for pitch in random.uniform(100, 3000, 4))
    loudness = 0.02 + 0.2 * np.abs(np.sin(2 * np.pi * 0.4 * at))
    return (loudness * (0.2 * tones + 0.1 * random.standard_normal(len(at)))).astype(np.float32)


@pytest.mark.parametrize(("pca", "activation"), SWITCHES)
def test_vggish_has_the_embeddings_of_the_library(home: Path, tmp_path: Path, pca: bool, activation: bool) -> None:
    """Of the files that the library itself reads and resamples, with its own loop."""
    files = []
    for number, (seconds, rate) in enumerate([(3.1, 16_000), (5.0, SAMPLE_RATE), (20.0, SAMPLE_RATE), (1.0, 44_100)]):
        files.append(tmp_path / f"{number}.wav")
        audio.write(files[-1], music(seconds, rate, number)[None], rate)
    theirs = fad_library.load("vggish", use_pca=pca, use_activation=activation)
    read = fad_library.module().load_audio_task
    ours = VGGish(pca=pca, activation=activation)
    for path in files:
        heard = read(str(path), 16_000, 1)
        expected = theirs.model.forward(heard, 16_000).detach().numpy().reshape(-1, 128)  # one alone lacks n
        if len(expected) > 1:
            np.testing.assert_array_equal(theirs.get_embeddings([heard], 16_000), expected)
        samples, rate = audio.read(path)
        found = ours.embed(samples[0], rate)
        assert found.dtype == torch.float64 and found.shape == expected.shape
        assert expected.std() > 0.1  # the network does hear something
        if pca:  # rounded to whole numbers, so a value that is nearly half of one can go either way
            difference = np.abs(found.numpy() - expected)
            assert difference.max() <= 1 and (difference > 0).mean() < 1e-2
        else:
            assert_same(found.numpy(), expected)


def test_the_switches_do_what_they_say(home: Path) -> None:
    samples = music(4, 16_000)
    plain, activated, whitened = (
        VGGish(**switch).embed(samples, 16_000) for switch in ({}, {"activation": True}, {"pca": True})
    )
    assert (plain < 0).any()
    torch.testing.assert_close(activated, plain.clamp(min=0))
    assert whitened.min() >= 0 and whitened.max() <= 255 and torch.equal(whitened, whitened.round())


def test_the_signature_says_all_that_vggish_depends_on(home: Path) -> None:
    signatures = {VGGish(pca=pca, activation=activation).signature for pca, activation in SWITCHES}
    assert len(signatures) == 4
    _, weights, whitening = VGGish().files
    for signature in signatures:
        for part in ("vggish|frechet-audio-distance:0.3.4|rate:16000|", f"weights:{audio.file_sha256(weights)[:16]}|"):
            assert part in signature
        assert (audio.file_sha256(whitening)[:16] in signature) == ("pca:on" in signature)


def test_other_weights_or_code_are_another_signature(empty_home: Path) -> None:
    hubconf, weights, whitening = VGGish().files
    for path in (hubconf, weights, whitening):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"one")
    before = VGGish(pca=True).signature
    for path in (hubconf, weights, whitening):
        path.write_bytes(b"two")
        os.utime(path, ns=(0, 0))
        after = VGGish(pca=True).signature
        assert after != before, path
        before = after


@pytest.mark.parametrize("gone", range(3))
def test_a_missing_file_is_told_with_the_path_where_it_goes(home: Path, gone: int) -> None:
    path = VGGish().files[gone]
    away = path.rename(path.with_suffix(".away"))
    try:
        for use in (lambda: VGGish().signature, lambda: VGGish().embed(music(2, 16_000), 16_000)):
            with pytest.raises(BadInputError, match=rf"vggish needs {path}: not there; it is from harritaylor"):
                use()
    finally:
        away.rename(path)


def test_nothing_is_downloaded(home: Path) -> None:
    """Even where the hub's code asks for a file that is not among those of today."""
    path = VGGish().files[1]
    away = path.rename(path.with_suffix(".away"))
    try:
        with pytest.raises(BadInputError, match=rf"{path}: not there; fetch https://.*for nothing is downloaded"):
            fad_library.load("vggish")
    finally:
        away.rename(path)


def test_damaged_weights_are_one_line(home: Path) -> None:
    path = VGGish().files[1]
    away = path.rename(path.with_suffix(".away"))
    path.write_bytes(away.read_bytes()[:1000])
    try:
        with pytest.raises(BadInputError, match="vggish: frechet-audio-distance cannot load it") as raised:
            VGGish().embed(music(2, 16_000), 16_000)
        assert "\n" not in str(raised.value)
    finally:
        away.replace(path)


def test_weights_that_are_not_the_official_ones_are_warned_of(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretrained.warn.cache_clear()
    VGGish().embed(music(2, 16_000), 16_000)
    out, err = capsys.readouterr()
    assert f"{VGGish().files[1]}: sha256 does not begin with 10086976: not the official weights of vggish" in err
    assert out == ""


def test_what_is_no_audio_is_refused(home: Path) -> None:
    samples = music(2, 16_000)
    with pytest.raises(BadInputError, match=r"audio of 0\.97 s is too short for vggish, which needs 0\.97 s"):
        VGGish().embed(samples[:15_599], 16_000)
    assert VGGish().embed(samples[:15_600], 16_000).shape == (1, 128)
    samples[8_000] = np.nan
    with pytest.raises(BadInputError, match=r"audio for vggish: NaN or infinite samples, the first at 0\.500 s"):
        VGGish().embed(samples, 16_000)


def test_an_example_does_not_depend_on_what_follows(home: Path) -> None:
    samples = music(24, 16_000)
    whole, part = VGGish().embed(samples, 16_000), VGGish().embed(samples[: 5 * 16_000], 16_000)
    assert_same(whole[: len(part)].numpy(), part.numpy())


IMPORTED_QUIETLY = """
import os, socket, sys
def refuse(*args): raise SystemExit("went online")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import numpy, torch
from benchmarks.metrics.pretrained import VGGish
state = dict(os.environ), list(sys.path), list(sys.argv), torch.hub.load, torch.hub.download_url_to_file
found = VGGish().embed(numpy.zeros(32000, dtype=numpy.float32), 16000)
assert found.shape == (2, 128)
assert state == (dict(os.environ), list(sys.path), list(sys.argv), torch.hub.load, torch.hub.download_url_to_file)
left = {name.split(".")[0] for name in sys.modules} & {"frechet_audio_distance", "laion_clap", "torchvggish"}
assert not left, left
"""


def test_a_process_without_internet_embeds_and_is_left_as_it_was(home: Path) -> None:
    subprocess.run([sys.executable, "-c", IMPORTED_QUIETLY], check=True, timeout=120)


def test_a_library_that_was_imported_before_stays_what_it_was(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {name: object() for name in ("frechet_audio_distance", "frechet_audio_distance.fad", "laion_clap")}
    for name, module in mine.items():
        monkeypatch.setitem(sys.modules, name, module)
    fad_library.module.cache_clear()
    assert fad_library.module().FrechetAudioDistance.__name__ == "FrechetAudioDistance"
    assert {name: sys.modules[name] for name in mine} == mine


def test_encodec_has_the_embeddings_of_the_library(empty_home: Path) -> None:
    """Both models, of which the larger hears two channels."""
    from encodec import EncodecModel

    torch.manual_seed(0)
    for rate, make in ((24_000, EncodecModel.encodec_model_24khz), (48_000, EncodecModel.encodec_model_48khz)):
        ours = EnCodec(rate=rate)
        ours.files[0].parent.mkdir(parents=True, exist_ok=True)
        torch.save(make(pretrained=False).state_dict(), ours.files[0])
        samples = music(2, rate)
        theirs = fad_library.load("encodec", sample_rate=rate, channels=ours.arguments["channels"])
        found = ours.embed(samples, rate)
        assert_same(found, theirs.get_embeddings([samples], rate))
        assert found.shape == (rate * 2 // 320, 128)


def test_pann_has_the_embeddings_of_the_library(empty_home: Path) -> None:
    """Each piece of longer audio is embedded as if it were alone, and an end that fills none is left out."""
    ours = PANN(rate=8_000, piece=2.0)
    torch.manual_seed(0)
    network = fad_library.module().Cnn14_8k(
        sample_rate=8_000, window_size=256, hop_size=80, mel_bins=64, fmin=50, fmax=4_000, classes_num=527
    )
    ours.files[0].parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": network.state_dict()}, ours.files[0])
    theirs = fad_library.load("pann", sample_rate=8_000)
    samples = music(5, 8_000)
    pieces = [samples[:16_000], samples[16_000:32_000]]
    found = ours.embed(samples, 8_000)
    expected = theirs.get_embeddings(pieces, 8_000).reshape(2, 2048)
    assert_same(found, expected)
    short = ours.embed(samples[:12_000], 8_000)
    assert_same(short[0], theirs.get_embeddings([samples[:12_000]], 8_000).reshape(2048))


@pytest.mark.parametrize("wrong", [lambda: PANN(rate=44_100), lambda: EnCodec(rate=16_000), lambda: CLAP("other")])
def test_a_model_that_there_is_not_is_refused_with_those_that_there_are(wrong) -> None:
    with pytest.raises(BadInputError, match="is none of"):
        wrong()


@pytest.mark.parametrize("embedder", [VGGish(), PANN(), EnCodec(), CLAP()], ids=lambda embedder: embedder.name)
def test_without_files_each_says_what_it_needs(empty_home: Path, embedder: pretrained.Pretrained) -> None:
    with pytest.raises(BadInputError, match=rf"{embedder.name} needs {empty_home}/hub/.*: not there; it is from "):
        embedder.embed(music(2, 16_000), 16_000)


@pytest.mark.parametrize("path", sorted((CONFIGS / "embedder").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_config_is_an_embedder_with_its_defaults(path: Path) -> None:
    node = OmegaConf.load(path)
    embedder = instantiate(node)
    assert isinstance(embedder, Embedder)
    assert embedder == type(embedder)()
    assert path.read_text(encoding="utf-8").startswith("# @package embedder\n")


CLAP_OF_RANDOM_WEIGHTS = """
import json, sys
import numpy as np, torch
from transformers import RobertaConfig, RobertaModel
from benchmarks.metrics import fad_library
from benchmarks.metrics.pretrained import CLAP

main = fad_library.language_model()
snapshot = main.parent.parent / "snapshots" / "one"
snapshot.mkdir(parents=True)
main.parent.mkdir()
main.write_text("one")
torch.manual_seed(0)
RobertaModel(RobertaConfig(vocab_size=8, num_hidden_layers=1, intermediate_size=16)).save_pretrained(snapshot)
words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "b", "c"]
(snapshot / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
(snapshot / "merges.txt").write_text("#version: 0.2\\n")

sys.argv.append("embedder=clap")  # laion_clap reads the command line as its own, and knows no such argument
ours = CLAP()
with fad_library._offline(True):
    theirs = fad_library.module(clap=True).laion_clap.CLAP_Module(amodel="HTSAT-base", device="cpu")
ours.files[0].parent.mkdir(parents=True)
state = {f"module.{name}": value for name, value in theirs.model.state_dict().items()}
torch.save({"epoch": 1, "loss": np.float64(0.5), "state_dict": state}, ours.files[0])

rate = 22050
samples = (0.1 * np.random.default_rng(0).standard_normal(25 * rate)).astype(np.float32)
found = ours.embed(samples, rate)
assert found.shape == (2, 512), found.shape
from benchmarks.metrics import kaiser_best
heard = kaiser_best.resample(samples, rate, 48000)
pieces = np.stack([heard[:480000], heard[480000:960000]])
with torch.inference_mode():
    expected = theirs.get_audio_embedding_from_data(pieces)
np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
assert np.abs(expected[0] - expected[1]).max() > 1e-4
assert torch.equal(ours.embed(samples, rate), found)  # no part of the audio is chosen at random
assert ours.embed(samples[: 3 * rate], rate).shape == (1, 512)
assert sys.argv[-1] == "embedder=clap"
print(ours.signature)
"""


@pytest.mark.slow
def test_clap_has_the_embeddings_of_its_model(tmp_path: Path) -> None:
    """The whole model with random weights, and a language model of one layer in the cache of the model hub's client."""
    places = {"TORCH_HOME": str(tmp_path / "torch"), "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(
        [sys.executable, "-c", CLAP_OF_RANDOM_WEIGHTS], env={**os.environ, **places}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    weights = audio.file_sha256(tmp_path / "torch" / "hub" / CLAP.NAMES["music_audioset"])[:16]
    assert done.stdout.splitlines()[-1].startswith("clap|frechet-audio-distance:0.3.4|rate:48000|resample:kaiser_best|")
    assert f"|weights:{weights}|" in done.stdout
