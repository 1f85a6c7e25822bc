"""One interface to synthesis, used by evaluation and service alike: requests in, waveforms out."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from voice import checkpoint
from voice.audio import FRAME_RATE, FRAME_SAMPLES, SAMPLE_RATE, Waveform, read_waveform
from voice.errors import InputError
from voice.pack import Kind, Reference, VoiceCard
from voice.request import Layout, Request, Speech
from voice.text import language_name
from voice.upstream import Qwen3TTSModel


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

    UTF-8 bytes instead of characters: about 15 a second is the usual pace of Latin, and of Chinese at 3 bytes a sign.
    0.3 to 0.7 % of utterances never end by themselves (sgl-project/sglang-omni#1179).
    """
    seconds = 2.0 + 3.0 * len(text.encode()) / 15.0
    return max(2, math.ceil(seconds * FRAME_RATE))


class Qwen3TTS:
    """A voice spoken through the official package: one chunk per utterance."""

    def __init__(
        self, model: Qwen3TTSModel, voice: str, *, prompt: list[Any] | None = None, speaker: str | None = None
    ):
        self.voice = voice
        self._model = model
        self._prompt = prompt  # zero-shot: the reference, encoded once
        self._speaker = speaker  # fine-tuned: the row's name

    @classmethod
    def zero_shot(cls, model: Qwen3TTSModel, reference: Reference, *, voice: str, in_context: bool) -> "Qwen3TTS":
        """Imitate a reference clip: with its audio and text in the prompt, or by its speaker embedding only."""
        if model.model.tts_model_type != "base":
            raise InputError(
                f"a {model.model.tts_model_type} checkpoint cannot clone. Use a Base model in conf/model/."
            )
        audio = (read_waveform(reference.audio), SAMPLE_RATE)
        prompt = model.create_voice_clone_prompt(audio, ref_text=reference.text, x_vector_only_mode=not in_context)
        return cls(model, voice, prompt=prompt)

    @classmethod
    def finetuned(cls, model: Qwen3TTSModel, *, voice: str, speaker: str) -> "Qwen3TTS":
        """Speak as a row of a fine-tuned (custom_voice) checkpoint."""
        known = model.get_supported_speakers() or []
        if speaker not in known:
            raise InputError(f"speaker {speaker!r} is not in the checkpoint. It has {', '.join(known) or 'none'}.")
        return cls(model, voice, speaker=speaker)

    @classmethod
    def from_pack(cls, folder: Path, *, device: str | None = None) -> "Qwen3TTS":
        """Load a voice pack, of either kind."""
        card = VoiceCard.read(folder)
        device = device or checkpoint.default_device()
        cloning = card.kind is Kind.ZERO_SHOT
        model = checkpoint.load(folder, device=device, dtype=checkpoint.inference_dtype(device), cloning=cloning)
        if card.kind is Kind.FINETUNED and card.speaker:
            return cls.finetuned(model, voice=card.name, speaker=card.speaker)
        return cls.zero_shot(model, Reference.read(folder), voice=card.name, in_context=True)

    def stream(self, request: Request) -> Iterator[Waveform]:
        """Yield the whole utterance as one chunk: the official package has no smaller one."""
        yield self.speak(request).waveform

    def batch(self, requests: Sequence[Request]) -> list[Speech]:
        """Synthesise one after another: upstream draws a whole batch from one generator, so seeds would not hold."""
        return [self.speak(request) for request in requests]

    def speak(self, request: Request) -> Speech:
        """Synthesise one utterance. Raises InputError for empty text, another voice's name or an unknown language."""
        if not request.text.strip():
            raise InputError("the text is empty. Send the words to speak.")
        if request.voice != self.voice:
            raise InputError(f"voice {request.voice!r} is not loaded. This is {self.voice!r}.")
        budget = frame_budget(request.text)
        waveform = self._generate(request, budget)
        # upstream returns one frame fewer than max_new_tokens when it stops at the cap
        return Speech(waveform, runaway=round(len(waveform) / FRAME_SAMPLES) >= budget - 1)

    def _generate(self, request: Request, budget: int) -> Waveform:
        sampling = request.sampling
        options: dict[str, Any] = {
            "text": request.text,
            "language": language_name(request.language),
            "non_streaming_mode": request.layout is Layout.WHOLE,
            "max_new_tokens": budget,
            "do_sample": sampling.do_sample,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "repetition_penalty": sampling.repetition_penalty,
            "subtalker_dosample": sampling.do_sample,
            "subtalker_temperature": sampling.temperature,
            "subtalker_top_k": sampling.top_k,
            "subtalker_top_p": sampling.top_p,
        }
        with torch.random.fork_rng():
            torch.manual_seed(request.seed)
            if self._prompt is not None:
                if request.instruct:
                    raise InputError("a zero-shot voice takes no instructions. Leave `instruct` out.")
                waveforms, _ = self._model.generate_voice_clone(voice_clone_prompt=self._prompt, **options)
            else:
                waveforms, _ = self._model.generate_custom_voice(
                    speaker=self._speaker, instruct=request.instruct, **options
                )
        return waveforms[0]
