"""Systems whose scores are known beforehand or bound the others: they catch a broken metric before a person has to.

``Mixture`` scores exactly 0 dB SI-SDRi; ``Silence`` shows what a protocol pays for suppression; ``IdealRatioMask`` is what a
time-frequency mask can reach at best.
"""

import torch

from gmsdi import STEMS
from gmsdi.system import Batch, Separator


class Mixture(Separator):
    """Every stem is the mixture itself: no separation at all."""

    def separate(self, batch: Batch) -> torch.Tensor:
        return batch.mixtures[:, None].repeat(1, len(STEMS), 1)


class Silence(Separator):
    """Every stem is digital silence: suppression without separation."""

    def separate(self, batch: Batch) -> torch.Tensor:
        return batch.mixtures.new_zeros(batch.mixtures.shape[0], len(STEMS), batch.mixtures.shape[1])


class IdealRatioMask(Separator):
    """The oracle mask ``|S_k|^p / Σ_l |S_l|^p`` on the mixture's STFT, made from the true stems.

    ``window`` samples, hop of a quarter; ``power`` p = 2 is the Wiener-like mask of Liutkus and Badeau (ICASSP 2015). Where all stems
    are silent the mask is 0.
    """

    reads_references = True

    def __init__(self, window: int = 2048, power: float = 2.0) -> None:
        self.window = window
        self.power = power

    def separate(self, batch: Batch) -> torch.Tensor:
        assert batch.references is not None
        magnitudes = self._stft(batch.references).abs() ** self.power  # [B, K, F, N]
        masks = magnitudes / magnitudes.sum(dim=1, keepdim=True).clamp_min(torch.finfo(magnitudes.dtype).tiny)
        estimates = masks * self._stft(batch.mixtures[:, None])  # [B, K, F, N]
        return torch.istft(
            estimates.flatten(0, 1),
            self.window,
            self.window // 4,
            window=self._hann(estimates),
            length=batch.mixtures.shape[1],
        ).unflatten(0, estimates.shape[:2])

    def _stft(self, signals: torch.Tensor) -> torch.Tensor:
        spectra = torch.stft(
            signals.flatten(0, 1), self.window, self.window // 4, window=self._hann(signals), return_complex=True
        )
        return spectra.unflatten(0, signals.shape[:2])

    def _hann(self, like: torch.Tensor) -> torch.Tensor:
        return torch.hann_window(self.window, device=like.device)
