"""Text in, sound out."""

import base64
import io
import wave
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from serving.desk import desk_of
from serving.formats import MEDIA_TYPES, Format
from serving.problems import Problem
from serving.schema import SpeechRequest, SynthesizeRequest, SynthesizeResponse, VoiceId, errors
from serving.spoken import AsAudio, AsEvents, Spoken, SpokenJson
from voice.audio import SAMPLE_RATE

router = APIRouter(tags=["speech"])

_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_SOUND: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The sound as it is made: chunked, without a length. A failure breaks the connection.",
        "content": {
            **dict.fromkeys(MEDIA_TYPES.values(), _BINARY),
            "text/event-stream": {"schema": {"type": "string"}},
        },
        "headers": {
            "X-Sample-Rate": {"description": "Hz", "schema": {"type": "integer"}},
            "X-Voice": {"description": "id of the voice that speaks", "schema": {"type": "string"}},
            "X-Voice-Pack": {"description": "tag of the voice pack on air", "schema": {"type": "string"}},
        },
    }
}
_REFUSALS = errors(400, 401, 403, 408, 413, 422, 429, 500, 503)


@router.post("/v1/audio/speech", response_class=Response, responses={**_SOUND, **_REFUSALS, **errors(404)})
async def speech(body: SpeechRequest, http: Request) -> Response:
    """Speak a text and send it while it is spoken. OpenAI's route: its clients work unchanged."""
    desk = desk_of(http)
    _require_model(body.model, desk.station.cast.identity.name, desk.settings.openai_models)
    session = desk.session(
        http,
        text=body.input,
        form=body.response_format,
        voice=body.voice.id if isinstance(body.voice, VoiceId) else body.voice,
        language=body.language,
        seed=body.seed,
        instructions=body.instructions,
        speed=body.speed,
        normalize=body.normalize,
    )
    as_events = body.stream_format == "sse"
    rendering = AsEvents(len(body.input)) if as_events else AsAudio(MEDIA_TYPES[body.response_format])
    return Spoken(session, rendering, desk.settings, headers=desk.headers(session), suspect=desk.station.suspect)


@router.post("/synthesize", response_model=SynthesizeResponse, responses=_REFUSALS)
async def synthesize(body: SynthesizeRequest, http: Request) -> Response:
    """Speak a text and return it as one WAV file in JSON, once it is whole."""
    desk = desk_of(http)
    session = desk.session(http, text=body.text, form=Format.PCM, language=body.language, seed=body.seed)
    return SpokenJson(
        session,
        AsAudio("application/json"),
        desk.settings,
        headers=desk.headers(session),
        suspect=desk.station.suspect,
        render=_as_json,
    )


def _as_json(pcm: bytes) -> dict[str, Any]:
    wav = base64.b64encode(_whole_wav(pcm)).decode()
    return {"audio": wav, "format": "wav", "sample_rate": SAMPLE_RATE}


def _whole_wav(pcm: bytes) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(pcm)
    return buffer.getvalue()


def _require_model(model: str, own: str, openai: list[str]) -> None:
    if model != own and model not in openai:
        message = f"there is no model {model[:64]!r}. GET /v1/models lists the one there is: {own!r}."
        raise Problem(404, message, "model_not_found", param="model")
