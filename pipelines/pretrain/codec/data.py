"""Random crops of the corpus and what is said in them.

A batch is a function of the seed and its number: a resumed run needs no other state.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipelines.pretrain.aligner.bounds import Bounds, read_bounds
from pipelines.pretrain.codec.mixing import Mixed, with_recordings
from pipelines.pretrain.corpus import Shard, read_side
from voice.audio import FRAME_SAMPLES, from_pcm16

GAIN_DB = (-8.0, 4.0)  # drawn per crop: clips come levelled, what a user encodes might not
LETTERS = 3  # moments of a frame whose letter is asked for: they come at up to 23 a second, frames at 12.5
SYMBOLS = 256  # bytes, capital letters as small ones; 0 where nothing is said


class Drawn(NamedTuple):
    """A batch of crops."""

    audio: Float[Tensor, "count samples"]
    letters: Int64[Tensor, "count frames LETTERS"]


class Letters:
    """What is being said at each moment of a shard."""

    def __init__(self, shard: Shard, bounds: Sequence[Bounds]) -> None:
        starts, said = [np.zeros(1)], [np.zeros(1, np.int64)]
        for clip, at in zip(shard.clips, bounds, strict=True):
            starts.append(clip.start + at * FRAME_SAMPLES)
            said.append(np.array([*clip.text.encode().lower(), 0], np.int64))
        # rounding may put the first letter of a clip before the end of the one before
        self._starts = np.maximum.accumulate(np.concatenate(starts))  # samples
        self._said = np.concatenate(said)

    def at(self, start: int, frames: int) -> Int64[np.ndarray, "frames LETTERS"]:
        """Of so many frames from sample `start` on."""
        moments = start + (np.arange(frames * LETTERS) + 0.5) * (FRAME_SAMPLES / LETTERS)
        return self._said[np.searchsorted(self._starts, moments, side="right") - 1].reshape(frames, LETTERS)


class Crops:
    """Draws batches from sources, each with its share of the crops."""

    def __init__(self, sources: Sequence[tuple[float, Sequence[tuple[Shard, Letters]]]], *, seed: int) -> None:
        self._seed = seed
        mapped = [(share, [(shard.samples(), letters) for shard, letters in shards]) for share, shards in sources]
        self._shards = Mixed(mapped, length=lambda shard: len(shard[0]))

    def draw(self, number: int, *, count: int, frames: int) -> Drawn:
        """Batch `number`: `count` crops of whole frames."""
        rng = np.random.default_rng([self._seed, number])
        audio, letters = zip(*(self._crop(rng, frames) for _ in range(count)), strict=True)
        return Drawn(torch.from_numpy(np.stack(audio)), torch.from_numpy(np.stack(letters)))

    def _crop(self, rng: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray]:
        (samples, letters), length = self._shards.draw(rng), frames * FRAME_SAMPLES
        start = int(rng.integers(max(1, len(samples) - length)))
        crop = from_pcm16(np.asarray(samples[start : start + length]))
        crop = np.pad(crop, (0, length - len(crop))) * np.float32(10 ** (rng.uniform(*GAIN_DB) / 20))
        return np.clip(crop, -1.0, 1.0), letters.at(start, frames)


def open_crops(corpus: Path, bounds: Path, *, recordings: str | None, recordings_share: float, seed: int) -> Crops:
    """The training side of a corpus, with recordings where they are named."""

    def side(name: str) -> list[tuple[Shard, Letters]]:
        shards = read_side(corpus, name)
        aligned = [read_bounds(bounds, shard.folder.name, [clip.text for clip in shard.clips]) for shard in shards]
        return [(shard, Letters(shard, at)) for shard, at in zip(shards, aligned, strict=True)]

    return Crops(with_recordings(side, recordings, recordings_share), seed=seed)
