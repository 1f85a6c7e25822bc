"""The public routes: one FastAPI app, mounted in the BentoML service."""

import base64
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from serving.schema import ErrorResponse, Health, SynthesizeRequest, SynthesizeResponse
from voice import tts
from voice.audio import SAMPLE_RATE, encode
from voice.errors import InputError
from voice.pack import VoiceCard

log = logging.getLogger(__name__)

PROBLEMS: dict[int | str, dict[str, Any]] = {code: {"model": ErrorResponse} for code in (400, 422, 500)}


class Speaker:
    """The loaded voice. The engine speaks as many requests at a time as it has slots."""

    def __init__(self, card: VoiceCard, voice: tts.TTS) -> None:
        self.card = card
        self._voice = voice

    def speak(self, text: str, *, language: str | None, seed: int) -> bytes:
        """Synthesise a WAV file. Raises InputError for what the voice cannot say."""
        request = tts.Request(text, self._voice.voice, language=language or self.card.language, seed=seed)
        [speech] = self._voice.batch([request])
        return encode(speech.waveform, container="wav")


def create_app() -> FastAPI:
    """Build the app. Whoever mounts it sets `app.state.speaker` before it serves."""
    app = FastAPI(title="Voice", description="Speaks as one cloned voice.", version="1")

    @app.post("/synthesize", responses=PROBLEMS)
    def synthesize(body: SynthesizeRequest, request: Request) -> SynthesizeResponse:
        """Speak a text and return it as one WAV file."""
        wav = request.app.state.speaker.speak(body.text, language=body.language, seed=body.seed)
        return SynthesizeResponse(audio=base64.b64encode(wav).decode(), format="wav", sample_rate=SAMPLE_RATE)

    @app.get("/health")
    def health(request: Request) -> Health:
        """Say which voice is loaded."""
        card: VoiceCard = request.app.state.speaker.card
        return Health(status="ok", voice=card.name, kind=card.kind)

    app.add_exception_handler(InputError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_body)
    app.add_exception_handler(Exception, _fail)
    return app


def _problem(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message}}, status_code=status)


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    return _problem(400, str(error))


async def _refuse_body(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return _problem(422, f'{where}: {first["msg"]}. Send JSON such as {{"text": "Hello.", "language": "en"}}.')


async def _fail(request: Request, error: Exception) -> JSONResponse:
    log.error("synthesis failed", exc_info=error)
    return _problem(500, "the voice failed on this text; the server's log says why.")
