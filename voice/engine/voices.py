"""Who speaks, as the engine's prompts need it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from voice.audio import SAMPLE_RATE, Waveform, seconds
from voice.errors import InputError
from voice.out_of_memory import refusing
from voice.prompt import Situation, Vocabulary, reference_ids
from voice.request import Request
from voice.text import language_name

SHORTEST_REFERENCE, LONGEST_REFERENCE = 0.5, 60.0  # seconds; 3 to 15 are good, and each costs 12.5 positions
# RMS, -52 dBFS: of what is softer a clone would pass for silence, whose peaks are 6 to 12 dB above (shaper.AUDIBLE)
QUIETEST_REFERENCE = 2.5e-3


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Voice:
    """A row of the checkpoint, a clone (its embedding, and in context also words and codes), or neither (designed)."""

    name: str
    row: int | None = None
    dialect: str | None = None  # the language that the row speaks instead of Chinese
    embedding: Float[Tensor, " dimensions"] | None = None
    words: tuple[int, ...] = ()  # text ids of what is said in the reference
    codes: Int64[Tensor, "frames codebooks"] | None = None
    takes_instructions: bool = False

    def situation(self, request: Request, instruction: list[int], vocabulary: Vocabulary) -> Situation:
        """What the request's text is spoken in. Raises InputError for a language that the checkpoint lacks."""
        language: str | None = language_name(request.language)
        if self.dialect and language in ("auto", "chinese"):
            language = self.dialect  # as upstream: the row was trained under that tag
        elif language == "auto":
            language = None
        if language is not None:
            vocabulary.language_row(language)
        return Situation(
            language=language,
            layout=request.layout,
            instruction=tuple(instruction),
            speaker=self.row,
            has_embedding=self.embedding is not None,
            words=self.words,
            frames=0 if self.codes is None else len(self.codes),
        )


def clone(tts: Any, name: str, waveforms: Sequence[Waveform], texts: Sequence[str] | None) -> Voice:
    """A voice that imitates clips: in context where their texts are given, else by its speaker embedding alone.

    Of several clips the embedding is the mean, and in context they follow each other as one. Raises InputError for a
    checkpoint that cannot clone, for clips that are too long in all, for the first that is too short or silent, and
    where memory is short.
    """
    if tts.model.tts_model_type != "base":
        raise InputError(f"a {tts.model.tts_model_type} checkpoint cannot clone. Use a Base model in conf/model/.")
    _require_references(waveforms)
    said: Sequence[str | None] = texts or [None] * len(waveforms)
    with refusing():
        items = [
            tts.create_voice_clone_prompt((waveform, SAMPLE_RATE), ref_text=text, x_vector_only_mode=text is None)[0]
            for waveform, text in zip(waveforms, said, strict=True)
        ]
    # copies: the library makes them in inference mode
    embedding = torch.stack([item.ref_spk_embedding.float().clone() for item in items]).mean(0)
    if texts is None:
        return Voice(name, embedding=embedding)
    words = tuple(reference_ids(tts.processor.tokenizer, " ".join(texts)))
    return Voice(name, embedding=embedding, words=words, codes=torch.cat([i.ref_code.cpu().clone() for i in items]))


def _require_references(waveforms: Sequence[Waveform]) -> None:
    if not waveforms:
        raise InputError("there is no reference. Give a clip of 3 to 15 s.")
    for number, waveform in enumerate(waveforms, 1):
        which = "the reference" if len(waveforms) == 1 else f"reference {number} of {len(waveforms)}"
        if seconds(waveform) < SHORTEST_REFERENCE:
            raise _wrong_length(f"{which} lasts {seconds(waveform):.1f} s")
        loudness = float(np.sqrt(np.mean(np.square(waveform))))
        if not loudness >= QUIETEST_REFERENCE:
            raise InputError(
                f"{which} is silent, or next to it (RMS {loudness:.4f}, {QUIETEST_REFERENCE:g} is needed). "
                "Choose a clip in which somebody speaks, or record it louder."
            )
    total = sum(map(seconds, waveforms))
    if total > LONGEST_REFERENCE:
        which = "the reference lasts" if len(waveforms) == 1 else f"the {len(waveforms)} references last together"
        raise _wrong_length(f"{which} {total:.1f} s")


def _wrong_length(what: str) -> InputError:
    return InputError(
        f"{what}, {SHORTEST_REFERENCE:g} s or more each, {LONGEST_REFERENCE:g} s in all can be imitated. "
        "Choose 3 to 15 s of speech."
    )


def speaker(tts: Any, name: str, row_name: str) -> Voice:
    """A speaker of a custom_voice checkpoint, in any case of letters. Raises InputError for one that it has not."""
    config = tts.model.config.talker_config
    row_name = row_name.lower()  # as the library does
    if row_name not in config.spk_id:
        known = ", ".join(sorted(config.spk_id))
        raise InputError(f"speaker {row_name!r} is not in the checkpoint. It has {known or 'none'}.")
    dialect = config.spk_is_dialect.get(row_name) or None
    # the small model was not trained on instructions; upstream drops them silently
    return Voice(
        name, row=config.spk_id[row_name], dialect=dialect, takes_instructions=tts.model.tts_model_size != "0b6"
    )


def designed(tts: Any, name: str) -> Voice:
    """A voice that each request's instruction describes. Raises InputError for a checkpoint of another kind."""
    if tts.model.tts_model_type != "voice_design":
        raise InputError(f"a {tts.model.tts_model_type} checkpoint designs no voices. Use a VoiceDesign model.")
    return Voice(name, takes_instructions=True)
