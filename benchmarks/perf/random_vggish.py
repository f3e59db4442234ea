"""VGGish with random weights, laid out as torch.hub lays out the official one: the same code path, speed and sizes, no download.

The network and its log-mel bands are those of the package torchvggish, an earlier state of the repository that torch.hub unpacks; the
interface of today's repository is written around them.
"""

import numpy as np
import torch

from benchmarks.metrics.pretrained import VGGish

HUBCONF = """
import torch
from torch import hub
from torchvggish import vggish_input
from torchvggish.torchvggish import VGG, make_layers

WEIGHTS = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/"


class Postprocessor(torch.nn.Module):
    def __init__(self, params):
        super().__init__()
        self.matrix = torch.as_tensor(params["pca_eigen_vectors"]).float()
        self.means = torch.as_tensor(params["pca_means"].reshape(-1, 1)).float()

    def postprocess(self, embeddings):
        whitened = (self.matrix @ (embeddings.T - self.means)).T
        return torch.squeeze(torch.round((whitened.clamp(-2, 2) + 2) * (255 / 4)))


class VGGish(VGG):
    def __init__(self):
        super().__init__(make_layers(), postprocess=False)
        self.load_state_dict(hub.load_state_dict_from_url(WEIGHTS + "vggish-10086976.pth"))
        self.pproc = Postprocessor(hub.load_state_dict_from_url(WEIGHTS + "vggish_pca_params-970ea276.pth"))
        self.preprocess = self.postprocess = True
        self.device = "cpu"

    def forward(self, x, fs=None):
        examples = vggish_input.waveform_to_examples(x, fs) if self.preprocess else x
        wanted, self.postprocess = self.postprocess, False
        embeddings = super().forward(examples.to(self.device))
        self.postprocess = wanted
        return self.pproc.postprocess(embeddings) if wanted else embeddings


def vggish():
    return VGGish()
"""

CONVOLUTIONS = {0: (1, 64), 3: (64, 128), 6: (128, 256), 8: (256, 256), 11: (256, 512), 13: (512, 512)}
LINEAR = {0: (512 * 4 * 6, 4096), 2: (4096, 4096), 4: (4096, 128)}


def lay_out(seed: int = 0) -> None:
    """Write code and weights where ``VGGish`` looks for them: in this process's TORCH_HOME, which should be a temporary folder."""
    hubconf, weights, pca = VGGish().files
    for path in (hubconf, weights):
        path.parent.mkdir(parents=True, exist_ok=True)
    hubconf.write_text(HUBCONF, encoding="utf-8")
    torch.save(_weights(seed), weights)
    random = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(random.standard_normal((VGGish.features, VGGish.features)))
    torch.save({"pca_eigen_vectors": axes, "pca_means": random.standard_normal(VGGish.features)}, pca)


def _weights(seed: int) -> dict[str, torch.Tensor]:
    """He's initialisation, which keeps embeddings as large as the input."""
    random = torch.Generator().manual_seed(seed)
    state = {}
    shapes = {
        **{f"features.{place}": (outputs, inputs, 3, 3) for place, (inputs, outputs) in CONVOLUTIONS.items()},
        **{f"embeddings.{place}": (outputs, inputs) for place, (inputs, outputs) in LINEAR.items()},
    }
    for name, shape in shapes.items():
        fan_in = int(np.prod(shape[1:]))
        state[f"{name}.weight"] = torch.randn(shape, generator=random) * (2 / fan_in) ** 0.5
        state[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=random)
    return state
