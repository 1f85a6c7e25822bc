"""Clips as sound and letters. A batch is a function of the seed and its number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pipelines.pretrain.aligner.model import RATE
from pipelines.pretrain.corpus import Clip, Shard, clip_waveform
from voice.audio import FRAME_SAMPLES, Waveform


@dataclass(frozen=True, slots=True)
class Heard:
    """A clip's sound up to a whole frame, and its text: bytes after the blank, capital letters as small ones."""

    audio: Float[Tensor, " samples"]
    symbols: Int64[Tensor, " letters"]

    @classmethod
    def of(cls, waveform: Waveform, text: str) -> "Heard":
        """Somebody says something."""
        padded = np.pad(waveform, (0, -len(waveform) % FRAME_SAMPLES))
        symbols = torch.tensor([1 + byte for byte in text.encode().lower()], dtype=torch.int64)
        return cls(torch.from_numpy(padded), symbols)

    @property
    def outputs(self) -> int:
        """How many the recogniser gives."""
        return RATE * len(self.audio) // FRAME_SAMPLES


def read(symbols: Int64[Tensor, " letters"]) -> str:
    """Symbols as text; none may be the blank."""
    return bytes((symbols - 1).tolist()).decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Batch:
    """B clips, padded."""

    audio: Float[Tensor, "B samples"]
    real: Bool[Tensor, "B outputs"]
    symbols: Int64[Tensor, " all_letters"]
    counts: Int64[Tensor, " B"]  # letters of each clip

    @classmethod
    def of(cls, clips: Sequence[Heard]) -> "Batch":
        """Put clips side by side."""
        audio = pad_sequence([clip.audio for clip in clips], batch_first=True)
        outputs = torch.tensor([clip.outputs for clip in clips])
        real = torch.arange(int(outputs.max())) < outputs[:, None]
        counts = torch.tensor([len(clip.symbols) for clip in clips])
        return cls(audio, real, torch.cat([clip.symbols for clip in clips]), counts)


class Clips:
    """All clips of some shards, in the order of their lengths."""

    def __init__(self, shards: Sequence[Shard], *, seed: int) -> None:
        every = [(shard, clip) for shard in shards for clip in shard.clips]
        self._clips: list[tuple[Shard, Clip]] = sorted(every, key=lambda found: found[1].samples)
        self._seed = seed

    def __len__(self) -> int:
        return len(self._clips)

    def draw(self, number: int, *, frames: int) -> Batch:
        """Batch `number`: neighbours in length that have about so many frames together."""
        first = int(np.random.default_rng([self._seed, number]).integers(len(self)))
        count = max(1, frames * FRAME_SAMPLES // self._clips[first][1].samples)
        chosen = self._clips[first : first + count]
        return Batch.of([Heard.of(clip_waveform(shard, clip), clip.text) for shard, clip in chosen])
