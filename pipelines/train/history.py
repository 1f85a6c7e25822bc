"""What a talker is told it has said: in truth, or what it says itself.

Told the truth alone, it comes to depend on what only true codes tell: with its own in the later codebooks of what it
has said, the first codebook of the next frame cost 4.1 nats instead of 1.4 (docs/log.md).
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipelines.train.dataset import Batch
from pipelines.train.drawing import draw, draw_codes
from pipelines.train.loss import Objective

FIRST_OWN = 0.3  # of the frames that waver, those in which the first codebook does, too: more often than not it is true
TOGETHER = 512  # frames that are drawn at once: their caches are the largest thing that it takes


def wavering(frames: int, codebooks: int, rng: np.random.Generator, *, first: float) -> Int64[Tensor, " frames"]:
    """From which codebook on each frame is not what it should be, as a talker's own are not when it speaks by itself.

    Any share of the frames, from any codebook on, and in the share `first` of those from the first one on.
    """
    wrong = rng.random(frames) < np.sqrt(rng.random())  # two thirds, in the mean: when it speaks, all are its own
    since = rng.integers(1, codebooks, size=frames)
    since[rng.random(frames) < first] = 0
    return torch.from_numpy(np.where(wrong, since, codebooks))


@torch.no_grad()
def retold(
    objective: Objective,
    batch: Batch,
    since: Int64[Tensor, " N"],
    *,
    temperature: float,
    later: float,
    dice: Float[Tensor, "N codebooks"],
) -> Int64[Tensor, "N codebooks"]:
    """The batch's frames as the talker would have said them itself, after what was said in truth.

    Drawn from all codes, the first codebook's at `temperature`, the others at `later`; `dice` as for `draw_codes`.

    Of frames that waver (`since` is less than the number of codebooks) all later codebooks are drawn, and the first
    where that wavers, too; all frames at once (scheduled sampling for models that read in parallel, arXiv:1906.07651).
    """
    own = since < batch.frames.shape[1]
    history = batch.frames.clone()
    if not own.any():
        return history
    talker, hidden = objective.talker, objective.read(batch)[0][batch.frames_at[own] - 1]
    codes = talker.code_predictor.config.vocab_size
    said = draw(talker.codec_head(hidden)[:, :codes], temperature=temperature, dice=dice[own, 0])
    first = torch.where(since[own] == 0, said, batch.frames[own, 0])
    parts = zip(hidden.split(TOGETHER), first.split(TOGETHER), dice[own, 1:].split(TOGETHER), strict=True)
    history[own] = torch.cat([draw_codes(talker, h, f, temperature=later, dice=d) for h, f, d in parts])
    return history
