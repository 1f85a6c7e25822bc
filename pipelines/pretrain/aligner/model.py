"""A recogniser of letters: convolutions that see both ways, three outputs a frame, made for a CTC loss."""

from dataclasses import dataclass

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pipelines.pretrain.codec.loss import Envelope
from voice.audio import FRAME_SAMPLES
from voice.bounds import within

RATE = 3  # outputs a frame: letters come at up to 23 a second, frames at 12.5
SYMBOLS = 257  # bytes after the blank


@dataclass(kw_only=True)
class Shape:  # conf/aligner.yaml
    """Its widths."""

    width: int = within(low=1)
    kernel: int = within(low=1)
    layers: int = within(low=0)
    dropout: float = within(low=0, high=1)


class _Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(shape.width)
        self.conv = nn.Conv1d(shape.width, shape.width, shape.kernel, padding=shape.kernel // 2)
        self.out = nn.Linear(shape.width, shape.width)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        h = self.norm(x) * real
        return x + self.out(F.gelu(self.conv(h.transpose(1, 2)).transpose(1, 2)))


class Recogniser(nn.Module):
    """Spectra to letters."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.envelope = Envelope(FRAME_SAMPLES // RATE)
        self.listen = nn.Linear(self.envelope.bands, shape.width)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, SYMBOLS)
        self.dropout = shape.dropout

    def forward(
        self, audio: Float[Tensor, "B samples"], real: Bool[Tensor, "B outputs"]
    ) -> Float[Tensor, "B outputs symbols"]:
        """Log-probabilities of each byte, and of the blank at 0, of whole frames; `real` ones are not padding."""
        return self.head(self.features(self.envelope.measure(audio), real)).float().log_softmax(dim=-1)

    def features(
        self, spectra: Float[Tensor, "B outputs bands"], real: Bool[Tensor, "B outputs"]
    ) -> Float[Tensor, "B outputs width"]:
        """What letters are told from, of log-mel spectra (`Envelope.measure`)."""
        mask = real[..., None]
        x = self.listen((spectra + 5.0) / 2.0)  # about zero, about as far from it as one
        x = F.dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)
