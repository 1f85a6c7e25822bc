"""One request from the queue to its last byte, measured on the way and stopped when nobody listens."""

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving import metrics
from serving.cast import Member
from serving.formats import Encoder, Stretch
from serving.gate import Gate, Permit
from serving.logs import event
from voice.audio import SAMPLE_RATE, Waveform
from voice.engine.shaper import AUDIBLE
from voice.request import Request

DONE, GONE, SLOW, REFUSED, FAILED = "done", "client_gone", "client_slow", "refused", "failed"


class Broken(RuntimeError):  # noqa: N818  what becomes of the connection
    """Raised after the headers have left: the server then drops the connection, which no client takes for an end."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is wanted, and by whom."""

    route: str
    member: Member
    request: Request
    form: str
    speed: float
    request_id: str
    caller: str


class Session:
    """Waits for a place, speaks, encodes. `close` may come at any time, from the event loop."""

    def __init__(self, ask: Ask, encoder: Encoder, gate: Gate, pool: Executor, *, hang_seconds: float) -> None:
        self.outcome = FAILED
        self.samples = 0  # made by the engine, before any stretching
        self.permit: Permit | None = None
        self._ask, self._encoder, self._gate, self._pool, self._hang_seconds = ask, encoder, gate, pool, hang_seconds
        self._stretch = Stretch(ask.speed) if ask.speed != 1.0 else None
        self._stream: Iterator[Waveform] | None = None
        self._is_over = self._is_closed = False
        self._arrived = self._begun = time.perf_counter()
        self._first_byte: float | None = None  # seconds since arrival
        self._first_sound: float | None = None

    @property
    def voice_id(self) -> str:
        """Who speaks."""
        return self._ask.member.id

    @property
    def ending(self) -> str:
        """How the voice came to its end, once it has: `itself`, or what it was broken off for. Empty if unknown."""
        return str(getattr(self._stream, "ending", None) or "")

    async def open(self) -> None:
        """Wait for a place, and have the request accepted. Raises Problem 429, and InputError for what is refused."""
        metrics.waiting.inc()
        try:
            self.permit = await self._gate.enter(self._ask.caller)
        finally:
            metrics.waiting.dec()
        metrics.active.inc()
        self._begun = time.perf_counter()
        metrics.queue_seconds.observe(self._begun - self._arrived)
        await asyncio.get_running_loop().run_in_executor(self._pool, self._begin)

    async def next(self) -> bytes | None:
        """The next bytes; None after the last. Raises what broke the voice, TimeoutError if it hangs."""
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.run_in_executor(self._pool, self._pull), self._hang_seconds)

    def close(self) -> None:
        """Give up the place, stop the voice within a frame, and write down what became of it."""
        if self._is_closed:
            return
        self._is_closed = True
        self._stop()
        if self.permit is not None:
            self.permit.leave()
            metrics.active.dec()
        self._write_down()

    def _begin(self) -> None:
        self._stream = self._ask.member.tts.stream(self._ask.request)
        if self._is_closed:  # the client left meanwhile
            self._stop()

    def _stop(self) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()

    def _pull(self) -> bytes | None:
        # one thread at a time, since the next part is only asked for when this one has left
        while not self._is_over:
            assert self._stream is not None
            chunk = next(self._stream, None)
            data = self._end() if chunk is None else self._push(chunk)
            if data:
                return data
        return None

    def _push(self, chunk: Waveform) -> bytes:
        self._measure(chunk)
        shaped = self._stretch.push(chunk) if self._stretch else chunk
        return self._encoder.push(shaped) if len(shaped) else b""

    def _end(self) -> bytes:
        self._is_over = True
        if not self.samples and not self._is_closed:
            raise RuntimeError("the voice ended before it made a sound")
        rest = self._stretch.end() if self._stretch else np.zeros(0, np.float32)
        return (self._encoder.push(rest) if len(rest) else b"") + self._encoder.end()

    def _measure(self, chunk: Waveform) -> None:
        since = time.perf_counter() - self._arrived
        if self._first_byte is None:
            self._first_byte = since
        if self._first_sound is None and len(audible := np.flatnonzero(np.abs(chunk) > AUDIBLE)):
            # played as it comes: after what came before it, or when it is there
            heard = self._first_byte + (self.samples + int(audible[0])) / SAMPLE_RATE / self._ask.speed
            self._first_sound = max(since, heard)
        self.samples += len(chunk)

    def _write_down(self) -> None:
        ask, spoken = self._ask, self.samples / SAMPLE_RATE
        metrics.requests.labels(ask.route, ask.form, self.outcome).inc()
        metrics.audio_seconds.inc(spoken)
        if self._first_byte is not None:
            metrics.first_byte_seconds.observe(self._first_byte)
        if self._first_sound is not None:
            metrics.first_sound_seconds.observe(self._first_sound)
        taken = time.perf_counter() - self._begun
        if self.outcome == DONE:
            metrics.characters.inc(len(ask.request.text))
            metrics.rtf.observe(taken / max(spoken, 1e-3))
        if self.outcome == DONE and self.ending not in ("", "itself"):
            metrics.runaways.labels(self.ending).inc()
        event("speech", level=logging.INFO if self.outcome != FAILED else logging.ERROR, **self._line(taken))

    def _line(self, taken: float) -> dict[str, Any]:
        ask = self._ask
        return {
            "request_id": ask.request_id,
            "caller": ask.caller,
            "route": ask.route,
            "voice": ask.member.id,
            "format": ask.form,
            "outcome": self.outcome,
            "ending": self.ending,
            "characters": len(ask.request.text),
            "audio_seconds": round(self.samples / SAMPLE_RATE, 3),
            "queue_seconds": round(self._begun - self._arrived, 4),
            "first_byte_seconds": self._first_byte and round(self._first_byte, 4),
            "first_sound_seconds": self._first_sound and round(self._first_sound, 4),
            "seconds": round(taken, 4),
        }
