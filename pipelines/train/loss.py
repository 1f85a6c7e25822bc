"""The objective: exactly what `generate` computes, teacher-forced.

Upstream's trainer learns something else in four ways (QwenLM/Qwen3-TTS 022e286, issues 39, 179, 337, 371); the
comments marked (1) to (4) stand where this one differs, and tests/pipelines/train/test_alignment.py holds it to
`generate` within 1e-5.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipelines.train.dataset import Batch
from pipelines.train.prompt import NOTHING

PREDICTOR_WEIGHT = 0.3  # upstream's since 680d4e9


@dataclass(frozen=True, slots=True)
class Logits:
    """Teacher-forced logits: N frames of the whole batch, row by row; E = N + B, one more row each for the end."""

    talker: Float[Tensor, "E vocabulary"]
    predictor: Float[Tensor, "N codebooks_but_first codebook_size"]


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean cross-entropies in nats."""

    talker: Float[Tensor, ""]
    predictor: Float[Tensor, ""]

    @property
    def total(self) -> Float[Tensor, ""]:
        """What is minimised; 2.5 to 3.0 on the first batch of a published base."""
        return self.talker + PREDICTOR_WEIGHT * self.predictor


class Objective(nn.Module):
    """Talker and code predictor as one module, so that a distributed wrapper sees one forward."""

    def __init__(self, talker: Any, *, codec_eos: int) -> None:
        super().__init__()
        self.talker = talker
        self.codec_eos = codec_eos

    def forward(self, batch: Batch) -> Losses:
        """Cross-entropy of codebook 0 and the end by the talker, of the other codebooks by the code predictor."""
        logits = self.logits(batch)
        frames = batch.codes[batch.frame_mask]  # (N, codebooks)
        return Losses(
            talker=cross_entropy(logits.talker.float(), self._talker_targets(batch)),
            # (4) head i predicts codebook i + 1: the library's own loss shifts once more, so it is not used
            predictor=cross_entropy(logits.predictor.float().flatten(0, 1), frames[:, 1:].flatten()),
        )

    def logits(self, batch: Batch) -> Logits:
        """Teacher-forced logits of every frame and of the end."""
        hidden = self.talker.model(
            inputs_embeds=self._embed(batch), attention_mask=batch.attention_mask, use_cache=False
        ).last_hidden_state  # (B, S, hidden)
        # (2) The talker reads position p and predicts codebook 0 of the frame at p + 1: one shift, here.
        before = hidden[_positions(batch, offset=-1, extra=1)]  # (E, hidden)
        # (3) The code predictor continues from the position *before* its frame: it must not have seen the frame.
        before_frames = hidden[_positions(batch, offset=-1, extra=0)]  # (N, hidden)
        return Logits(self.talker.codec_head(before), self._predict(before_frames, batch.codes[batch.frame_mask]))

    def _embed(self, batch: Batch) -> Float[Tensor, "B S hidden"]:
        # (1) Text goes through the projection, as in `generate`. It has a bias, so padding is not zero after it;
        # attention_mask hides padding.
        text = self.talker.text_projection(self.talker.get_text_embeddings()(batch.text))
        rows = self.talker.get_input_embeddings()(batch.codec.clamp(min=0))
        inputs = text + rows * (batch.codec != NOTHING)[..., None]
        index = torch.arange(len(inputs), device=inputs.device)
        inputs = inputs.index_put((index, batch.speaker_at), batch.speaker_embedding.to(inputs.dtype), accumulate=True)
        frames = torch.stack(self._code_embeddings(batch.codes[batch.frame_mask])).sum(dim=0)
        return inputs.index_put(_positions(batch, offset=0, extra=0), frames.to(inputs.dtype), accumulate=True)

    def _code_embeddings(self, frames: Tensor) -> list[Tensor]:
        # codebook 0 is embedded by the talker, the others by the code predictor's tables
        tables = [self.talker.get_input_embeddings(), *self.talker.code_predictor.get_input_embeddings()]
        return [table(frames[:, i]) for i, table in enumerate(tables)]

    def _predict(self, hidden: Float[Tensor, "N hidden"], frames: Tensor) -> Float[Tensor, "N heads codebook_size"]:
        steps = torch.stack([hidden, *self._code_embeddings(frames)[:-1]], dim=1)  # (N, codebooks, hidden)
        return self.talker.code_predictor.forward_finetune(inputs_embeds=steps, use_cache=False).logits

    def _talker_targets(self, batch: Batch) -> Tensor:
        first = batch.codes[..., 0]
        ends = torch.full_like(first[:, :1], self.codec_eos)
        targets = torch.cat([first, ends], dim=1)  # (B, T + 1); the end belongs after each row's last frame
        lengths = batch.frame_mask.sum(dim=1, keepdim=True)
        targets = targets.scatter(1, lengths, ends)
        return targets[_steps(batch, extra=1)]


def _steps(batch: Batch, *, extra: int) -> Tensor:
    """Mask (B, T + extra) of each row's frames and `extra` steps after them."""
    lengths = batch.frame_mask.sum(dim=1, keepdim=True)
    return torch.arange(batch.frame_mask.shape[1] + extra, device=lengths.device)[None] < lengths + extra


def _positions(batch: Batch, *, offset: int, extra: int) -> tuple[Tensor, Tensor]:
    """Indices (row, position) of each row's frames, moved by `offset`, and of `extra` steps after them."""
    row, step = _steps(batch, extra=extra).nonzero(as_tuple=True)
    return row, batch.first_frame_at[row] + step + offset
