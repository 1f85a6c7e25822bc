"""How far what is rendered is from its original to somebody who knows voices.

Spectra may be near in every band and yet be another person's: who speaks is a matter of small, lasting differences. The
speaker encoder hears both, and its embedding of the one is to be that of the other.
"""

import math

import librosa
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from pipelines.pretrain.codec.judge import Judge, LogMels, at_rate
from pipelines.pretrain.codec.loss import Envelope
from pipelines.pretrain.speaker.data import BANDS, HIGHEST, HOP, LOWEST, SIZE
from voice.audio import SAMPLE_RATE

# Nats from the amplitude of a sine, which `loss.Envelope` measures, to what the stock model does: there it counts for
# half of the window's sum (a quarter of its size), and a band's weights have an area of one over Hz instead of bins.
# `loss.FLOOR` is then -5.7 nats: as loud as the noise that the encoder's crops were disguised with (speaker/data.py).
LOUDER = math.log(SIZE / 4 * SIZE / SAMPLE_RATE)


class Likeness(Judge):
    """The speaker encoder."""

    bands: Float[Tensor, "told heard"]

    def __init__(self, encoder: nn.Module, *, hop: int) -> None:
        super().__init__(encoder, hop=hop)
        heard = librosa.mel_frequencies(n_mels=BANDS + 2, fmin=LOWEST, fmax=HIGHEST)[1:-1]
        at, told = librosa.hz_to_mel(heard), librosa.hz_to_mel(Envelope(hop).centres)
        bands = np.stack([np.interp(at, told, one) for one in np.eye(len(told))])
        self.register_buffer("bands", torch.from_numpy(bands).float())

    def forward(self, rendered: LogMels, original: LogMels) -> Tensor:
        """Mean of 1 less the cosine of both embeddings, from log-mel spectra of a second or more."""
        with torch.no_grad():
            expected = self._embed(original)
        return 1 - cosine_similarity(self._embed(rendered), expected).mean()

    def _embed(self, spectra: LogMels) -> Float[Tensor, "batch dimensions"]:
        heard = spectra.float() @ self.bands + LOUDER
        embeddings: Tensor = self._network(at_rate(heard, spectra.shape[1] * self._hop // HOP))
        return embeddings.float()
