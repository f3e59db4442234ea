"""The field's library ``frechet-audio-distance``, imported and loaded without ever going online.

Its ``__init__`` imports laion_clap, which takes many seconds and serves CLAP alone. At import, some versions ask a model hub for
tokenizers (without internet: minutes of retries, then an error), and all parse the command line's arguments as their own. So the
library gets an empty module of that name; for CLAP it gets the real one, and the hub's client is kept offline. VGGish's code comes from
the folder into which torch.hub unpacks it, and no weights are downloaded: a missing file is an error.
"""

import codecs
import importlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from gmsdi.errors import BadInputError, GmsdiError, one_line

NAME = "frechet-audio-distance"
PACKAGE = "frechet_audio_distance"

CLAP = ("laion_clap", "clap_module", "training", "hook")
"""What importing laion_clap leaves behind at the top level."""

LANGUAGE_MODEL = "roberta-base"
"""The language model that laion_clap loads from the model hub's cache, although only audio is embedded here."""

_lock = threading.RLock()
"""Held while modules and functions of the whole process are replaced."""


def signature() -> str:
    """The library and its version."""
    return f"{NAME}:{version(NAME)}"


def hub() -> Path:
    """TORCH_HOME/hub: torch.hub's folder of code, with the weights in ``checkpoints``."""
    return Path(torch.hub.get_dir())


def vggish_code() -> Path:
    """Where torch.hub unpacks the repository of VGGish."""
    return hub() / "harritaylor_torchvggish_master"


def language_model() -> Path:
    """The file in which the model hub's cache names its snapshot of ``LANGUAGE_MODEL``."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{LANGUAGE_MODEL}" / "refs" / "main"


@cache
def module(clap: bool = False) -> ModuleType:
    """Our own copy of the library's module ``fad``: it does not touch what anyone else gets by importing the library."""
    with _lock, _apart(PACKAGE, *CLAP), _offline(clap):
        if not clap:
            sys.modules["laion_clap"] = ModuleType("laion_clap")
        return importlib.import_module(f"{PACKAGE}.fad")


def load(model: str, **arguments: Any) -> Any:
    """The library's ``FrechetAudioDistance`` of a model, from files on this machine alone.

    ``BadInputError`` for a file that is missing (with the path where it goes) or that the library cannot load.
    """
    clap = model == "clap"
    try:
        with ExitStack() as stack:
            stack.enter_context(_lock)
            stack.enter_context(_offline(clap))
            stack.enter_context(_replaced(torch.hub, "load", _load_from_disk))
            stack.enter_context(_replaced(torch.hub, "download_url_to_file", _refuse))
            stack.enter_context(redirect_stdout(io.StringIO()))  # CLAP prints a list of its parameters
            # CLAP's checkpoints hold the training loss as a numpy number, which torch does not load unless told
            stack.enter_context(torch.serialization.safe_globals(_NUMBERS))
            return module(clap).FrechetAudioDistance(model_name=model, **arguments)
    except GmsdiError:
        raise
    except Exception as error:  # whatever a damaged file makes the library, torch or the hub's code raise
        raise BadInputError(
            f"{model}: {NAME} cannot load it ({one_line(error)}); `gmsdi doctor` says which files it needs"
        ) from error


_NUMBERS: list[Any] = [np.float64(0).__reduce__()[0], np.dtype, type(np.dtype(np.float64)), codecs.encode]

_from_hub = torch.hub.load


def _load_from_disk(repo_or_dir: str, model: str) -> Any:
    """``torch.hub.load`` of VGGish from the unpacked repository on disk, without looking online for a newer one."""
    with _apart("torchvggish"):  # the repository's package; another folder may be imported under this name
        return _from_hub(str(vggish_code()), model, source="local", trust_repo=True)


def _refuse(url: str, dst: str | Path, *args: Any, **kwargs: Any) -> None:
    raise BadInputError(f"{dst}: not there; fetch {url}, for nothing is downloaded here")


@contextmanager
def _apart(*packages: str) -> Iterator[None]:
    """Hide these packages' imported modules, and the command line's arguments, which laion_clap would parse as its own.

    Afterwards sys.modules, sys.path, sys.argv and os.environ are as they were.
    """

    def imported() -> dict[str, ModuleType]:
        return {name: module for name, module in sys.modules.items() if name.split(".")[0] in packages}

    before, path, arguments, environment = imported(), list(sys.path), list(sys.argv), dict(os.environ)
    for name in before:
        del sys.modules[name]
    del sys.argv[1:]
    try:
        yield
    finally:
        for name in imported():
            del sys.modules[name]
        sys.modules.update(before)
        sys.path[:], sys.argv[:] = path, arguments
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)


@contextmanager
def _offline(clap: bool) -> Iterator[None]:
    """For CLAP, keep the model hub's client to its cache. The client reads the environment at import only, so its constant is set."""
    if not clap:
        yield
        return
    from huggingface_hub import constants

    with _replaced(constants, "HF_HUB_OFFLINE", True):
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
