"""The 1-D U-Net of MSDM: a noisy waveform in, a waveform of the same shape out, conditioned on the noise level and on text.

Sources: Mariani et al., "Multi-Source Diffusion Models" (ICLR 2024), and Postolache et al., "Generalized Multi-Source Inference
for Text Conditioned Music Diffusion Models" (ICASSP 2024). MSDM's network is the one of ``audio-diffusion-pytorch`` 0.0.43, whose
``UNet1d`` and ``UNetConditional1d`` have the same parameters under the same names: their weights load here with ``strict=True``.
There are no options for what MSDM leaves off (nested patches, context channels and features) or fixed (kernels, skips' scale).

===============  =================================================
config.py        the hyper-parameters, by default MSDM's
network.py       the network: levels down, a bottleneck, levels up
blocks.py        what a level is made of
attention.py     attention to the signal itself and to a prompt
===============  =================================================
"""

from gmsdi.unet.config import UNetConfig
from gmsdi.unet.network import UNet1d

__all__ = ["UNet1d", "UNetConfig"]
