"""Of two attempts at a text, the one that is better understood: direct preference optimisation (arXiv:2305.18290).

Told the truth, a talker learns what comes next; it is never told what its own mistakes cost. So it says texts several
times (`pipelines.pretrain.talker.attempts`), the aligner's recogniser hears how well each is understood, and the better
one is made more probable than the worse, both against the talker that said them (for speech: arXiv:2502.05236). The
examples of the truth go on beside it, and the better attempt is learnt from as well: without, both become improbable.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from pipelines.pretrain.run import Pace
from pipelines.pretrain.talker.attempts.odds import Attempted, log_odds
from pipelines.pretrain.talker.attempts.records import Judged
from pipelines.pretrain.talker.attempts.saying import Asked
from pipelines.train.loss import Objective
from voice.bounds import within
from voice.errors import InputError
from voice.prompt import Vocabulary


@dataclass(kw_only=True)
class Preference(Pace):  # conf/talker.yaml
    """How long, how fast and how attempts are compared, once the truth has been learnt."""

    weight: float = within(low=0)  # against 1 for the talker's loss on the truth
    sharpness: float = within(above=0)  # how far a step may lead from the talker that said them: beta of the paper
    better: float = within(low=0)  # the weight of what the better attempt costs, against 1 for the comparison
    margin: float = within(low=0)  # nats a letter: closer ones are not compared
    positions: int = within(low=1)  # of a step, padding included

    def with_larger_batches(self, factor: int) -> Self:
        """As many pairs in fewer steps."""
        return replace(super().with_larger_batches(factor), positions=self.positions * factor)


@dataclass(frozen=True, slots=True)
class Pair:
    """A text, and two attempts at it."""

    asked: Asked
    better: Judged
    worse: Judged

    @property
    def positions(self) -> int:
        """Of the longer one."""
        longer = max(self.better.attempt.codes, self.worse.attempt.codes, key=len)
        return self.asked.example(longer).positions


@dataclass(frozen=True, slots=True)
class Compared:
    """A batch of pairs: in the first half of its rows the better attempts, in the second the worse, in that order."""

    attempted: Attempted
    odds: Float[Tensor, " 2*pairs"]  # to the talker that said them

    @classmethod
    def of(cls, pairs: Sequence[Pair], vocabulary: Vocabulary) -> "Compared":
        """Lay out pairs."""
        judged = [pair.better for pair in pairs] + [pair.worse for pair in pairs]
        asked, attempts = [pair.asked for pair in pairs] * 2, [one.attempt for one in judged]
        return cls(Attempted.of(asked, attempts, vocabulary), torch.tensor([one.odds for one in judged]))

    def to(self, device: torch.device | str) -> "Compared":
        """Move every tensor."""
        return Compared(self.attempted.to(device), self.odds.to(device))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch of pairs comes to."""

    comparison: Float[Tensor, ""]  # nats; log 2 before anything is learnt
    better: Float[Tensor, ""]  # nats a frame of the better ones
    right: Float[Tensor, ""]  # share of the pairs whose better attempt has gained on the worse one


def compare(objective: Objective, compared: Compared, *, sharpness: float) -> Outcome:
    """Equations 6 and 7 of the paper."""
    odds, attempted = log_odds(objective, compared.attempted), compared.attempted
    pairs, gained = len(odds) // 2, odds - compared.odds
    ahead = sharpness * (gained[:pairs] - gained[pairs:])
    frames = (attempted.own & (attempted.row < pairs)).sum()
    return Outcome(-logsigmoid(ahead).mean(), -odds[:pairs].sum() / frames, (ahead > 0).float().mean())


def pairs_of(texts: Iterable[tuple[Asked, Sequence[Judged]]], *, margin: float) -> list[Pair]:
    """The best and the worst attempt of each text, where they are far enough apart; the shortest pairs first."""
    pairs = []
    for asked, judged in texts:
        better, worse = min(judged, key=lambda one: one.nats), max(judged, key=lambda one: one.nats)
        if better.nats < worse.nats - margin:
            pairs.append(Pair(asked, better, worse))
    return sorted(pairs, key=lambda pair: pair.positions)


class Pairs:
    """Draws batches of pairs. A batch is a function of the seed and its number."""

    def __init__(self, pairs: Sequence[Pair], vocabulary: Vocabulary, *, seed: int) -> None:
        if not pairs:
            raise InputError(
                "no two attempts at a text are far enough apart. Lower schedule.preference.margin in conf/talker.yaml."
            )
        self._pairs, self._vocabulary, self._seed = pairs, vocabulary, seed

    def __len__(self) -> int:
        return len(self._pairs)

    def draw(self, number: int, *, positions: int) -> Compared:
        """Batch `number`: pairs of about the same length that fill `positions`."""
        last = int(np.random.default_rng([self._seed, number]).integers(len(self._pairs)))
        count = max(1, positions // (2 * self._pairs[last].positions))
        chosen = self._pairs[max(0, last + 1 - count) : last + 1]
        return Compared.of(chosen, self._vocabulary)
