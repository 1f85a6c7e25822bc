"""Encoded clips -> padded batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pipelines.train.prompt import NOTHING, Prompt, Vocabulary, assistant_ids, build_prompt
from voice.errors import InputError
from voice.text import language_name
from voice.tts import Layout


@dataclass(frozen=True, slots=True)
class Example:
    """A clip ready to be laid out: token ids and codes."""

    id: str
    role: list[int]
    text: list[int]
    language: str | None  # the model's name; None where the clip's language is `auto`
    codes: Int64[Tensor, "frames codebooks"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples padded on the right. B batch, S positions, T frames of the longest."""

    text: Int64[Tensor, "B S"]
    codec: Int64[Tensor, "B S"]
    attention_mask: Int64[Tensor, "B S"]
    speaker_at: Int64[Tensor, " B"]
    first_frame_at: Int64[Tensor, " B"]
    codes: Int64[Tensor, "B T codebooks"]
    frame_mask: Bool[Tensor, "B T"]
    speaker_embedding: Float[Tensor, "B dimensions"]

    def to(self, device: torch.device | str) -> "Batch":
        """Move every tensor."""
        return Batch(**{name: getattr(self, name).to(device) for name in self.__slots__})


def read_examples(rows: Any, tokenizer: Any, vocabulary: Vocabulary, *, codebook_size: int) -> list[Example]:
    """Tokenise the rows of an encoded dataset. Raises InputError for codes that the model does not have."""
    examples = []
    for row in rows:
        codes = torch.tensor(row["codes"], dtype=torch.int64)
        if (
            codes.ndim != 2
            or codes.shape[1] != vocabulary.code_groups
            or codes.max() >= codebook_size
            or codes.min() < 0
        ):
            raise InputError(f"clip {row['id']}: its codes are of another model. Run `dvc repro encode`.")
        role, text = assistant_ids(tokenizer, row["text"])
        language = language_name(row["language"])
        examples.append(Example(row["id"], role, text, None if language == "auto" else language, codes))
    return examples


def lay_out(example: Example, vocabulary: Vocabulary, *, tagged: bool, layout: Layout) -> Prompt:
    """Build an example's prompt with or without its language tag."""
    return build_prompt(
        example.role,
        example.text,
        frames=len(example.codes),
        language=example.language if tagged else None,
        layout=layout,
        vocabulary=vocabulary,
    )


def collate(
    examples: Sequence[Example], prompts: Sequence[Prompt], speaker_embedding: Float[Tensor, " dimensions"]
) -> Batch:
    """Pad examples and their prompts to one batch; every row gets the voice's one speaker embedding."""
    lengths = [len(p.text) for p in prompts]
    frames = [len(e.codes) for e in examples]
    return Batch(
        text=pad_sequence([p.text for p in prompts], batch_first=True),
        codec=pad_sequence([p.codec for p in prompts], batch_first=True, padding_value=NOTHING),
        attention_mask=pad_sequence([torch.ones(n, dtype=torch.int64) for n in lengths], batch_first=True),
        speaker_at=torch.tensor([p.speaker_at for p in prompts]),
        first_frame_at=torch.tensor([p.first_frame_at for p in prompts]),
        codes=pad_sequence([e.codes for e in examples], batch_first=True),
        frame_mask=pad_sequence([torch.ones(n, dtype=torch.bool) for n in frames], batch_first=True),
        speaker_embedding=speaker_embedding.expand(len(examples), -1),
    )


def epoch(
    examples: Sequence[Example],
    vocabulary: Vocabulary,
    speaker_embedding: Tensor,
    *,
    batch_size: int,
    tag_probability: float,
    generator: torch.Generator,
) -> Iterator[Batch]:
    """Yield the examples once, shuffled; each with its language tag with the given probability, else `auto`."""
    order = torch.randperm(len(examples), generator=generator).tolist()
    for start in range(0, len(order), batch_size):
        chosen = [examples[i] for i in order[start : start + batch_size]]
        tags = (torch.rand(len(chosen), generator=generator) < tag_probability).tolist()
        prompts = [
            lay_out(e, vocabulary, tagged=tagged, layout=Layout.WHOLE) for e, tagged in zip(chosen, tags, strict=True)
        ]
        yield collate(chosen, prompts, speaker_embedding)
