"""Systems that are made from checkpoints."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gmsdi import checkpoint, files
from gmsdi.system import System


class Trained(System):
    """A separator or a generator that is made from checkpoints."""

    @classmethod
    def weights(cls, **arguments: Any) -> Iterable[Path]:
        """The checkpoints that the constructor's argument ``checkpoint`` names: one, or several in a mapping."""
        checkpoints = arguments["checkpoint"]
        return [Path(path) for path in (checkpoints.values() if isinstance(checkpoints, Mapping) else [checkpoints])]

    @classmethod
    def identify(cls, **arguments: Any) -> dict[str, Any]:
        """Of the manifests, too: the same weights in another network, or with another text encoder, are another system."""
        manifests = [checkpoint.read_manifest(path) for path in cls.weights(**arguments)]
        return {**super().identify(**arguments), "networks": [_identity(manifest.config) for manifest in manifests]}

    @classmethod
    def describe(cls, **arguments: Any) -> str:
        """The networks and their training."""
        lines = [checkpoint.read_manifest(path).describe() for path in cls.weights(**arguments)]
        return "; ".join(dict.fromkeys(lines))


def _identity(network: Mapping[str, Any]) -> dict[str, Any]:
    """A network's config, and the content of the folder of its text encoder, if it has one."""
    folder = network.get("text", {}).get("name_or_folder")
    return {**network, "text files": files.content(Path(folder))} if folder and Path(folder).is_dir() else dict(network)
