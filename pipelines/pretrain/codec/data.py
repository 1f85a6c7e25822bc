"""Random crops of the corpus. A batch is a function of the seed and its number: a resumed run needs no other state."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipelines.pretrain.corpus import Shard, read_side
from voice.audio import FRAME_SAMPLES, from_pcm16

GAIN_DB = (-8.0, 4.0)  # drawn per crop: clips come levelled, what a user encodes might not


class Crops:
    """Draws batches from sources, each with its share of the crops."""

    def __init__(self, sources: Sequence[tuple[float, Sequence[Shard]]], *, seed: int) -> None:
        self._seed = seed
        self._samples = [[shard.samples() for shard in shards] for _, shards in sources]
        self._shares = np.array([share for share, _ in sources]) / sum(share for share, _ in sources)
        # a shard is drawn by its length, so that every second is as likely
        sizes = [np.array([len(s) for s in part], dtype=np.float64) for part in self._samples]
        self._odds = [size / size.sum() for size in sizes]

    def draw(self, number: int, *, count: int, frames: int) -> Float[Tensor, "count samples"]:
        """Batch `number`: `count` crops of whole frames."""
        rng = np.random.default_rng([self._seed, number])
        return torch.from_numpy(np.stack([self._crop(rng, frames * FRAME_SAMPLES) for _ in range(count)]))

    def _crop(self, rng: np.random.Generator, length: int) -> np.ndarray:
        source = rng.choice(len(self._samples), p=self._shares)
        samples = self._samples[source][rng.choice(len(self._odds[source]), p=self._odds[source])]
        start = rng.integers(max(1, len(samples) - length))
        crop = from_pcm16(np.asarray(samples[start : start + length]))
        crop = np.pad(crop, (0, length - len(crop))) * np.float32(10 ** (rng.uniform(*GAIN_DB) / 20))
        return np.clip(crop, -1.0, 1.0)


def open_crops(corpus: Path, *, recordings: str | None, recordings_share: float, seed: int) -> Crops:
    """The training side of a corpus, with recordings where they are named."""
    sources: list[tuple[float, Sequence[Shard]]] = [(1.0, read_side(corpus, "train"))]
    if recordings:
        sources = [(1 - recordings_share, sources[0][1]), (recordings_share, read_side(corpus, f"{recordings}_train"))]
    return Crops(sources, seed=seed)
