"""The objective: exactly what `generate` computes, teacher-forced.

Upstream's trainer learns something else in four ways (QwenLM/Qwen3-TTS 022e286, issues 39, 179, 337, 371); the
comments marked (1) to (4) stand where this one differs, and tests/pipelines/train/test_alignment.py holds it to
`generate` within 1e-5.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipelines.train.dataset import Batch
from voice.prompt import NOTHING

PREDICTOR_WEIGHT = 0.3  # upstream's since 680d4e9


@dataclass(frozen=True, slots=True)
class Logits:
    """Teacher-forced logits: E frames and ends of the whole batch, row by row; P frames that are predicted."""

    talker: Float[Tensor, "E vocabulary"]
    predictor: Float[Tensor, "P codebooks_but_first codebook_size"]


@dataclass(frozen=True, slots=True)
class Losses:
    """Cross-entropies in nats, summed over E talker targets and, for each later codebook, over P frames.

    Sums, because an update is the mean over all its targets, however they were cut into micro-batches and dealt out to
    processes: a mean of means would weigh short clips more.
    """

    talker_sum: Float[Tensor, ""]
    codebook_sums: Float[Tensor, " codebooks_but_first"]
    targets: int  # E
    frames: int  # P

    @property
    def talker(self) -> Float[Tensor, ""]:
        """Mean over targets."""
        return self.talker_sum / self.targets

    @property
    def predictor(self) -> Float[Tensor, ""]:
        """Mean over frames and codebooks."""
        return self.codebook_sums.mean() / self.frames

    @property
    def total(self) -> Float[Tensor, ""]:
        """What is minimised; 2.5 to 3.0 on the first batch of a published base."""
        return self.share(targets=self.targets, frames=self.frames)

    def share(self, *, targets: int, frames: int) -> Float[Tensor, ""]:
        """This part's contribution to the total of an update with so many targets and frames."""
        return self.talker_sum / targets + PREDICTOR_WEIGHT * self.codebook_sums.mean() / frames


class Objective(nn.Module):
    """Talker and code predictor as one module."""

    def __init__(self, talker: Any) -> None:
        super().__init__()
        self.talker = talker

    def forward(self, batch: Batch, *, history: Int64[Tensor, "N codebooks"] | None = None) -> Losses:
        """Cross-entropy of codebook 0 and the end by the talker, of the other codebooks by the code predictor.

        `history` as for `read`.
        """
        return self.losses(batch, self.logits(batch, history=history))

    def losses(self, batch: Batch, logits: Logits) -> Losses:
        """What the logits cost."""
        talker = cross_entropy(logits.talker.float(), batch.targets, reduction="sum")
        # (4) head i predicts codebook i + 1: the library's own loss shifts once more, so it is not used
        predictor = cross_entropy(
            logits.predictor.float().transpose(1, 2), batch.frames[batch.predicted, 1:], reduction="none"
        )  # (P, codebooks - 1)
        return Losses(talker, predictor.sum(dim=0), len(batch.targets), len(batch.predicted))

    def logits(self, batch: Batch, *, history: Int64[Tensor, "N codebooks"] | None = None) -> Logits:
        """Teacher-forced logits of every frame and of the end."""
        return self.predict(batch, *self.read(batch, history=history))

    def read(
        self, batch: Batch, *, history: Int64[Tensor, "N codebooks"] | None = None
    ) -> tuple[Float[Tensor, "B_S hidden"], list[Tensor]]:
        """The talker's last hidden state at every position, row by row, and each codebook's embeddings (N, hidden).

        `history`: the frames that the talker is told it has said, if they are not those of the batch.
        """
        embedded = self._embed_codes(batch.frames)
        said = embedded if history is None else self._embed_codes(history)
        hidden = self.talker.model(
            inputs_embeds=self._embed(batch, said), attention_mask=batch.attention_mask, use_cache=False
        ).last_hidden_state
        return hidden.flatten(0, 1), embedded

    def predict(self, batch: Batch, hidden: Float[Tensor, "B_S hidden"], embedded: list[Tensor]) -> Logits:
        """What the talker's head and the code predictor make of the hidden states."""
        # (2) The talker reads position p and predicts codebook 0 of the frame at p + 1: one shift, here.
        before_targets = hidden[batch.targets_at - 1]  # (E, hidden)
        # (3) The code predictor continues from the position *before* its frame: it must not have seen the frame.
        before_frames = hidden[batch.frames_at[batch.predicted] - 1]  # (P, hidden)
        inputs = [before_frames, *(e[batch.predicted].to(hidden.dtype) for e in embedded[:-1])]
        predictor = self.talker.code_predictor.forward_finetune(
            inputs_embeds=torch.stack(inputs, dim=1), use_cache=False
        )
        return Logits(self.talker.codec_head(before_targets), predictor.logits)

    def _embed(self, batch: Batch, embedded: list[Tensor]) -> Float[Tensor, "B S hidden"]:
        # (1) Text goes through the projection, as in `generate`. It has a bias, so padding is not zero after it;
        # attention_mask hides padding.
        text = self.talker.text_projection(self.talker.get_text_embeddings()(batch.text))
        rows = self.talker.get_input_embeddings()(batch.codec.clamp(min=0))
        inputs = text + rows * (batch.codec != NOTHING)[..., None]
        flat = inputs.flatten(0, 1).index_add(0, batch.speaker_at, batch.speaker_embedding.to(inputs.dtype))
        frames = torch.stack(embedded).sum(dim=0)  # (N, hidden)
        return flat.index_add(0, batch.frames_at, frames.to(inputs.dtype)).view_as(inputs)

    def _embed_codes(self, frames: Int64[Tensor, "N codebooks"]) -> list[Tensor]:
        # codebook 0 is embedded by the talker, the others by the code predictor's tables
        tables = [self.talker.get_input_embeddings(), *self.talker.code_predictor.get_input_embeddings()]
        return [table(frames[:, i]) for i, table in enumerate(tables)]
