"""Where each letter of a clip's text begins and ends."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torchaudio.functional as TA
from jaxtyping import Float, Int64
from torch import Tensor

from pipelines.pretrain.aligner.model import RATE
from pipelines.pretrain.material import Codes
from voice.errors import InputError
from voice.publish import publish

Bounds = Float[np.ndarray, " letters_and_one"]  # frames


def even_bounds(first: float, last: float, letters: int) -> Bounds:
    """As if all letters took as long."""
    return np.linspace(first, last, letters + 1, dtype=np.float32)


def bounds_of(scores: Float[Tensor, "frames3 symbols"], symbols: Int64[Tensor, " letters"]) -> Bounds | None:
    """The most probable bounds; between two letters half way. None if there are more letters than outputs."""
    repeats = int((symbols[1:] == symbols[:-1]).sum())
    if len(symbols) == 0 or len(symbols) + repeats > len(scores):
        return None
    path, certain = TA.forced_align(scores[None], symbols[None].to(torch.int32), blank=0)
    spans = TA.merge_tokens(path[0], certain[0])
    inner = [(before.end + after.start) / 2 for before, after in pairwise(spans)]
    return np.array([spans[0].start, *inner, spans[-1].end], np.float32) / RATE


def write_bounds(folder: Path, shard: str, bounds: Sequence[Bounds]) -> None:
    """Keep the bounds of a shard's clips, one after another."""
    folder.mkdir(parents=True, exist_ok=True)
    with publish(folder / f"{shard}.npy") as draft, draft.open("wb") as file:
        np.save(file, np.concatenate(bounds))


def read_bounds(folder: Path, shard: Codes) -> list[Bounds]:
    """What `write_bounds` kept. Raises InputError where nothing is kept."""
    path = folder / f"{shard.folder.name}.npy"
    if not path.is_file():
        raise InputError(f"{path} is missing. Run `python -m pipelines.pretrain.aligner` first.")
    letters = [len(line.text.encode()) + 1 for line in shard.lines]
    return np.split(np.load(path), np.cumsum(letters)[:-1])
