"""Which checkpoint is kept after a training was heard, and when to stop hearing more of it.

The judges of a few sentences are noisy, and the highest of many noisy scores is mostly luck (docs/log.md): so the last
checkpoint is kept, where the learning rate has come to its end, unless an earlier one is better beyond the noise.
"""

import logging
from collections.abc import Sequence

import numpy as np
from scipy import stats

from pipelines.train.listening import Heard

log = logging.getLogger(__name__)


def highest(heard: Sequence[Heard]) -> Heard | None:
    """The listening with the highest score, the first of those that are alike.

    What was heard before the first update is there to compare with, not to be chosen.
    """
    return max((one for one in heard if one.step), key=lambda one: one.score, default=None)


def kept(heard: Sequence[Heard], *, confidence: float) -> Heard | None:
    """The last listening of a whole training, or the highest one where it is better with that confidence.

    Nobody need keep other weights than these two: one that is not the highest is not better beyond the noise either.
    """
    one = highest(heard)
    if one is None or one is heard[-1]:
        return one
    *before, last = heard
    doubt, gain = _doubt(before, confidence), one.score - last.score
    chosen = one if gain > doubt else last
    log.info(
        "after update %d the voice was heard to be better than after the last, %d, by %.3f of SIM - WER; noise "
        "explains %.3f: kept what it was after update %d", one.step, last.step, gain, doubt, chosen.step,
    )  # fmt: skip
    return chosen


def tired(heard: Sequence[Heard], *, patience: int | None) -> bool:
    """Whether the last `patience` listenings all scored no higher than one before them."""
    one = highest(heard)
    return patience is not None and one is not None and sum(h.step > one.step for h in heard) >= patience


def _doubt(before: Sequence[Heard], confidence: float) -> float:
    """By how much the highest of several scores must exceed the last one's to be better with that confidence.

    Sentences differ in how hard they are, so what is left of their scores beside that and beside each listening's level
    is the noise (two-way analysis of variance). Those before the last tell it, the untrained model's, too: one that
    breaks down on some sentences must not pass for noise. Each is another chance to be lucky (Bonferroni).
    """
    scores = np.array([list(one.by_sentence.values()) for one in before])
    listenings, sentences = scores.shape
    freedom = (listenings - 1) * (sentences - 1)
    if not freedom:
        return np.inf  # one sentence says nothing of its own noise
    noise = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    error = np.sqrt(2 * np.sum(noise**2) / freedom / sentences)  # of a difference of two listenings
    chances = sum(one.step > 0 for one in before)
    return float(error * stats.t.ppf(1 - (1 - confidence) / chances, freedom))
