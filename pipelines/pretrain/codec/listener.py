"""How far what is rendered is from its original to somebody who listens to the words.

Distances of spectra count every band alike; which letter is spoken may hang on a few of them. The aligner's recogniser
hears both, and its features of the one are to be those of the other (a perceptual loss, arXiv:1603.08155).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss

from pipelines.pretrain.aligner.model import RATE, Recogniser
from voice.audio import FRAME_SAMPLES

LogMels = Float[Tensor, "batch time bands"]


class Listener(nn.Module):
    """A recogniser that learns nothing more. `hop`: samples between spectra."""

    def __init__(self, recogniser: Recogniser, *, hop: int) -> None:
        super().__init__()
        self._recogniser = recogniser.requires_grad_(False)
        self._hop = hop
        self.eval()

    def train(self, mode: bool = True) -> "Listener":
        """Stay as it is: no dropout."""
        return super().train(False)

    def forward(self, rendered: LogMels, original: LogMels) -> Tensor:
        """Mean squared distance of its features, of whole frames of log-mel spectra (`loss.Envelope`)."""
        with torch.no_grad():
            expected = self._hear(original)
        return mse_loss(self._hear(rendered).float(), expected.float())

    def _hear(self, spectra: LogMels) -> Tensor:
        outputs = spectra.shape[1] * self._hop * RATE // FRAME_SAMPLES
        slower = interpolate(spectra.float().transpose(1, 2), size=outputs, mode="linear").transpose(1, 2)
        everything = torch.ones(slower.shape[:2], dtype=torch.bool, device=slower.device)
        return self._recogniser.features(slower, everything)
