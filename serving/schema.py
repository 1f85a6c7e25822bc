"""What goes over HTTP, as OpenAI's API has it, and what this service adds."""

import re
import unicodedata
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from serving.formats import Format
from serving.phase import Phase
from voice.text import LANGUAGES

MOST_CHARACTERS = 4_096  # OpenAI's limit
Language = Literal["auto", "zh", "en", "ja", "ko", "de", "fr", "ru", "pt", "es", "it"]
assert set(Language.__args__) == set(LANGUAGES)  # type: ignore[attr-defined]

_MARKUP = re.compile(r"<[^<>]*>")
_CONTROL_TOKENS = re.compile(r"<\|[^|<>]{0,64}\|>|<tts_\w{1,32}>")


def _is_text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a character (a lone surrogate)") from None
    return value


def sayable(text: str) -> str:
    """A text without what a tokeniser would take for an order, and without control characters.

    Raises ValueError where nothing is left that can be said: emoji, punctuation or markup only.
    """
    _is_text(text)
    plain = _CONTROL_TOKENS.sub(" ", text)
    plain = "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else " " for c in plain)
    if not any(unicodedata.category(c)[0] in "LN" for c in _MARKUP.sub(" ", plain)):
        raise ValueError("holds nothing that can be said: words or digits are needed")
    return plain


Sayable = Annotated[str, AfterValidator(sayable)]
Name = Annotated[str, AfterValidator(_is_text)]


class VoiceId(BaseModel):
    """A voice as OpenAI's clients name their own."""

    id: Name = Field(description="id of a voice in `GET /v1/audio/voices`", max_length=64)


class SpeechRequest(BaseModel):
    """OpenAI's request for speech, with `language`, `seed` and `normalize` beside its own fields."""

    input: Sayable = Field(
        description="the words to speak, 1 to 4,096 characters. Emoji, punctuation or markup alone are refused (422).",
        min_length=1,
        max_length=MOST_CHARACTERS,
    )
    model: Name = Field(
        "tts-1",
        description="id of `GET /v1/models`, or one of OpenAI's names, which mean the same; another one is a 404",
        max_length=128,
    )
    voice: Name | VoiceId | None = Field(
        None,
        description='id of `GET /v1/audio/voices`, as it is or as `{"id": ...}`. OpenAI\'s names and none at all mean '
        "the packaged voice; another one is a 404.",
    )
    instructions: Name | None = Field(
        None,
        description="how to speak, up to 1,024 characters: 'calm and slow'. A voice whose `takes_instructions` is "
        "false refuses them (400).",
        max_length=1_024,
    )
    response_format: Format = Field(
        Format.MP3,
        description="mp3, opus (in Ogg), aac (ADTS), flac, wav or pcm (16-bit little-endian); all mono at 24,000 Hz, "
        "opus at 48,000",
    )
    speed: float = Field(1.0, ge=0.25, le=4.0, description="times as fast, 0.25 to 4.0, at the same pitch")
    stream_format: Literal["audio", "sse"] = Field(
        "audio", description="`audio`: the bytes as they are made; `sse`: events with base64, as OpenAI's"
    )
    language: Language | None = Field(None, description="ISO code, or `auto`; the voice's own if left out")
    seed: int = Field(0, ge=0, lt=2**63, description="the same seed and text give the same sound")
    normalize: bool = Field(False, description="spell out numerals before they are spoken")


class SynthesizeRequest(BaseModel):
    """A text to speak."""

    text: Sayable = Field(
        description="the words to speak, 1 to 4,096 characters", min_length=1, max_length=MOST_CHARACTERS
    )
    language: Language | None = Field(None, description="ISO code such as `en`, or `auto`; the voice's own if left out")
    seed: int = Field(0, ge=0, lt=2**63, description="the same seed and text give the same sound")


class SynthesizeResponse(BaseModel):
    """A whole utterance."""

    audio: str = Field(description="base64 of a mono 16-bit WAV file")
    format: Literal["wav"] = Field(description="always `wav`")
    sample_rate: int = Field(description="Hz")


class Health(BaseModel):
    """The service's state."""

    status: Phase = Field(description="`ok` once the voice has spoken its first words")
    voice: str | None = Field(description="name of the voice that speaks; null before, and for who has no key")
    kind: str | None = Field(description="`finetuned`, `zero_shot` or `remote`; null before, and for who has no key")


class VoiceInfo(BaseModel):
    """A voice that can be asked for."""

    voice_id: str = Field(description="what `voice` in a request takes")
    name: str = Field(description="for people")
    kind: Literal["finetuned", "zero_shot", "stock", "designed", "uploaded", "remote"] = Field(
        description="how it came to be"
    )
    language: str = Field(description="ISO code it speaks where a request names none, or `auto`")
    takes_instructions: bool = Field(description="whether `instructions` are followed; else they are refused")


class VoiceList(BaseModel):
    """All voices."""

    voices: list[VoiceInfo] = Field(description="the first one speaks where none is asked for")


class UploadedVoice(VoiceInfo):
    """A voice that was just made."""

    warnings: list[str] = Field(description="what would make it better, with the remedy; empty if nothing")


class DeletedVoice(BaseModel):
    """A voice that is gone, with its recording."""

    voice_id: str = Field(description="its former id")
    deleted: Literal[True] = Field(description="always true")


class ModelInfo(BaseModel):
    """What speaks."""

    id: str = Field(description="name of the packaged voice")
    object: Literal["model"] = Field(description="always `model`")
    created: int = Field(description="seconds since 1970 when this process began")
    owned_by: str = Field(description="always `local`")
    kind: str = Field(description="`finetuned`, `zero_shot` or `remote`")
    base: str = Field(description="checkpoint that it was made from")
    pack: str = Field(description="tag of the voice pack on air: its name and the hash of its content")


class ModelList(BaseModel):
    """The one model."""

    object: Literal["list"] = Field(description="always `list`")
    data: list[ModelInfo] = Field(description="one entry")


class Error(BaseModel):
    """What is wrong and what to do."""

    message: str = Field(description="one line for a person")
    type: str = Field(description="kind of error, as OpenAI names them")
    code: str = Field(description="for programs")
    param: str | None = Field(None, description="the field that is wrong, if one is")


class ErrorResponse(BaseModel):
    """The body of every 4xx and 5xx answer."""

    error: Error = Field(description="the error")


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These answers, for a route's documentation."""
    return {status: {"model": ErrorResponse, "description": _MEANINGS[status]} for status in statuses}


_MEANINGS = {
    400: "The voice cannot say that, or the recording cannot be used; the message names the remedy.",
    401: "A key is needed, or it is not one of the service's.",
    403: "Another machine's page, or a name that this machine does not have.",
    404: "No such voice or model.",
    405: "This address is there, but not for that method.",
    408: "The body did not arrive in time.",
    409: "It is there already, or there are enough.",
    413: "The body is too large.",
    415: "The body is not of the type that this address takes.",
    422: "A field is missing or out of bounds.",
    429: "The queue is full, or too many requests a minute; `Retry-After` says when to come back.",
    500: "The voice failed; the log says why.",
    503: "The voice is being loaded, or could not be.",
}
