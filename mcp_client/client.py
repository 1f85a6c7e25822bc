"""The voice service over HTTP: text in, 16-bit samples out while they are spoken."""

import errno
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from mcp_client.errors import ServiceError

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0  # between two chunks; the whole has no limit
MOST_CHARACTERS = 4_000  # a request; the service takes 4,096, as OpenAI's does
RATES = range(8_000, 192_001)  # Hz


@dataclass(frozen=True, slots=True)
class Speech:
    """What is to be said, and how."""

    text: str
    voice: str | None = None
    language: str | None = None
    instructions: str | None = None
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Voice:
    """Somebody who can speak."""

    voice_id: str
    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Sound:
    """Samples that are arriving: mono, 16-bit little-endian, cut anywhere."""

    sample_rate: int  # Hz
    chunks: AsyncIterator[bytes]


class VoiceService:
    """Where the voice is served, and the key for it."""

    def __init__(self, url: str, *, api_key: str | None = None, read_seconds: float = READ_SECONDS) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout = httpx2.Timeout(read_seconds, connect=CONNECT_SECONDS)
        self._http: httpx2.AsyncClient | None = None

    async def close(self) -> None:
        """Close what is open."""
        if self._http:
            await self._http.aclose()
        self._http = None

    @asynccontextmanager
    async def speak(self, speech: Speech) -> AsyncIterator[Sound]:
        """Have a text of at most MOST_CHARACTERS spoken. Leaving closes the connection, and the service stops speaking.

        Raises ServiceError if there is no service, it refuses, or its answer is not sound.
        """
        body = {"model": "tts-1", "input": speech.text, "response_format": "pcm", "speed": speech.speed}
        for name in ("voice", "language", "instructions"):
            if value := getattr(speech, name):
                body[name] = value
        async with self._request("POST", "/v1/audio/speech", json=body) as response:
            if not response.headers.get("content-type", "").startswith(("audio/", "application/octet-stream")):
                raise ServiceError(
                    f"{self.url} is not the voice service: its answer is no sound. Check TTS_SERVER_URL."
                )
            yield Sound(self._rate(response), response.aiter_raw())

    def _rate(self, response: httpx2.Response) -> int:
        rate = response.headers.get("x-sample-rate", "")
        if not rate.isdecimal() or int(rate) not in RATES:
            raise ServiceError(
                f"{self.url} gave {rate or 'no'!r} as sample rate, so its sound can't be played. Update the service."
            )
        return int(rate)

    async def voices(self) -> list[Voice]:
        """Who can speak; the first one does where none is asked for. Raises ServiceError."""
        answer = await self._json("/v1/audio/voices")
        try:
            return [Voice(v["voice_id"], v.get("name", v["voice_id"]), v.get("kind", "")) for v in answer["voices"]]
        except (KeyError, TypeError, AttributeError) as error:
            raise ServiceError(f"{self.url} listed no voices. Check TTS_SERVER_URL.") from error

    async def health(self) -> str:
        """Its state: `ok`, or what it is doing. Raises ServiceError if it can't be reached."""
        answer = await self._json("/health")
        return str(answer.get("status", "ok")) if isinstance(answer, dict) else "ok"

    async def _json(self, path: str) -> Any:
        async with self._request("GET", path) as response:
            content = await response.aread()
        try:
            return httpx2.Response(200, content=content).json()
        except ValueError as error:
            message = "is not the voice service: its answer is not JSON. Check TTS_SERVER_URL."
            raise ServiceError(f"{self.url} {message}") from error

    @asynccontextmanager
    async def _request(self, method: str, path: str, **options: Any) -> AsyncIterator[httpx2.Response]:
        if self._http is None:
            # no redirects: the text and the key would go to another machine
            self._http = httpx2.AsyncClient(timeout=self._timeout, headers=self._headers, follow_redirects=False)
        try:
            async with self._http.stream(method, f"{self.url}{path}", **options) as response:
                await self._refuse(response)
                yield response
        except (httpx2.TransportError, httpx2.InvalidURL, httpx2.StreamError, UnicodeError) as error:
            raise ServiceError(_reason(self.url, error)) from error

    async def _refuse(self, response: httpx2.Response) -> None:
        if response.is_redirect:
            host = urlsplit(response.headers.get("location", "")).netloc or "another address"
            raise ServiceError(
                f"{self.url} sends on to {host}, which is refused: text and key would go there. "
                "If that is right, set TTS_SERVER_URL to it."
            )
        if response.status_code in (401, 403):
            raise ServiceError(f"{self.url} refused the key. Set TTS_API_KEY to one that the service knows.")
        if response.status_code != httpx2.codes.OK:
            await response.aread()
            if response.status_code == httpx2.codes.NOT_FOUND and not _is_ours(response):
                route = response.request.url.path
                raise ServiceError(
                    f"{self.url} has no {route}: it is another service, or an old one. Check TTS_SERVER_URL; update it."
                )
            raise ServiceError(f"The voice service refused ({response.status_code}): {_message(response)}")


def _is_ours(response: httpx2.Response) -> bool:
    try:
        return "error" in response.json()
    except (ValueError, TypeError):
        return False


def _message(response: httpx2.Response) -> str:
    try:
        answer = response.json()
    except ValueError:
        return "it gave no reason. Check TTS_SERVER_URL and the service's log."
    match answer:
        case {"error": {"message": str(message)}}:
            return message[:500]
        case {"status": str(status)}:
            return f"it is {status}. Try again in a moment."
    return "it gave no reason. See the service's log."


def _reason(url: str, error: Exception) -> str:
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return f"{url} has a certificate that this computer doesn't trust. Use the name in it, or the SSH tunnel."
    if any(isinstance(cause, OSError) and cause.errno == errno.EHOSTUNREACH for cause in causes):
        return (
            f"No route to {url}. On a Mac: System Settings > Privacy & Security > Local Network, switch on the "
            "editor (Cursor); or go through the SSH tunnel, which needs no permission."
        )
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return (
            f"No voice service at {url}. Start it with `make serve` on its machine and open the tunnel "
            "(`ssh -N -L 8080:127.0.0.1:8080 linux-desktop`), or set TTS_SERVER_URL."
        )
    if isinstance(error, httpx2.TimeoutException):
        return f"{url} went silent. See whether the service and the tunnel are up (`voice-mcp doctor`)."
    if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol | UnicodeError):
        return f"{url!r} is no address. Set TTS_SERVER_URL to something like http://127.0.0.1:8080."
    return f"{url} broke off in mid-speech ({type(error).__name__}). See the service's log; say it again."


def _causes(error: BaseException | None) -> Any:
    while error:
        yield error
        error = error.__cause__ or error.__context__
