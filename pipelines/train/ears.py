"""The model in training as a voice that is heard now and then."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from peft import PeftModel

from pipelines.train.budget import LISTENING_SLOTS
from pipelines.train.listening import (
    Heard,
    Judges,
    Sentence,
    fixed_sentences,
    held_out_sentence,
    listen,
    load_judges,
    untrained_sentences,
)
from pipelines.train.lora import set_scale
from pipelines.train.prepare import Prepared
from pipelines.train.settings import Listen, Lora
from voice.engine.engine import Engine
from voice.engine.voices import speaker
from voice.tts import Qwen3TTS

FORGETTING = "forgetting"


class Ears:
    """Lets the model speak and judges it. The checkpoint would speak the same: row and adapters' scale are its own."""

    def __init__(
        self,
        prepared: Prepared,
        judges: Judges,
        sentences: list[Sentence],
        untrained: list[Sentence],
        audio: Path,
        *,
        voice: str,
        takes: int,
        accelerator: Accelerator,
    ) -> None:
        self.judges, self.audio = judges, audio
        self._prepared, self._voice = prepared, voice
        self._sentences, self._untrained = sentences, untrained
        self._takes, self._accelerator = takes, accelerator

    @classmethod
    def of(
        cls, prepared: Prepared, settings: Listen, processed: Path, audio: Path, *, voice: str, language: str,
        accelerator: Accelerator,
    ) -> "Ears":  # fmt: skip
        """Load the judges for a prepared model."""
        judges = load_judges(settings, processed, language=language, device=str(accelerator.device))
        instructions = prepared.tts.model.tts_model_size != "0b6"  # that size ignores them
        return cls(
            prepared,
            judges,
            [*fixed_sentences(language), held_out_sentence(processed, language=language)],
            untrained_sentences(language, instructions=instructions) if settings.forgetting else [],
            audio,
            voice=voice,
            takes=settings.takes,
            accelerator=accelerator,
        )

    def hear(self, step: int) -> Heard:
        """The sentences that choose the checkpoint."""
        return self._listen(self._sentences, self.audio, step, self._takes)

    def hear_untrained(self, step: int) -> Heard | None:
        """Tags and instructions that were not trained: what the voice may have forgotten."""
        if not self._untrained:
            return None
        heard = self._listen(self._untrained, self.audio / FORGETTING, step, takes=1)
        return Heard(step, tuple(replace(take, audio=f"{FORGETTING}/{take.audio}") for take in heard.takes))

    def _listen(self, sentences: list[Sentence], folder: Path, step: int, takes: int) -> Heard:
        device = self._accelerator.device
        with _as_exported(self._prepared.adapted, self._prepared.train.lora):
            # the engine has weights of its own: as they are now, adapters merged, for the time of a listening
            engine = Engine.of(self._prepared.tts, slots=LISTENING_SLOTS)
            tts = Qwen3TTS(engine, speaker(self._prepared.tts, self._voice, self._prepared.speaker))
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            return listen(tts, sentences, self.judges, folder, step=step, takes=takes)


@contextmanager
def _as_exported(adapted: PeftModel | None, lora: Lora | None) -> Iterator[None]:
    if adapted is None or lora is None:
        yield
        return
    set_scale(adapted, lora.scale)
    try:
        yield
    finally:
        set_scale(adapted, 1.0)  # as trained
