"""A voice that another server speaks: any with OpenAI's `POST /v1/audio/speech`, such as vLLM-Omni.

It streams `pcm`: mono, 16-bit little-endian, at 24 kHz, as OpenAI defines it.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx2
import numpy as np
import yaml

from voice.audio import SAMPLE_RATE, Waveform, from_pcm16, resample
from voice.errors import InputError
from voice.request import Request, Speech

CONNECT_SECONDS, READ_SECONDS = 5.0, 300.0
AT_A_TIME = 16  # of a batch: what one GPU speaks well (research: serving 3.3)
_AHEAD = 64  # parts of an answer that may lie unheard


class RemoteError(RuntimeError):
    """The server is not there, refused, or broke off."""


class RemoteTTS:
    """One voice of a server elsewhere."""

    def __init__(self, url: str, *, model: str | None = None, voice: str | None = None, api_key: str | None = None):
        """`url` is the server's root. The key is VOICE_ENGINE_KEY where none is given."""
        self.voice, self.model = voice or "default", model or "tts-1"
        self._url = url.rstrip("/")
        key = api_key or os.environ.get("VOICE_ENGINE_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        try:
            self._http = httpx2.Client(base_url=self._url, headers=headers, timeout=timeout, follow_redirects=False)
            httpx2.URL(self._url)
        except httpx2.InvalidURL as error:
            raise InputError(f"{url!r} is not an address ({error}). Write it as http://host:8000.") from error
        if not self._url.startswith(("http://", "https://")):
            raise InputError(f"{url!r} is not an address. Write it as http://host:8000.")

    @classmethod
    def from_file(cls, path: Path) -> "RemoteTTS":
        """The server that a YAML file names: `url`, and `model` and `voice` where it has several.

        Raises InputError for other keys.
        """
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        try:
            return cls(**fields)
        except TypeError:
            raise InputError(f"{path}: needs `url`, and takes `model` and `voice`. Correct it.") from None

    def stream(self, request: Request) -> "RemoteStream":
        """Yield the utterance as it arrives. Closing the iterator ends the connection, and so the work there."""
        if request.voice != self.voice:
            raise InputError(f"voice {request.voice!r} is not loaded. This is {self.voice!r}.")
        if not request.text.strip():
            raise InputError("the text is empty. Send the words to speak.")
        return RemoteStream(self._http, self._url, self._body(request))

    def batch(self, requests: Sequence[Request]) -> list[Speech]:
        """Synthesise many, some at a time. The server does not tell whether one would have gone on."""
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            return list(pool.map(self._whole, requests))

    def _whole(self, request: Request) -> Speech:
        chunks = list(self.stream(request))
        return Speech(np.concatenate(chunks) if chunks else np.zeros(0, np.float32), runaway=False)

    def _body(self, request: Request) -> dict[str, Any]:
        body = {
            "model": self.model,
            "voice": self.voice,
            "input": request.text,
            "response_format": "pcm",
            "stream_format": "audio",
            "seed": request.seed,
        }
        if request.language != "auto":
            body["language"] = request.language
        if request.instruct:
            body["instructions"] = request.instruct
        return body


class RemoteStream:
    """An answer on its way: a thread reads it, so that closing never waits for the network."""

    def __init__(self, http: httpx2.Client, url: str, body: dict[str, Any]) -> None:
        self._http, self._url, self._body = http, url, body
        self._queue: SimpleQueue[Waveform | Exception | None] = SimpleQueue()
        self._room = threading.Semaphore(_AHEAD)
        self._closed = self._over = False
        threading.Thread(target=self._read, name="voice-remote", daemon=True).start()

    def __iter__(self) -> Iterator[Waveform]:
        """Chunks as they come."""
        return self

    def __next__(self) -> Waveform:
        """The next chunk. Raises RemoteError where the server failed, InputError for what it refused."""
        if self._over:
            raise StopIteration
        item = self._queue.get()
        if isinstance(item, np.ndarray):
            self._room.release()
            return item
        self._over = True
        if item is not None:
            raise item
        raise StopIteration

    def close(self) -> None:
        """Nobody listens any more."""
        self._closed = True
        self._room.release()
        self._queue.put(None)

    def _read(self) -> None:
        try:
            with self._http.stream("POST", "/v1/audio/speech", json=self._body) as answer:
                self._require_sound(answer)
                rate = int(answer.headers.get("x-sample-rate", SAMPLE_RATE))
                for waveform in _waveforms(answer.iter_bytes(), rate):
                    self._room.acquire()
                    if self._closed:
                        return
                    self._queue.put(waveform)
            self._queue.put(None)
        except (InputError, RemoteError) as error:
            self._queue.put(error)
        except (httpx2.HTTPError, ValueError) as error:
            self._queue.put(RemoteError(f"{self._url} broke off: {error or type(error).__name__}"))

    def _require_sound(self, answer: httpx2.Response) -> None:
        if answer.status_code == httpx2.codes.OK:
            return
        answer.read()
        try:
            message = answer.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = answer.reason_phrase
        if answer.status_code in (400, 422):
            raise InputError(f"the server that speaks refused: {message}")
        raise RemoteError(f"{self._url} answered {answer.status_code}: {message}")


def _waveforms(parts: Iterator[bytes], rate: int) -> Iterator[Waveform]:
    if rate != SAMPLE_RATE:  # another model's: resampled whole, since its filter looks ahead
        content = b"".join(parts)
        samples = np.frombuffer(content[: len(content) // 2 * 2], "<i2").astype(np.int16)
        yield resample(from_pcm16(samples), from_rate=rate)
        return
    odd = b""
    for part in parts:
        content = odd + part
        whole = len(content) // 2 * 2
        odd = content[whole:]
        if whole:
            yield from_pcm16(np.frombuffer(content[:whole], "<i2").astype(np.int16))
    if odd:
        raise ValueError("half a sample at the end")
