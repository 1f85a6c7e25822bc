"""Who can speak: the voices of one loaded pack, or of a server elsewhere."""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from serving.settings import Settings
from voice import checkpoint
from voice.audio import Waveform
from voice.engine.delivery import Delivery
from voice.engine.engine import Engine
from voice.engine.linear import Precision
from voice.engine.voices import Voice, clone, designed, speaker
from voice.errors import InputError
from voice.pack import Kind, Reference, VoiceCard
from voice.remote import RemoteTTS
from voice.tts import TTS, Qwen3TTS, Request

NO_UPLOADS = (
    "this checkpoint kept no speaker encoder, so it cannot imitate a recording. Serve a zero-shot voice of a Base "
    "model, or fine-tune again: the trainer keeps the encoder."
)


@dataclass(frozen=True, slots=True)
class Member:
    """A voice and how it came to be."""

    id: str
    name: str
    kind: str  # finetuned, zero_shot, stock, designed, uploaded, remote
    language: str  # ISO code, or auto
    takes_instructions: bool
    tts: TTS


@dataclass(frozen=True, slots=True)
class Identity:
    """What is loaded."""

    name: str
    kind: str
    base: str
    pack: str  # tag of the voice pack in BentoML's store: name and content hash; the address of a server elsewhere


class Cast(Protocol):
    """The voices on air."""

    identity: Identity

    @property
    def members(self) -> Mapping[str, Member]:
        """By id; the first one speaks where none is asked for."""
        ...

    def imitate(self, voice_id: str, name: str, waveform: Waveform, text: str) -> None:
        """Add a zero-shot voice. Raises InputError where the checkpoint cannot."""
        ...

    def forget(self, voice_id: str) -> None:
        """Remove one; who is speaking as it goes on."""
        ...


class LocalCast:
    """A pack in this process: its own voice, the other rows of its checkpoint, and uploaded ones, all in one engine."""

    def __init__(
        self,
        folder: Path,
        *,
        pack: str,
        precision: Precision | None = None,
        slots: int | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        self._card = VoiceCard.read(folder)
        self.identity = Identity(self._card.name, self._card.kind, self._card.base, pack)
        self._model, self._can_clone = _load(folder)
        self._engine = Engine.of(self._model, precision=precision, slots=slots)
        self._delivery = delivery or Delivery()
        self._cloning = threading.Lock()
        self._uploaded: dict[str, Voice] = {}
        self._members = {member.id: member for member in self._own(folder)}

    @classmethod
    def of(cls, settings: Settings, folder: Path, pack: str) -> "LocalCast":
        """Load a pack as the service's settings say."""
        delivery = Delivery(**vars(settings.delivery))
        return cls(folder, pack=pack, precision=settings.precision, slots=settings.slots, delivery=delivery)

    @property
    def members(self) -> Mapping[str, Member]:
        """By id."""
        return self._members

    def _own(self, folder: Path) -> Iterator[Member]:
        card = self._card
        if self._model.model.tts_model_type == "voice_design":  # each request describes its own
            yield self._member("design", "by description", "designed", designed(self._model, "design"))
            return
        if card.kind is Kind.FINETUNED and card.speaker:
            yield self._member(card.name, card.name, card.kind, speaker(self._model, card.name, card.speaker))
        else:
            reference = Reference.read(folder)
            yield self._member(card.name, card.name, card.kind, _imitation(self._model, card.name, reference))
        for row in sorted(self._model.model.config.talker_config.spk_id or {}):
            if row not in (card.speaker, card.name):
                yield self._member(row, row, "stock", speaker(self._model, row, row))

    def _member(self, voice_id: str, name: str, kind: str, voice: Voice) -> Member:
        tts = Qwen3TTS(self._engine, voice, delivery=self._delivery)
        language = "auto" if kind == "stock" else self._card.language
        return Member(voice_id, name, kind, language, voice.takes_instructions, tts)

    def imitate(self, voice_id: str, name: str, waveform: Waveform, text: str) -> None:
        """Clone. Raises InputError where the checkpoint kept no speaker encoder."""
        if not self._can_clone:
            raise InputError(NO_UPLOADS)
        with self._cloning:
            voice = self._uploaded[voice_id] = clone(self._model, voice_id, [waveform], [text])
            self._members = {**self._members, voice_id: self._member(voice_id, name, "uploaded", voice)}

    def forget(self, voice_id: str) -> None:
        """Leave it out, and keep nothing of it."""
        self._members = {key: member for key, member in self._members.items() if key != voice_id}
        if voice := self._uploaded.pop(voice_id, None):
            self._engine.forget(voice)


def _load(folder: Path) -> tuple[Any, bool]:
    """A pack's model, with the encoder that imitates recordings if it is there."""
    device = checkpoint.default_device()
    dtype = checkpoint.inference_dtype(device)
    if any(name.startswith("speaker_encoder.") for name in checkpoint.tensor_names(folder)):
        return checkpoint.load(folder, device=device, dtype=dtype, cloning=True), True
    return checkpoint.load(folder, device=device, dtype=dtype), False


def _imitation(model: Any, name: str, reference: Reference) -> Voice:
    from voice.audio import read_waveform

    return clone(model, name, [read_waveform(reference.audio)], [reference.text])


class RemoteCast:
    """Voices of a server elsewhere that has OpenAI's route: this process only guards, encodes and counts."""

    def __init__(self, url: str, *, model: str | None, voice: str | None, api_key: str | None) -> None:
        tts = RemoteTTS(url, model=model, voice=voice, api_key=api_key)
        self.identity = Identity(tts.voice, "remote", tts.model, url)
        self._members = {tts.voice: Member(tts.voice, tts.voice, "remote", "auto", True, tts)}

    @property
    def members(self) -> Mapping[str, Member]:
        """By id."""
        return self._members

    def imitate(self, voice_id: str, name: str, waveform: Waveform, text: str) -> None:
        """Refuse."""
        raise InputError("voices are kept by the server that speaks. Upload the reference there.")

    def forget(self, voice_id: str) -> None:
        """Refuse."""
        raise InputError("voices are kept by the server that speaks. Delete it there.")


def probe(cast: Cast, text: str) -> None:
    """Have the first voice say something. Raises RuntimeError where that is no sound."""
    import numpy as np

    member = next(iter(cast.members.values()))
    instruct = "calm and clear" if member.kind == "designed" else None
    chunks = list(member.tts.stream(Request(text, member.tts.voice, language=member.language, instruct=instruct)))
    waveform = np.concatenate(chunks) if chunks else np.zeros(0, np.float32)
    if len(waveform) < 2_400 or not np.isfinite(waveform).all() or np.sqrt(np.mean(np.square(waveform))) < 1e-4:
        raise RuntimeError(f"voice {member.id!r} said nothing when asked to say {text!r}")


def short_hash(content: bytes) -> str:
    """Eight hex digits of what an id stands for."""
    return hashlib.sha256(content).hexdigest()[:8]
