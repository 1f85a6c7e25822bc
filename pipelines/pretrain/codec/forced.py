"""Crops as the talker would say them: codes of `pipelines.pretrain.talker.forced`, and the sound they stand for.

A batch is a function of the seed and its number.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int16, Int64
from torch import Tensor

from pipelines.pretrain.codec.mixing import Mixed, with_recordings
from pipelines.pretrain.corpus import Clip, Shard, read_side
from pipelines.pretrain.material import Codes, forced_path, read_codes, read_forced
from voice.audio import FRAME_SAMPLES, from_pcm16
from voice.errors import InputError


class Said(NamedTuple):
    """A batch of crops."""

    audio: Float[Tensor, "count samples"]
    codes: Int64[Tensor, "count frames codebooks"]


class ForcedShard:
    """A shard's clips one after the other, each as whole frames: that is how they were encoded."""

    def __init__(self, shard: Shard, material: Codes, codes: Int16[np.ndarray, "frames codebooks"]) -> None:
        self._samples, self._codes = shard.samples(), codes
        encoded = [(clip.id, clip.text, -(-clip.samples // FRAME_SAMPLES)) for clip in shard.clips]
        if encoded != [(line.id, line.text, line.frames) for line in material.lines]:
            raise InputError(
                f"{material.folder} is of another corpus. Remove it and run `python -m pipelines.pretrain.material`."
            )
        starts, counts = zip(*(_frames(clip) for clip in shard.clips), strict=True)
        self._starts, self._counts = np.concatenate(starts), np.concatenate(counts)

    def __len__(self) -> int:
        return len(self._codes)

    def crop(self, start: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """So many frames from frame `start` on: sound, silent where a clip's last frame is not full, and codes."""
        some = slice(start, start + frames)
        within = np.arange(FRAME_SAMPLES)
        real = within < self._counts[some, None]
        at = np.where(real, self._starts[some, None] + within, 0)
        audio = np.where(real, from_pcm16(np.asarray(self._samples[at])), np.float32(0))
        return audio.reshape(-1), self._codes[some].astype(np.int64)


def _frames(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    # where each frame of a clip begins in its shard, and how many samples of it the clip has
    starts = np.arange(0, clip.samples, FRAME_SAMPLES)
    return clip.start + starts, np.minimum(clip.samples - starts, FRAME_SAMPLES)


class ForcedCrops:
    """Draws batches from sources, each with its share of the crops."""

    def __init__(self, sources: Sequence[tuple[float, Sequence[ForcedShard]]], *, seed: int) -> None:
        self._seed, self._shards = seed, Mixed(sources, length=len)

    def draw(self, number: int, *, count: int, frames: int) -> Said:
        """Batch `number`: `count` crops of so many frames."""
        rng = np.random.default_rng([self._seed, number, 1])  # not where the crops of `data.Crops` lie
        audio, codes = zip(*(self._crop(rng, frames) for _ in range(count)), strict=True)
        return Said(torch.from_numpy(np.stack(audio)), torch.from_numpy(np.stack(codes)))

    def _crop(self, rng: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray]:
        shard = self._shards.draw(rng)
        if len(shard) < frames:
            raise InputError(f"a shard of {len(shard)} frames has no crop of {frames}. Lower schedule.forced.crops.")
        return shard.crop(int(rng.integers(len(shard) - frames + 1)), frames)


def open_forced(
    corpus: Path, material: Path, forced: Path, *, recordings: str | None, recordings_share: float, seed: int
) -> ForcedCrops:
    """The training side as the talker would say it."""

    def side(name: str) -> list[ForcedShard]:
        audio = {shard.folder.name: shard for shard in read_side(corpus, name)}
        said = [codes for codes in read_codes(material, [name]) if forced_path(forced, codes).is_file()]
        if not said:
            raise InputError(
                f"{forced} holds nothing of {name!r}. Run `python -m pipelines.pretrain.talker.forced`, "
                "with recordings= as here."
            )
        return [ForcedShard(audio[codes.folder.name], codes, read_forced(forced, codes)) for codes in said]

    return ForcedCrops(with_recordings(side, recordings, recordings_share), seed=seed)
