"""The voice service over HTTP: text in, 16-bit samples out."""

import base64
import binascii
import io
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

DEFAULT_URL = "http://127.0.0.1:8080"
CONNECT_SECONDS = 5.0
READ_SECONDS = 300.0  # the service sends nothing until the whole utterance is spoken


class ServiceError(Exception):
    """What the service could not do, in words that say what to do about it."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Mono 16-bit little-endian samples at a rate in Hz."""

    pcm: bytes
    sample_rate: int

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.pcm) / 2 / self.sample_rate


def _setting(environment: Mapping[str, str], name: str) -> str | None:
    # editors pass `${env:NAME}` on as it stands where NAME is not set
    value = environment.get(name, "").strip()
    return None if not value or "${" in value else value


class VoiceService:
    """Where the voice is served, and the key for it."""

    def __init__(self, url: str = DEFAULT_URL, *, api_key: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "VoiceService":
        """Read TTS_SERVER_URL and TTS_API_KEY; a value still holding `${` counts as unset."""
        url = _setting(environment, "TTS_SERVER_URL") or DEFAULT_URL
        return cls(url, api_key=_setting(environment, "TTS_API_KEY"))

    async def synthesize(self, text: str, *, language: str | None) -> Sound:
        """Have a text spoken. Raises ServiceError if there is no service, it refuses, or its answer is not speech."""
        body = {"text": text} if language is None else {"text": text, "language": language}
        timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        try:
            async with httpx2.AsyncClient(timeout=timeout, headers=self._headers) as http:
                response = await http.post(f"{self.url}/synthesize", json=body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            remedy = "Start it with `make serve` on its machine, or set TTS_SERVER_URL."
            raise ServiceError(f"No voice service at {self.url}. {remedy}") from error
        except httpx2.TimeoutException as error:
            raise ServiceError(f"{self.url} did not answer in {READ_SECONDS:g} s. Send a shorter text.") from error
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise ServiceError(
                f"{self.url} broke off ({error}). Check TTS_SERVER_URL and the service's log."
            ) from error
        return self._read(response)

    def _read(self, response: httpx2.Response) -> Sound:
        if response.status_code in (401, 403):
            raise ServiceError(f"{self.url} refused the key. Set TTS_API_KEY to one that the service knows.")
        try:
            answer = response.json()
        except ValueError as error:
            raise ServiceError(
                f"{self.url} is not the voice service: its answer is not JSON. Check TTS_SERVER_URL."
            ) from error
        if response.status_code != httpx2.codes.OK:
            raise ServiceError(f"The voice service refused: {_message(answer) or response.status_code}")
        try:
            return _decode_wav(base64.b64decode(answer["audio"], validate=True))
        except (KeyError, TypeError, binascii.Error, wave.Error, EOFError) as error:
            raise ServiceError(f"{self.url} sent no whole WAV file ({error}). Check the service's log.") from error


def _message(answer: Any) -> str:
    match answer:
        case {"error": {"message": str(message)}}:
            return message
        case _:
            return ""


def _decode_wav(content: bytes) -> Sound:
    with wave.open(io.BytesIO(content)) as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2):
            raise wave.Error("not mono 16-bit")
        pcm = file.readframes(file.getnframes())
        if len(pcm) != 2 * file.getnframes():
            raise wave.Error(f"{len(pcm)} of {2 * file.getnframes()} bytes")
        return Sound(pcm, file.getframerate())
