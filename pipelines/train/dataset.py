"""Encoded clips -> padded batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from voice.audio import FRAME_RATE
from voice.errors import InputError
from voice.prompt import NOTHING, TAGGED_PREFIX, Prompt, Vocabulary, assistant_ids, build_prompt
from voice.text import language_name
from voice.tts import Layout

TEXT_ENDS = 2  # text's end and BOS stand between the text and the first frame


@dataclass(frozen=True, slots=True)
class Example:
    """A clip ready to be laid out: token ids and codes."""

    id: str
    role: list[int]
    text: list[int]
    language: str | None  # the model's name; None where the clip's language is `auto`
    codes: Int64[Tensor, "frames codebooks"]

    @property
    def positions(self) -> int:
        """Its length in the talker, with a language tag."""
        return len(self.role) + len(TAGGED_PREFIX) + len(self.text) + TEXT_ENDS + len(self.codes)


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples padded on the right: B rows of S positions with N frames and E = N + B talker targets in all.

    Places are indices into the B x S positions, counted row by row. They are found here, on the CPU: finding them on
    the device would make it wait for the host.
    """

    text: Int64[Tensor, "B S"]
    codec: Int64[Tensor, "B S"]
    attention_mask: Int64[Tensor, "B S"]
    speaker_at: Int64[Tensor, " B"]
    frames_at: Int64[Tensor, " N"]
    frames: Int64[Tensor, "N codebooks"]
    predicted: Int64[Tensor, " P"]  # which of the N frames the code predictor is trained on
    targets_at: Int64[Tensor, " E"]  # where the targets stand: each frame, and the position after each row's last
    targets: Int64[Tensor, " E"]  # codebook 0 of each frame, and the end
    speaker_embedding: Float[Tensor, "B dimensions"]

    def to(self, device: torch.device | str) -> "Batch":
        """Move every tensor."""
        return Batch(**{name: getattr(self, name).to(device, non_blocking=True) for name in self.__slots__})


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
            raise InputError(
                f"clip {row['id']}: its codes are of another model. Set `model` in params.yaml, run `dvc repro encode`."
            )
        role, text = assistant_ids(tokenizer, row["text"])
        if not text:
            raise InputError(f"clip {row['id']}: its text has no tokens. Write what is said in it.")
        language = language_name(row["language"])
        if language != "auto":
            try:
                vocabulary.language_row(language)
            except InputError as error:
                raise InputError(f"clip {row['id']}: {error}") from None
        examples.append(Example(row["id"], role, text, None if language == "auto" else language, codes))
    return examples


def require_room(examples: Sequence[Example], *, limit: int, setting: str) -> None:
    """Raise InputError for the first clip that takes more than `limit` positions."""
    for example in examples:
        if example.positions > limit:
            raise InputError(
                f"clip {example.id}: its {len(example.codes) / FRAME_RATE:.0f} s and its text take {example.positions} "
                f"positions, {setting} is {limit}. Cut it in two, or lower max_seconds in conf/data/curate.yaml."
            )


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
    examples: Sequence[Example],
    prompts: Sequence[Prompt],
    speaker_embedding: Float[Tensor, "*B dimensions"],
    *,
    codec_eos: int,
    predicted: Sequence[Int64[Tensor, " p"]] | None = None,
) -> Batch:
    """Pad examples and their prompts to one batch; every row gets the one speaker embedding, or its own.

    `predicted` holds the frames of each example that the code predictor is trained on; by default all are.
    """
    lengths = [len(e.codes) for e in examples]
    before = [0, *accumulate(lengths)][: len(lengths)]
    chosen = predicted or [torch.arange(n) for n in lengths]
    longest = max(len(p.text) for p in prompts)
    first = [row * longest + p.first_frame_at for row, p in enumerate(prompts)]
    end = torch.tensor([codec_eos])
    return Batch(
        text=pad_sequence([p.text for p in prompts], batch_first=True),
        codec=pad_sequence([p.codec for p in prompts], batch_first=True, padding_value=NOTHING),
        attention_mask=pad_sequence([torch.ones_like(p.text) for p in prompts], batch_first=True),
        speaker_at=torch.tensor([row * longest + p.speaker_at for row, p in enumerate(prompts)]),
        frames_at=torch.cat([at + torch.arange(n) for at, n in zip(first, lengths, strict=True)]),
        frames=torch.cat([e.codes for e in examples]),
        predicted=torch.cat([at + frames for at, frames in zip(before, chosen, strict=True)]),
        targets_at=torch.cat([at + torch.arange(n + 1) for at, n in zip(first, lengths, strict=True)]),
        targets=torch.cat([torch.cat([e.codes[:, 0], end]) for e in examples]),
        speaker_embedding=speaker_embedding.expand(len(examples), -1),
    )
