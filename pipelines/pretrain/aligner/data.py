"""Clips as codes and letters. A batch is a function of the seed and its number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pipelines.pretrain.material import Codes, Line


@dataclass(frozen=True, slots=True)
class Heard:
    """A clip's codes, and its text as symbols: bytes after the blank, capital letters as small ones."""

    codes: Int64[Tensor, "frames codebooks"]
    symbols: Int64[Tensor, " letters"]

    @classmethod
    def of(cls, shard: Codes, line: Line) -> "Heard":
        """A clip of a shard."""
        return cls(shard.of(line), torch.tensor([1 + byte for byte in line.text.encode().lower()]))


def read(symbols: Int64[Tensor, " letters"]) -> str:
    """Symbols as text; none may be the blank."""
    return bytes((symbols - 1).tolist()).decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Batch:
    """B clips, padded."""

    codes: Int64[Tensor, "B frames codebooks"]
    real: Bool[Tensor, "B frames"]
    symbols: Int64[Tensor, " all_letters"]
    counts: Int64[Tensor, " B"]  # letters of each clip

    @classmethod
    def of(cls, clips: Sequence[Heard]) -> "Batch":
        """Put clips side by side."""
        codes = pad_sequence([clip.codes for clip in clips], batch_first=True)
        lengths = torch.tensor([len(clip.codes) for clip in clips])
        real = torch.arange(codes.shape[1]) < lengths[:, None]
        counts = torch.tensor([len(clip.symbols) for clip in clips])
        return cls(codes, real, torch.cat([clip.symbols for clip in clips]), counts)


class Clips:
    """All clips of some shards, in the order of their lengths."""

    def __init__(self, shards: Sequence[Codes], *, seed: int) -> None:
        self._clips = sorted(
            (Heard.of(shard, line) for shard in shards for line in shard.lines), key=lambda clip: len(clip.codes)
        )
        self._seed = seed

    def __len__(self) -> int:
        return len(self._clips)

    def draw(self, number: int, *, frames: int) -> Batch:
        """Batch `number`: neighbours in length that have about so many frames together."""
        first = int(np.random.default_rng([self._seed, number]).integers(len(self)))
        count = max(1, frames // len(self._clips[first].codes))
        return Batch.of(self._clips[first : first + count])
