"""Public separators of the ``demucs`` package (htdemucs, mdx, …), where their weights are on disk. Nothing is ever downloaded.

Most of them separate drums, bass, vocals and the rest: a stem that is none of a model's sources stays undefined in a table. The weights
are those of the package's own list, ``NAME-SHA.th`` with the beginning of the file's sha256 in its name.
"""

import io
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import demucs
import numpy as np
import torch
import yaml
from demucs.apply import BagOfModels, apply_model
from demucs.demucs import Demucs
from demucs.hdemucs import HDemucs
from demucs.htdemucs import HTDemucs
from demucs.states import load_model
from torch import Tensor

from gmsdi import STEMS, audio, files
from gmsdi.errors import BadInputError, IntegrityError, near, one_line
from gmsdi.system import Batch, Separator

LISTS = Path(demucs.__file__).parent / "remote"
"""The package's lists: a yaml for each model, and the names of all files."""

ALLOWED = [Demucs, HDemucs, HTDemucs, Fraction]
"""What a file of weights may hold beside tensors and plain values; anything else in it is refused, and never run."""


class PretrainedDemucs(Separator):
    """The model ``name`` of the package, whose weights lie in ``folder``; ``mapping`` says which of its sources is which stem.

    Mixtures are resampled to its rate, doubled to its channels and normalised as the package does it; ``overlap`` is that of the
    segments that it is given.
    """

    def __init__(self, name: str, folder: Path | str, mapping: Mapping[str, str], overlap: float = 0.25) -> None:
        paths = present(name, folder)
        bag = _bag(name)
        self.model = BagOfModels([_load(path) for path in paths], bag.get("weights"), bag.get("segment")).eval()
        if not 0 <= overlap < 1:
            raise BadInputError(f"overlap={overlap}: a share of a segment, from 0 to below 1")
        self.overlap = overlap
        self.places = {STEMS.index(stem): self._place(name, mapping[stem]) for stem in self.stems(mapping=mapping)}

    @classmethod
    def stems(cls, **arguments: Any) -> tuple[str, ...]:
        mapping = arguments["mapping"]
        if unknown := next((stem for stem in mapping if stem not in STEMS), None):
            raise BadInputError(f"mapping: {unknown!r} is no stem{near(unknown, STEMS)}")
        return tuple(stem for stem in STEMS if stem in mapping)

    @classmethod
    def identify(cls, **arguments: Any) -> dict[str, Any]:
        """The files' hashes and how the package puts them together, instead of the folder."""
        paths = present(arguments["name"], arguments["folder"])
        own = {name: value for name, value in arguments.items() if name != "folder"}
        return {**own, "bag": _bag(arguments["name"]), "weights": [files.sha256(path) for path in paths]}

    @classmethod
    def describe(cls, **arguments: Any) -> str:
        return f"{arguments['name']}: public weights of the demucs package, trained on other data"

    def separate(self, batch: Batch) -> Tensor:
        device = batch.mixtures.device
        length = batch.mixtures.shape[1]
        mixtures = _resample(batch.mixtures, batch.rate, self.model.samplerate)  # [B, T']
        mean, deviation = mixtures.mean(dim=1, keepdim=True), mixtures.std(dim=1, keepdim=True) + 1e-8
        inputs = ((mixtures - mean) / deviation)[:, None].expand(-1, self.model.audio_channels, -1)
        sources = apply_model(self.model.to(device), inputs, shifts=0, overlap=self.overlap)  # [B, S, C, T']
        mono = sources.mean(dim=2) * deviation[:, None]  # [B, S, T']; the offset is no source's
        stems = batch.mixtures.new_zeros(len(mono), len(STEMS), length)
        for k, place in self.places.items():
            found = _resample(mono[:, place], self.model.samplerate, batch.rate)[:, :length]
            stems[:, k, : found.shape[1]] = found
        return stems

    def _place(self, name: str, source: str) -> int:
        if source not in self.model.sources:
            raise BadInputError(f"mapping: {name} has no source {source!r}{near(source, self.model.sources)}")
        return int(self.model.sources.index(source))


def names_of_files(name: str) -> list[str]:
    """The names of the files that the model ``name`` is made of; ``BadInputError`` for a model that the package does not list."""
    lines = (LISTS / "files.txt").read_text().split()
    by_signature = {line.split("-")[0]: line for line in lines if line.endswith(".th")}
    return [by_signature[signature] for signature in _bag(name)["models"]]


def present(name: str, folder: Path | str) -> list[Path]:
    """The files of a model in ``folder``; ``BadInputError`` that says which to put there when one is missing."""
    paths = [Path(folder) / file for file in names_of_files(name)]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise BadInputError(f"{name}: put {' and '.join(missing)}, from the demucs package's models, into {folder}")
    return paths


def _bag(name: str) -> dict[str, Any]:
    path = LISTS / f"{name}.yaml"
    known = sorted(each.stem for each in LISTS.glob("*.yaml"))
    if name not in known:
        raise BadInputError(f"the demucs package has no model {name!r}{near(name, known)}")
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def _load(path: Path) -> Demucs | HDemucs | HTDemucs:
    """A model of a file whose hash is the one in its name. ``IntegrityError`` where it is not, and for what is no model."""
    wanted = path.stem.split("-")[1]
    data, found = files.read(path)
    if not found.startswith(wanted):
        raise IntegrityError(f"{path}: damaged, its sha256 does not begin with {wanted}; copy it again")
    try:
        with torch.serialization.safe_globals(ALLOWED):
            package = torch.load(io.BytesIO(data), "cpu", weights_only=True)
        if package["state"].get("__quantized"):
            raise BadInputError(f"{path}: quantised weights are not read here; take the model without _q in its name")
        model: Demucs | HDemucs | HTDemucs = load_model(package)
    except BadInputError:
        raise
    except Exception as error:
        raise IntegrityError(f"{path}: no model of the demucs package that can be read ({one_line(error)})") from None
    return model.float()


def _resample(signals: Tensor, source: int, target: int) -> Tensor:
    """``[B, T]`` at another rate."""
    resampled = audio.resample(np.ascontiguousarray(signals.cpu().numpy()), source, target)
    return torch.from_numpy(resampled).to(signals)
