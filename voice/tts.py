"""One interface to synthesis, used by evaluation and service alike: requests in, waveforms out."""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from voice import checkpoint
from voice.audio import FRAME_RATE, Waveform, read_waveform
from voice.engine.delivery import PLAIN, Delivery, Speaking
from voice.engine.engine import Engine
from voice.engine.linear import Precision
from voice.engine.listener import Listener
from voice.engine.scheduler import Ending, Stream, Watch
from voice.engine.voices import Voice, clone, designed
from voice.engine.voices import speaker as speaker_of
from voice.errors import InputError
from voice.pack import Kind, Reference, VoiceCard
from voice.request import Layout, Request, Sampling, Speech
from voice.text import spoken_bytes, usual_seconds
from voice.upstream import Qwen3TTSModel

__all__ = ["TTS", "Layout", "Qwen3TTS", "Request", "Sampling", "Speech", "frame_budget"]


class TTS(Protocol):
    """A loaded voice."""

    voice: str

    def stream(self, request: Request) -> Iterator[Waveform]:
        """Yield the utterance in chunks, the first as early as possible."""
        ...

    def batch(self, requests: Sequence[Request]) -> list[Speech]:
        """Synthesise many; each result is what the request alone would give."""
        ...


def frame_budget(text: str) -> int:
    """Frames after which an utterance counts as a runaway: 2 s, and three times the usual pace.

    0.3 to 0.7 % of utterances never end by themselves (sgl-project/sglang-omni#1179).
    """
    return max(2, math.ceil(FRAME_RATE * (2.0 + 3.0 * usual_seconds(spoken_bytes(text)))))


class Qwen3TTS:
    """One voice of a checkpoint, spoken by the project's engine."""

    def __init__(self, engine: Engine, voice: Voice, *, delivery: Delivery = PLAIN) -> None:
        self.voice = voice.name
        self._engine, self._spoken, self._delivery = engine, voice, delivery

    @classmethod
    def zero_shot(
        cls,
        model: Qwen3TTSModel,
        *references: Reference,
        voice: str,
        in_context: bool,
        delivery: Delivery = PLAIN,
        precision: Precision | None = None,
    ) -> "Qwen3TTS":
        """Imitate one reference clip or more: with audio and text in the prompt, or by the speaker embedding only."""
        waveforms = [read_waveform(reference.audio) for reference in references]
        cloned = clone(model, voice, waveforms, [r.text for r in references] if in_context else None)
        return cls(Engine.of(model, precision=precision), cloned, delivery=delivery)

    @classmethod
    def finetuned(
        cls,
        model: Qwen3TTSModel,
        *,
        voice: str,
        speaker: str,
        delivery: Delivery = PLAIN,
        precision: Precision | None = None,
    ) -> "Qwen3TTS":
        """Speak as a row of a custom_voice checkpoint: a fine-tuned voice or a stock one."""
        return cls(Engine.of(model, precision=precision), speaker_of(model, voice, speaker), delivery=delivery)

    @classmethod
    def designed(
        cls, model: Qwen3TTSModel, *, voice: str, delivery: Delivery = PLAIN, precision: Precision | None = None
    ) -> "Qwen3TTS":
        """Speak as each request's instruction describes (voice_design checkpoints)."""
        return cls(Engine.of(model, precision=precision), designed(model, voice), delivery=delivery)

    @classmethod
    def from_pack(
        cls,
        folder: Path,
        *,
        device: str | None = None,
        delivery: Delivery = PLAIN,
        precision: Precision | None = None,
    ) -> "Qwen3TTS":
        """Load a voice pack, of either kind. Without a precision: bf16 on CUDA, float32 on the CPU."""
        card = VoiceCard.read(folder)
        device = device or checkpoint.default_device()
        cloning = card.kind is Kind.ZERO_SHOT
        model = checkpoint.load(folder, device=device, dtype=checkpoint.inference_dtype(device), cloning=cloning)
        if card.kind is Kind.FINETUNED and card.speaker:
            return cls.finetuned(model, voice=card.name, speaker=card.speaker, delivery=delivery, precision=precision)
        reference = Reference.read(folder)
        return cls.zero_shot(model, reference, voice=card.name, in_context=True, delivery=delivery, precision=precision)

    def stream(self, request: Request) -> Speaking:
        """Yield the utterance in chunks, the first after one frame. Closing the iterator stops it."""
        return self._speaking(request, self._delivery, hold=False, group=object())

    def batch(self, requests: Sequence[Request]) -> list[Speech]:
        """Synthesise many at a time; each result is what the request alone would give."""
        delivery, together = replace(self._delivery, ahead=None), object()
        begun = [self._speaking(r, delivery, hold=True, group=together) for r in requests]
        return [_collect(speaking) for speaking in begun]

    def speak(self, request: Request) -> Speech:
        """Synthesise one utterance. Raises InputError for what this voice cannot say."""
        [speech] = self.batch([request])
        return speech

    def _speaking(self, request: Request, delivery: Delivery, *, hold: bool, group: Hashable) -> Speaking:
        if request.voice != self.voice:
            raise InputError(f"voice {request.voice!r} is not loaded. This is {self.voice!r}.")

        def begin(piece: Request, watch: Watch | None, listener: Listener) -> Stream:
            budget = frame_budget(piece.text) if delivery.budget else None
            utterance = self._engine.core.lay_out(piece, self._spoken, budget=budget)
            return self._engine.scheduler.submit(
                utterance,
                ramp=delivery.ramp,
                ahead=delivery.ahead,
                watch=watch,
                listener=listener,
                caller=request.caller,
                group=group,
            )

        return Speaking(request, begin, delivery, hold=hold)


def _collect(speaking: Speaking) -> Speech:
    chunks = list(speaking)
    waveform = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    return Speech(waveform, runaway=speaking.ending is not Ending.ITSELF)
