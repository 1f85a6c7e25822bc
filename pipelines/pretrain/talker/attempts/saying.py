"""Whole utterances by a talker in training, many at once, as the engine would draw them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import DynamicCache

from pipelines.pretrain.talker.data import Chain, Clip
from pipelines.train.dataset import Batch, Example, collate
from pipelines.train.drawing import draw, draw_codes
from pipelines.train.loss import Objective
from voice.engine.sampling import FEWEST_FRAMES
from voice.prompt import Prompt, Vocabulary, build_prompt
from voice.tts import Layout


@dataclass(frozen=True, slots=True)
class Asked:
    """A text to say: what a chain holds after what is heard of it. The voice is another clip's."""

    chain: Chain
    voice: Clip
    tagged: bool
    layout: Layout

    def example(self, said: Int64[Tensor, "frames codebooks"]) -> Example:
        """The reference, and these codes after it."""
        return self.chain.continued(said)

    def prompt(self, frames: int, vocabulary: Vocabulary) -> Prompt:
        """The reference and so many frames after it."""
        example = self.chain.continued(torch.empty(0, vocabulary.code_groups, dtype=torch.int64))
        return build_prompt(
            example.role,
            example.text,
            frames=len(example.codes) + frames,
            language=example.language if self.tagged else None,
            layout=self.layout,
            vocabulary=vocabulary,
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was said."""

    codes: Int64[Tensor, "frames codebooks"]
    ended: bool  # by itself; otherwise it was cut off


def batch_of(
    asked: Sequence[Asked], said: Sequence[Int64[Tensor, "frames codebooks"]], vocabulary: Vocabulary
) -> Batch:
    """What was asked for and what was said, as the objective reads it; nothing for the code predictor to learn."""
    examples = [one.example(codes) for one, codes in zip(asked, said, strict=True)]
    prompts = [one.prompt(len(codes), vocabulary) for one, codes in zip(asked, said, strict=True)]
    voices = torch.stack([one.voice.speaker_embedding for one in asked])
    nothing = [torch.empty(0, dtype=torch.int64) for _ in asked]
    return collate(examples, prompts, voices, codec_eos=vocabulary.codec_eos, predicted=nothing)


@dataclass(slots=True)
class _Speaking:
    # rows that have not ended yet; all tensors have one row for each
    cache: DynamicCache
    mask: Int64[Tensor, "rows positions"]
    next_at: Int64[Tensor, " rows"]
    hidden: Float[Tensor, "rows hidden"]
    number: Int64[Tensor, " rows"]  # which attempt each is

    def keep(self, rows: Int64[Tensor, " kept"]) -> None:
        if len(rows) == len(self.number):
            return
        self.cache.batch_select_indices(rows)
        self.mask, self.next_at = self.mask[rows], self.next_at[rows]
        self.hidden, self.number = self.hidden[rows], self.number[rows]


class Sayer:
    """A talker that says what it is asked to."""

    def __init__(self, objective: Objective, vocabulary: Vocabulary, *, temperature: float) -> None:
        self._objective, self._talker = objective, objective.talker
        self._vocabulary, self._temperature = vocabulary, temperature

    @torch.no_grad()
    def say(self, asked: Sequence[Asked], budgets: Sequence[int], generator: torch.Generator) -> list[Attempt]:
        """Each to its end, or to its budget of frames."""
        longest = max(budgets)
        beside = torch.stack([self._beside(one, longest) for one in asked])
        said = torch.zeros(len(asked), longest, self._vocabulary.code_groups, dtype=torch.int64)
        frames, limits = torch.zeros(len(asked), dtype=torch.int64), torch.tensor(budgets)
        speaking, ended = self._listen(asked), torch.zeros(len(asked), dtype=torch.bool)
        for number in range(longest):
            dice = torch.rand(len(asked), said.shape[2], generator=generator)[speaking.number]
            first, ends = self._first(speaking.hidden, dice[:, 0], may_end=number >= FEWEST_FRAMES)
            ended[speaking.number[ends]] = True
            goes_on = ~ends & (number < limits[speaking.number])
            if not goes_on.any():
                break
            rows = goes_on.nonzero()[:, 0]
            speaking.keep(rows)
            codes = draw_codes(
                self._talker, speaking.hidden, first[rows], temperature=self._temperature, dice=dice[rows, 1:]
            )
            said[speaking.number, number] = codes
            frames[speaking.number] = number + 1
            self._hear(speaking, self._objective.next_inputs(codes, beside[speaking.number, number]))
        return [Attempt(said[n, : frames[n]].clone(), bool(ended[n])) for n in range(len(asked))]

    def _beside(self, asked: Asked, frames: int) -> Int64[Tensor, " frames"]:
        # the text ids that stand beside the frames to come
        return asked.prompt(frames, self._vocabulary).text[-frames:]

    def _listen(self, asked: Sequence[Asked]) -> _Speaking:
        nothing = torch.empty(0, self._vocabulary.code_groups, dtype=torch.int64)
        batch, cache = batch_of(asked, [nothing] * len(asked), self._vocabulary), DynamicCache()
        read = self._talker.model(
            inputs_embeds=self._objective.inputs(batch),
            attention_mask=batch.attention_mask,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        lengths, rows = batch.attention_mask.sum(dim=1), torch.arange(len(asked))
        return _Speaking(cache, batch.attention_mask, lengths, read[rows, lengths - 1], rows)

    def _first(
        self, hidden: Float[Tensor, "rows hidden"], dice: Float[Tensor, " rows"], *, may_end: bool
    ) -> tuple[Int64[Tensor, " rows"], Tensor]:
        # the first codebook, and who ends instead
        logits = self._talker.codec_head(hidden).float()
        codes = self._talker.code_predictor.config.vocab_size
        end = logits[:, self._vocabulary.codec_eos, None]
        choices = torch.cat([logits[:, :codes], end if may_end else torch.full_like(end, -torch.inf)], dim=1)
        drawn = draw(choices, temperature=self._temperature, dice=dice)
        return drawn.clamp(max=codes - 1), drawn == codes

    def _hear(self, speaking: _Speaking, inputs: Float[Tensor, "rows hidden"]) -> None:
        speaking.mask = torch.cat([speaking.mask, torch.ones_like(speaking.mask[:, :1])], dim=1)
        speaking.hidden = self._talker.model(
            inputs_embeds=inputs[:, None],
            attention_mask=speaking.mask,
            position_ids=speaking.next_at[:, None],
            past_key_values=speaking.cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        speaking.next_at = speaking.next_at + 1
