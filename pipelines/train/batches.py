"""Which clips an update sees: a pure function of seed, epoch and batch, so that a resumed training needs no memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 16  # batches; clips are sorted by length only within so many, so that epochs still differ


@dataclass(frozen=True, slots=True)
class Draw:
    """One clip of an update."""

    index: int
    tagged: bool  # whether it is seen with its language tag, or with the `auto` prefix


def batches_per_epoch(clips: int, batch_size: int) -> int:
    """Updates that an epoch takes; the last may be smaller."""
    return -(-clips // batch_size)


def draw_epoch(
    lengths: Sequence[int], *, batch_size: int, tag_probability: float, seed: int, epoch: int
) -> list[list[Draw]]:
    """Shuffle an epoch into batches of clips of about the same length, each clip once, the batches in random order."""
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    tagged = generator.random(len(lengths)) < tag_probability
    batches: list[list[Draw]] = []
    for start in range(0, len(order), WINDOW * batch_size):
        window = sorted(order[start : start + WINDOW * batch_size].tolist(), key=lambda i: -lengths[i])
        batches += [
            [Draw(i, bool(tagged[i])) for i in window[at : at + batch_size]] for at in range(0, len(window), batch_size)
        ]
    return [batches[i] for i in generator.permutation(len(batches))]


def micro_batches(
    batch: Sequence[Draw], lengths: Sequence[int], *, max_positions: int, process: int = 0, processes: int = 1
) -> Iterator[list[Draw]]:
    """Cut one process's share of an update into forward passes of at most `max_positions` padded positions.

    Clips are dealt out by length, so that processes have about the same work. A clip longer than `max_positions` goes
    alone.
    """
    share = sorted(batch, key=lambda draw: -lengths[draw.index])[process::processes]
    chosen: list[Draw] = []
    for draw in share:
        if chosen and (len(chosen) + 1) * lengths[chosen[0].index] > max_positions:
            yield chosen
            chosen = []
        chosen.append(draw)
    if chosen:
        yield chosen
