"""The bounds of all letters of a corpus, on disk."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from voice.errors import InputError
from voice.publish import publish

BOUNDS_FOLDER = "bounds"  # of the aligner's
Bounds = Float[np.ndarray, " letters_and_one"]  # frames of 80 ms, from the beginning of the clip


def write_bounds(folder: Path, shard: str, bounds: Sequence[Bounds]) -> None:
    """Keep the bounds of a shard's clips, one after another."""
    folder.mkdir(parents=True, exist_ok=True)
    with publish(_path(folder, shard)) as draft, draft.open("wb") as file:
        np.save(file, np.concatenate(bounds))


def has_bounds(folder: Path, shard: str) -> bool:
    """Whether those of a shard are there."""
    return _path(folder, shard).is_file()


def read_bounds(folder: Path, shard: str, texts: Sequence[str]) -> list[Bounds]:
    """What `write_bounds` kept of clips with these texts. Raises InputError where nothing is kept."""
    path = _path(folder, shard)
    if not path.is_file():
        raise InputError(f"{path} is missing. Run `python -m pipelines.pretrain.aligner` first.")
    letters, kept = [len(text.encode()) + 1 for text in texts], np.load(path)
    if len(kept) != sum(letters):
        raise InputError(f"{path} is of other texts. Remove its folder and run `python -m pipelines.pretrain.aligner`.")
    return np.split(kept, np.cumsum(letters)[:-1])


def _path(folder: Path, shard: str) -> Path:
    return folder / f"{shard}.npy"
