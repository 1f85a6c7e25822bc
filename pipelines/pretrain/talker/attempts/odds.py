"""How probable attempts are to a talker."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipelines.pretrain.talker.attempts.saying import Asked, Attempt, batch_of
from pipelines.train.dataset import Batch
from pipelines.train.loss import Objective
from voice.prompt import Vocabulary


@dataclass(frozen=True, slots=True)
class Attempted:
    """B attempts side by side, with E targets in all."""

    batch: Batch
    row: Int64[Tensor, " E"]  # of each target
    own: Bool[Tensor, " E"]  # said by the talker: not the reference, nor the end of what was cut off

    @classmethod
    def of(cls, asked: Sequence[Asked], attempts: Sequence[Attempt], vocabulary: Vocabulary) -> "Attempted":
        """Lay out what was asked for and what was said."""
        own = []
        for one, attempt in zip(asked, attempts, strict=True):
            heard = [False] * one.chain.frames_heard
            own.append(torch.tensor([*heard, *[True] * len(attempt.codes), attempt.ended]))
        row = torch.arange(len(own)).repeat_interleave(torch.tensor([len(mask) for mask in own]))
        batch = batch_of(asked, [attempt.codes for attempt in attempts], vocabulary)
        return cls(batch, row, torch.cat(own))

    def to(self, device: torch.device | str) -> "Attempted":
        """Move every tensor."""
        return Attempted(self.batch.to(device), self.row.to(device), self.own.to(device))


def log_odds(objective: Objective, attempted: Attempted) -> Float[Tensor, " B"]:
    """The logarithm of the probability of each attempt: of its first codebook, which holds the words, and its end."""
    batch = attempted.batch
    hidden, _ = objective.read(batch)
    logits = objective.talker.codec_head(hidden[batch.targets_at - 1]).float()
    costs = cross_entropy(logits, batch.targets, reduction="none") * attempted.own
    return -costs.new_zeros(len(batch.text)).index_add(0, attempted.row, costs)
