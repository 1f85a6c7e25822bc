"""A recogniser of codes: convolutions that see both ways, three outputs a frame, made for a CTC loss."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pipelines.pretrain.sounds import Sounds, embeddings
from voice.bounds import within

RATE = 3  # outputs a frame: letters come at up to 23 a second, frames at 12.5
SYMBOLS = 257  # bytes after the blank


@dataclass(kw_only=True)
class Shape:  # conf/aligner.yaml
    """Its widths."""

    width: int = within(low=1)
    kernel: int = within(low=1)
    layers: int = within(low=0)  # at the frame rate
    upper_layers: int = within(low=0)  # at three times that
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
    """Codes to letters."""

    def __init__(self, shape: Shape, sounds: Sounds) -> None:
        super().__init__()
        rows = embeddings(sounds, width=shape.width, frame_rms=1.0)
        self.tables = nn.ModuleList(nn.Embedding.from_pretrained(table.clone(), freeze=False) for table in rows)
        self.lower = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.up = nn.Linear(shape.width, RATE * shape.width)
        self.upper = nn.ModuleList(_Block(shape) for _ in range(shape.upper_layers))
        self.norm = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, SYMBOLS)
        self.dropout = shape.dropout

    def forward(
        self, codes: Int64[Tensor, "B frames codebooks"], real: Bool[Tensor, "B frames"]
    ) -> Float[Tensor, "B frames3 symbols"]:
        """Log-probabilities of each byte, and of the blank at 0; `real` frames are not padding."""
        mask = real[..., None]
        x = torch.stack([table(codes[..., i]) for i, table in enumerate(self.tables)]).sum(dim=0)
        x = F.dropout(x, self.dropout, self.training)
        for block in self.lower:
            x = block(x, mask)
        x = self.up(x).view(len(x), -1, x.shape[-1])
        for block in self.upper:
            x = block(x, mask.repeat_interleave(RATE, dim=1))
        return self.head(self.norm(x)).float().log_softmax(dim=-1)
