"""Shards of several sources, drawn by how much of each is wanted."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

S = TypeVar("S")


class Mixed(Generic[S]):
    """Sources, each with its share of the crops; of a source, a shard by its length, so that every second is as likely.

    `length`: of a shard, in whatever unit.
    """

    def __init__(self, sources: Sequence[tuple[float, Sequence[S]]], *, length: Callable[[S], int]) -> None:
        self._sources = [shards for _, shards in sources]
        self._shares = np.array([share for share, _ in sources]) / sum(share for share, _ in sources)
        sizes = [np.array([length(shard) for shard in shards], dtype=np.float64) for shards in self._sources]
        self._odds = [size / size.sum() for size in sizes]

    def draw(self, rng: np.random.Generator) -> S:
        """One shard."""
        source = rng.choice(len(self._sources), p=self._shares)
        return self._sources[source][rng.choice(len(self._odds[source]), p=self._odds[source])]


def with_recordings(
    side: Callable[[str], Sequence[S]], recordings: str | None, share: float
) -> list[tuple[float, Sequence[S]]]:
    """The training side, and where they are named that of recordings, with their shares."""
    corpus = side("train")
    if not recordings:
        return [(1.0, corpus)]
    return [(1 - share, corpus), (share, side(f"{recordings}_train"))]
