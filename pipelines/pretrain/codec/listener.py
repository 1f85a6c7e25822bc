"""How far what is rendered is from its original to somebody who listens to the words.

Distances of spectra count every band alike; which letter is spoken may hang on a few of them. The aligner's recogniser
hears both, and its features of the one are to be those of the other.
"""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from pipelines.pretrain.aligner.model import RATE, Recogniser
from pipelines.pretrain.codec.judge import Judge, LogMels, at_rate
from voice.audio import FRAME_SAMPLES


class Listener(Judge):
    """The aligner's recogniser."""

    _network: Recogniser

    def forward(self, rendered: LogMels, original: LogMels) -> Tensor:
        """Mean squared distance of its features, of whole frames of log-mel spectra."""
        with torch.no_grad():
            expected = self._hear(original)
        return mse_loss(self._hear(rendered).float(), expected.float())

    def _hear(self, spectra: LogMels) -> Tensor:
        slower = at_rate(spectra.float(), spectra.shape[1] * self._hop * RATE // FRAME_SAMPLES)
        everything = torch.ones(slower.shape[:2], dtype=torch.bool, device=slower.device)
        return self._network.features(slower, everything)
