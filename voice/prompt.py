"""The sequence that `generate` runs, as two channels side by side: text ids and codec rows, with every slot named.

    channel   role   think tags       SPEAKER    PAD      text ... eos     BOS      frame 0 ... frame T-1
    text      r r r  pad ...          pad        bos      t t t ... eos    pad      pad ...
    codec     - - -  tags             embedding  PAD      PAD ... PAD      BOS      codes, all books summed

That is `Layout.WHOLE`. In `Layout.INTERLEAVED` the first text id stands on BOS and frame t carries text id t + 1,
then eos, then padding. An instruction's ids stand before the role's, with nothing beside them. A voice without a
speaker (voice_design) has no SPEAKER. A reference in the prompt puts its words before the text's, and its frames behind
BOS:

    WHOLE          ... PAD | words text eos on PAD | BOS frames beside padding
    INTERLEAVED    ... PAD | words text eos beside BOS frames, what is left over beside the frames to come

Read off qwen-tts 0.1.1, `Qwen3TTSForConditionalGeneration.generate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from voice.errors import InputError
from voice.request import Layout

NOTHING = -1  # codec channel: no row of the embedding table stands here


class Slot(StrEnum):
    """What a position of the codec prefix holds."""

    THINK = "think"
    NOTHINK = "nothink"
    THINK_BOS = "think_bos"
    THINK_EOS = "think_eos"
    LANGUAGE = "language"
    SPEAKER = "speaker"
    PAD = "pad"
    BOS = "bos"


AUTO_PREFIX = (Slot.NOTHINK, Slot.THINK_BOS, Slot.THINK_EOS, Slot.SPEAKER, Slot.PAD)
TAGGED_PREFIX = (Slot.THINK, Slot.THINK_BOS, Slot.LANGUAGE, Slot.THINK_EOS, Slot.SPEAKER, Slot.PAD)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The control ids of a checkpoint, all from its config."""

    tts_pad: int
    tts_bos: int
    tts_eos: int
    codec_eos: int
    rows: dict[Slot, int]
    languages: dict[str, int]
    code_groups: int

    @classmethod
    def of(cls, config: Any) -> "Vocabulary":
        """Read the ids of a `Qwen3TTSConfig`."""
        talker = config.talker_config
        return cls(
            tts_pad=config.tts_pad_token_id,
            tts_bos=config.tts_bos_token_id,
            tts_eos=config.tts_eos_token_id,
            codec_eos=talker.codec_eos_token_id,
            rows={
                Slot.THINK: talker.codec_think_id,
                Slot.NOTHINK: talker.codec_nothink_id,
                Slot.THINK_BOS: talker.codec_think_bos_id,
                Slot.THINK_EOS: talker.codec_think_eos_id,
                Slot.PAD: talker.codec_pad_id,
                Slot.BOS: talker.codec_bos_id,
            },
            languages=dict(talker.codec_language_id),
            code_groups=talker.num_code_groups,
        )

    def language_row(self, language: str | None) -> int:
        """The row of a language's tag, by the model's name of it. Raises InputError for one that it does not have."""
        if language not in self.languages:
            known = ", ".join(sorted(self.languages))
            raise InputError(f"the checkpoint has no language {language!r}. It has {known}.")
        return self.languages[language]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One example's channels up to its last frame, and where the named things stand."""

    text: Int64[Tensor, " length"]
    codec: Int64[Tensor, " length"]  # rows of the codec embedding; NOTHING under role, speaker and frames
    speaker_at: int
    text_at: int  # the first token of the text; the others follow, in either layout
    first_frame_at: int


def without_orders(tokenizer: Any, text: str) -> str:
    """The text without control tokens, whoever wrote them: `<|im_end|>` in it would end it."""
    tokens = [token for token in tokenizer.get_added_vocab() if "<" in token] if "<" in text else []
    while found := next((token for token in tokens if token in text), None):
        text = text.replace(found, " ")
    return text


def assistant_ids(tokenizer: Any, text: str) -> tuple[list[int], list[int]]:
    """Tokenise a text in the template of qwen-tts: (the role's three ids, the text's ids)."""
    text = without_orders(tokenizer, text)
    ids = tokenizer(f"<|im_start|>assistant\n{text}<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    return ids[:3], ids[3:-5]  # the template's tail is five ids; `generate` slices the same way


def reference_ids(tokenizer: Any, text: str) -> list[int]:
    """Tokenise the words of a reference clip."""
    return tokenizer(f"<|im_start|>assistant\n{without_orders(tokenizer, text)}<|im_end|>\n")["input_ids"][3:-2]


def instruction_ids(tokenizer: Any, instruct: str) -> list[int]:
    """Tokenise an instruction with its template, all of which is read."""
    return tokenizer(f"<|im_start|>user\n{without_orders(tokenizer, instruct)}<|im_end|>\n")["input_ids"]


@dataclass(frozen=True, slots=True)
class Opening:
    """All that stands before the first frame to be spoken, and the text that stands beside the frames."""

    text: Int64[Tensor, " length"]
    codec: Int64[Tensor, " length"]  # as in Prompt; a speaker that has a row stands here
    speaker_at: int | None  # where a speaker's embedding goes
    frames_at: int  # where the reference's frames begin; the length without one
    beside: list[int]  # text ids beside the frames to come; then padding
    shared: int  # positions that any text of the same voice, language, instruction and layout begins with


@dataclass(frozen=True, slots=True)
class Situation:
    """What a request's text is spoken in: everything else that the prompt holds."""

    language: str | None  # the model's name of it, or None for the `auto` prefix
    layout: Layout
    instruction: Sequence[int] = ()
    speaker: int | None = None  # its row
    has_embedding: bool = False  # its embedding goes into the SPEAKER slot instead
    words: Sequence[int] = ()  # of the reference in the prompt
    frames: int = 0  # of the reference in the prompt


def build_opening(role: Sequence[int], text: Sequence[int], situation: Situation, vocabulary: Vocabulary) -> Opening:
    """Lay out a request. Raises InputError for a text without tokens and a language that the checkpoint lacks."""
    if not text:
        raise InputError("the text has no tokens. Send the words to speak.")
    s, ends, begins = situation, [*situation.words, *text, vocabulary.tts_eos], [*situation.instruction, *role]
    prefix: tuple[Slot, ...] = AUTO_PREFIX if s.language is None else TAGGED_PREFIX
    if s.speaker is None and not s.has_embedding:
        prefix = tuple(slot for slot in prefix if slot is not Slot.SPEAKER)
    rows = [
        s.speaker if slot is Slot.SPEAKER and s.speaker is not None else _row(slot, s.language, vocabulary)
        for slot in prefix
    ]
    speaker_at = len(begins) + prefix.index(Slot.SPEAKER) if s.has_embedding else None
    texts = [*begins, *[vocabulary.tts_pad] * (len(prefix) - 1), vocabulary.tts_bos]
    codec = [NOTHING] * len(begins) + rows
    shared, pad = len(texts), vocabulary.rows[Slot.PAD]
    spoken = [vocabulary.rows[Slot.BOS]] + [NOTHING] * s.frames
    if s.layout is Layout.WHOLE:
        shared += len(s.words)
        texts += ends + [vocabulary.tts_pad] * len(spoken)
        codec += [pad] * len(ends) + spoken
        beside: list[int] = []
    else:
        shared += min(len(s.words), len(spoken))
        texts += (ends + [vocabulary.tts_pad] * len(spoken))[: len(spoken)]
        codec += spoken
        beside = ends[len(spoken) :]
    shared = min(shared, len(texts) - 1)  # the last position is always read anew: frame 0 is drawn from it
    return Opening(torch.tensor(texts), torch.tensor(codec), speaker_at, len(texts) - s.frames, beside, shared)


def build_prompt(
    role: Sequence[int],
    text: Sequence[int],
    *,
    frames: int,
    language: str | None,
    layout: Layout,
    vocabulary: Vocabulary,
) -> Prompt:
    """Lay out one example. `language` is the model's name of it, or None for the `auto` prefix."""
    if not text:
        raise InputError("a clip's text has no tokens. Write what is said in it.")
    prefix = AUTO_PREFIX if language is None else TAGGED_PREFIX
    codec = [NOTHING] * len(role) + [_row(slot, language, vocabulary) for slot in prefix]
    texts = [*role, *[vocabulary.tts_pad] * (len(prefix) - 1), vocabulary.tts_bos]
    ends = [*text, vocabulary.tts_eos]
    if layout is Layout.WHOLE:
        texts += [*ends, vocabulary.tts_pad]
        codec += [vocabulary.rows[Slot.PAD]] * len(ends) + [vocabulary.rows[Slot.BOS]]
        beside = []
    else:
        texts.append(ends[0])
        codec.append(vocabulary.rows[Slot.BOS])
        beside = ends[1 : frames + 1]
    first_frame = len(texts)
    texts += beside + [vocabulary.tts_pad] * (frames - len(beside))
    codec += [NOTHING] * frames
    return Prompt(
        torch.tensor(texts),
        torch.tensor(codec),
        speaker_at=len(role) + prefix.index(Slot.SPEAKER),
        text_at=len(role) + len(prefix),
        first_frame_at=first_frame,
    )


def _row(slot: Slot, language: str | None, vocabulary: Vocabulary) -> int:
    if slot is Slot.SPEAKER:
        return NOTHING  # the embedding itself is put there
    if slot is not Slot.LANGUAGE:
        return vocabulary.rows[slot]
    return vocabulary.language_row(language)
