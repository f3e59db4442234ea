"""The embedders of the literature, made by the pinned library ``frechet-audio-distance`` from weights on this machine.

Audio is prepared as in that library (mono, resampy's ``kaiser_best``), so the embeddings of a file are the library's, with three
exceptions. A failure is an error; the library's own loop ends at the first and returns what it has. PANN and CLAP embed pieces of ten
seconds; the library makes one embedding of longer audio, in CLAP's case of a random part. PANN's embeddings stay rows; the library
joins them to one long row, which has no covariance.
"""

import hashlib
import re
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from benchmarks.metrics import fad_library, kaiser_best
from benchmarks.metrics.embedders import Embedder
from benchmarks.notices import warn
from gmsdi import audio, files
from gmsdi.errors import BadInputError, IntegrityError

DIGITS = 16
"""Digits of a sha256 in a signature."""


def official(path: Path) -> str:
    """The first digits of a sha256 that a file's name tells, as torch.hub has it (``vggish-10086976.pth``); "" if it tells none."""
    found = re.search(r"-([0-9a-f]{8})\.\w+$", path.name)
    return found[1] if found else ""


def strange(path: Path) -> str:
    """The complaint about a file whose sha256 contradicts its name; "" for any other file."""
    begin = official(path)
    return "" if not begin or digest(path).startswith(begin) else f"{path}: sha256 does not begin with {begin}"


def digest(path: Path) -> str:
    """The sha256 of a file, or of all Python code below a folder."""
    if path.is_dir():
        found = hashlib.sha256()
        for file in sorted(path.rglob("*.py")):
            found.update(f"{file.relative_to(path).as_posix()} {files.sha256(file)}\n".encode())
        return found.hexdigest()
    return files.sha256(path)


class Pretrained(Embedder):
    """A model of the library. Weights are read on first use; a missing file is a ``BadInputError`` then, which says where it goes."""

    name: ClassVar[str]
    shortest: ClassVar[float] = 1.0  # s

    rate: int  # Hz; what the model hears

    @property
    @abstractmethod
    def options(self) -> str:
        """What else its embeddings depend on, for the signature."""

    @property
    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """The arguments of the library's constructor, beside model and rate."""

    @abstractmethod
    def _embed(self, heard: Tensor) -> Tensor:
        """The embeddings ``[n, d]`` of audio ``[T]`` at the model's rate, on the model's device."""

    @cached_property
    def signature(self) -> str:
        hashes = "|".join(f"{kind}:{found[:DIGITS]}" for kind, found in self.hashes.items())
        return (
            f"{self.name}|{fad_library.signature()}|rate:{self.rate}|resample:kaiser_best|{self.options}|{hashes}|v:1"
        )

    @cached_property
    def hashes(self) -> dict[str, str]:
        """The sha256 of what decides the embeddings, by its role. What is loaded later has to be the same."""
        self._require_files()
        return {kind: digest(path) for kind, path in self.identity.items()}

    @property
    def identity(self) -> dict[str, Path]:
        """The files, or folders of code, whose content decides the embeddings, by their role."""
        return {"weights": self.files[0]}

    def embed(self, samples: audio.Samples, rate: int) -> Tensor:
        audio.require_finite(samples[None], rate, f"audio for {self.name}")
        heard = torch.from_numpy(kaiser_best.resample(samples, rate, self.rate))
        if len(heard) < round(self.shortest * self.rate):
            raise BadInputError(
                f"audio of {len(samples) / rate:.2f} s is too short for {self.name}, which needs {self.shortest:.2f} s"
            )
        with torch.inference_mode():
            found = self._embed(heard.to(self._device)).double().cpu()
        if not found.isfinite().all():
            raise BadInputError(f"{self.name}: embeddings with NaN or infinite values; its weights may be damaged")
        return found.clone()

    @cached_property
    def _model(self) -> Any:
        self._require_files()
        for path in self.files:
            if path.is_file() and (wrong := strange(path)):
                warn(f"{wrong}: not the official weights of {self.name}")
        self._require_hashes()  # before: some of it is code, which loading runs
        model = fad_library.load(self.name, sample_rate=self.rate, **self.arguments).model
        self._require_hashes()
        return model

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self._model.parameters()).device
        return device

    def _require_hashes(self) -> None:
        for kind, path in self.identity.items():
            if not path.exists() or digest(path) != self.hashes[kind]:
                raise IntegrityError(f"{path}: is not what it was when the run was planned; put it back, or run again")

    def _require_files(self) -> None:
        for path in self.files:
            if not path.exists():
                raise BadInputError(f"{self.name} needs {path}: not there; it is from {self.source}")


@dataclass(frozen=True)
class VGGish(Pretrained):
    """VGGish (Hershey et al., ICASSP 2017), the embedder of most papers' FAD: one embedding of 128 features every 0.96 s.

    ``pca`` adds whitening and rounding to 8 bits, ``activation`` the last ReLU, which Google's model lacks; the papers have neither.
    The network and its weights are the library's; the bands before it are computed here, for the whole of an audio at once.
    """

    name = "vggish"
    features = 128
    shortest = 0.975  # 96 windows
    rate = 16_000
    source = "harritaylor/torchvggish on GitHub: its master branch unpacked, and the files of its release v0.1"

    WINDOW: ClassVar[int] = 400  # samples
    HOP: ClassVar[int] = 160  # samples
    TRANSFORM: ClassVar[int] = 512
    FRAMES: ClassVar[int] = 96  # of an embedding
    BANDS: ClassVar[int] = 64
    BATCH: ClassVar[int] = 16  # examples whose activations stay in a CPU's cache

    pca: bool = False
    activation: bool = False

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, whatever the switches are: the library loads VGGish with its PCA, and may remove that afterwards."""
        checkpoints = fad_library.hub() / "checkpoints"
        return (
            fad_library.vggish_code() / "hubconf.py",
            checkpoints / "vggish-10086976.pth",
            checkpoints / "vggish_pca_params-970ea276.pth",
        )

    @property
    def identity(self) -> dict[str, Path]:
        hubconf, weights, pca = self.files
        return {"weights": weights, "code": hubconf.parent, **({"pca-weights": pca} if self.pca else {})}

    @property
    def options(self) -> str:
        return f"pca:{_switch(self.pca)}|activation:{_switch(self.activation)}"

    @property
    def arguments(self) -> dict[str, Any]:
        return {"use_pca": self.pca, "use_activation": self.activation}

    def _embed(self, heard: Tensor) -> Tensor:
        convolved = self.convolve(self.examples(heard))
        found: Tensor = self._model.embeddings(convolved.permute(0, 2, 3, 1).flatten(1))
        if self._model.postprocess:
            found = self._model.pproc.postprocess(found).reshape(-1, self.features)  # a single one comes back without n
        return found

    def examples(self, heard: Tensor) -> Tensor:
        """Log-mel bands ``[n, 1, frames, bands]`` of audio ``[T]``, computed in float64; the last, partial example is left out."""
        windows = heard.double().unfold(0, self.WINDOW, self.HOP)  # [frames, window]
        windows = windows[: len(windows) // self.FRAMES * self.FRAMES]
        hann = torch.hann_window(self.WINDOW, dtype=windows.dtype, device=heard.device)
        spectrum = torch.fft.rfft(windows * hann, self.TRANSFORM).abs()
        levels = (spectrum @ self._filters.to(heard.device) + 0.01).log()
        return levels.unflatten(0, (-1, 1, self.FRAMES)).float()

    @torch.inference_mode()
    def convolve(self, examples: Tensor) -> Tensor:
        """``[n, channels, time, band]`` of all examples, a few at a time."""
        pieces = examples.contiguous(memory_format=torch.channels_last).split(self.BATCH)
        return torch.cat([self._features(piece) for piece in pieces])

    @cached_property
    def _features(self) -> Any:
        """The convolutions with channels last in memory, which is faster on a CPU."""
        return self._model.features.to(memory_format=torch.channels_last)

    @cached_property
    def _filters(self) -> Tensor:
        """Triangles from 125 to 7500 Hz whose sides are straight in mel, ``[transform / 2 + 1, bands]``."""

        def mel(frequencies: Tensor) -> Tensor:
            return 1127 * (1 + frequencies / 700).log()

        limits = mel(torch.tensor([125.0, 7500.0], dtype=torch.float64))
        edges = torch.linspace(float(limits[0]), float(limits[1]), self.BANDS + 2, dtype=torch.float64)
        low, centre, high = edges[:-2], edges[1:-1], edges[2:]
        bins = mel(torch.linspace(0, self.rate / 2, self.TRANSFORM // 2 + 1, dtype=torch.float64))[:, None]
        return torch.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clamp(min=0)


@dataclass(frozen=True)
class PANN(Pretrained):
    """CNN14 of the PANNs (Kong et al., TASLP 2020): one embedding of 2048 features for each ``piece`` of audio.

    Audio shorter than a piece has one embedding; of longer audio the end that fills no piece is left out.
    """

    name = "pann"
    features = 2048
    source = "Zenodo record 3987831, under the name that the library gives it"

    NAMES: ClassVar[dict[int, str]] = {
        8_000: "Cnn14_8k_mAP%3D0.416",
        16_000: "Cnn14_16k_mAP%3D0.438",
        32_000: "Cnn14_mAP%3D0.431",
    }

    rate: int = 32_000  # 8000, 16000 or 32000 Hz, a model each
    piece: float = 10.0  # s

    def __post_init__(self) -> None:
        if self.rate not in self.NAMES:
            raise BadInputError(f"pann: rate {self.rate} is none of {', '.join(map(str, self.NAMES))} Hz")
        _require_piece(self.name, self.piece, self.shortest)

    @property
    def files(self) -> tuple[Path, ...]:
        return (fad_library.hub() / f"{self.NAMES[self.rate]}.pth",)

    @property
    def options(self) -> str:
        return f"piece:{self.piece:g}s"

    @property
    def arguments(self) -> dict[str, Any]:
        return {}

    def _embed(self, heard: Tensor) -> Tensor:
        pieces = _pieces(heard, round(self.piece * self.rate))
        return torch.cat([self._model(piece[None], None)["embedding"] for piece in pieces])


@dataclass(frozen=True)
class EnCodec(Pretrained):
    """The encoder of EnCodec (Défossez et al., TMLR 2023) before its quantisers: 128 features, 75 or 150 embeddings a second."""

    name = "encodec"
    features = 128
    source = "facebookresearch/encodec, version v0 of its models"

    NAMES: ClassVar[dict[int, str]] = {24_000: "encodec_24khz-d7cc33bc.th", 48_000: "encodec_48khz-7e698e3e.th"}

    rate: int = 24_000  # or 48000 Hz: another model, which hears mono audio in both channels

    def __post_init__(self) -> None:
        if self.rate not in self.NAMES:
            raise BadInputError(f"encodec: rate {self.rate} is none of {', '.join(map(str, self.NAMES))} Hz")

    @property
    def files(self) -> tuple[Path, ...]:
        return (fad_library.hub() / "checkpoints" / self.NAMES[self.rate],)

    @property
    def options(self) -> str:
        return f"channels:{self.arguments['channels']}"

    @property
    def arguments(self) -> dict[str, Any]:
        return {"channels": 2 if self.rate == 48_000 else 1}

    def _embed(self, heard: Tensor) -> Tensor:
        found: Tensor = self._model.encoder(heard.expand(1, self.arguments["channels"], -1))  # [1, d, n]
        return found[0].T


@dataclass(frozen=True)
class CLAP(Pretrained):
    """LAION's CLAP (Wu et al., ICASSP 2023), its audio half: one embedding of 512 features for each ten seconds.

    Shorter audio is repeated to ten seconds by the model; of longer audio the end that fills no ten seconds is left out.
    """

    name = "clap"
    features = 512
    rate = 48_000
    source = "lukewys/laion_clap on the model hub; the language model from there too, in the cache of its client"

    SAMPLES: ClassVar[int] = 480_000  # the most that the model hears at once; of more it would take a random part
    NAMES: ClassVar[dict[str, str]] = {
        "630k-audioset": "630k-audioset-best.pt",
        "630k": "630k-best.pt",
        "music_audioset": "music_audioset_epoch_15_esc_90.14.pt",
        "music_speech": "music_speech_epoch_15_esc_89.25.pt",
        "music_speech_audioset": "music_speech_audioset_epoch_15_esc_89.98.pt",
    }

    submodel: str = "music_audioset"

    def __post_init__(self) -> None:
        if self.submodel not in self.NAMES:
            raise BadInputError(f"clap: submodel {self.submodel!r} is none of {', '.join(self.NAMES)}")

    @property
    def files(self) -> tuple[Path, ...]:
        # the second, a language model, is loaded but does not affect the audio half
        return (fad_library.hub() / self.NAMES[self.submodel], fad_library.language_model())

    @property
    def options(self) -> str:
        return f"model:{self.submodel}|piece:10s"

    @property
    def arguments(self) -> dict[str, Any]:
        return {"submodel_name": self.submodel}

    def _embed(self, heard: Tensor) -> Tensor:
        pieces = _pieces(heard, self.SAMPLES)
        return torch.cat(
            [torch.from_numpy(self._model.get_audio_embedding_from_data(piece.cpu().numpy()[None])) for piece in pieces]
        )


def _switch(on: bool) -> str:
    return "on" if on else "off"


def _require_piece(name: str, piece: float, shortest: float) -> None:
    if piece < shortest:
        raise BadInputError(f"{name}: pieces of {piece:g} s are too short; it needs {shortest:g} s")


def _pieces(heard: Tensor, size: int) -> list[Tensor]:
    """All pieces of ``size`` samples, or the whole audio where it is shorter."""
    return list(heard.unfold(0, size, size)) if len(heard) >= size else [heard]
