"""The answer to a request for speech, sent while it is spoken.

FastAPI's own streaming response asks its iterator for more and looks at the client only then. This one listens for the
client's leaving at all times, bounds how long a client may refuse to read, and lets a failure break the connection.
"""

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from serving import metrics
from serving.logs import event
from serving.problems import Problem, failed
from serving.session import DONE, FAILED, GONE, REFUSED, SLOW, Broken, Session
from serving.settings import Settings
from voice.audio import FRAME_SAMPLES, SAMPLE_RATE
from voice.errors import InputError


class Rendering(Protocol):
    """How parts become a body."""

    media_type: str

    def part(self, data: bytes) -> bytes:
        """A part of the body."""
        ...

    def end(self, session: Session) -> bytes:
        """The end of the body."""
        ...

    def failure(self, problem: Problem) -> bytes:
        """What is said of a failure before the connection breaks."""
        ...


class AsAudio:
    """The bytes of the format."""

    def __init__(self, media_type: str) -> None:
        self.media_type = media_type

    def part(self, data: bytes) -> bytes:
        """As it is."""
        return data

    def end(self, session: Session) -> bytes:
        """The format has its own."""
        return b""

    def failure(self, problem: Problem) -> bytes:
        """Sound has no words for it."""
        return b""


class AsEvents:
    """OpenAI's server-sent events: `speech.audio.delta` with base64, then `speech.audio.done`."""

    media_type = "text/event-stream"

    def __init__(self, characters: int) -> None:
        self._characters = characters

    def part(self, data: bytes) -> bytes:
        """A delta."""
        return _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})

    def end(self, session: Session) -> bytes:
        """Done, with characters and codec frames for tokens, and beside OpenAI's fields how the voice ended."""
        frames = -(-session.samples // FRAME_SAMPLES)
        usage = {"input_tokens": self._characters, "output_tokens": frames, "total_tokens": self._characters + frames}
        return _event({"type": "speech.audio.done", "usage": usage, "ending": session.ending or None})

    def failure(self, problem: Problem) -> bytes:
        """An event of its own; no `done` follows."""
        return _event({"type": "error", **problem.body})


def _event(content: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


class Spoken(Response):
    """Streams a session. Errors before the first byte are answers; later ones break the connection."""

    def __init__(
        self,
        session: Session,
        rendering: Rendering,
        settings: Settings,
        *,
        headers: Mapping[str, str],
        suspect: Callable[[], None],
    ) -> None:
        """`suspect` is told of failures that are not the request's."""
        super().__init__(media_type=rendering.media_type, headers={"X-Sample-Rate": str(SAMPLE_RATE), **headers})
        del self.headers["content-length"]
        self._session, self._rendering, self._settings, self._suspect = session, rendering, settings, suspect
        self._has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, until it ends or the client has gone."""
        work = asyncio.ensure_future(self._work(scope, receive, send))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self._session.outcome = GONE
                return
            work.result()
        finally:
            self._session.close()
            for task in (work, gone):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _work(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._session.open()
            await self._speak(send)
            self._session.outcome = DONE
        except Exception as error:
            problem = self._understand(error)
            metrics.problems.labels(problem.code).inc()
            if not self._has_begun:
                await problem.response()(scope, receive, send)
                return
            if end := self._rendering.failure(problem):
                await self._send(send, end)
            raise Broken(f"broken off: {problem.code}") from error

    async def _speak(self, send: Send) -> None:
        while (data := await self._session.next()) is not None:
            if not self._has_begun:
                self._has_begun = True
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send(send, self._rendering.part(data))
        await self._send(send, self._rendering.end(self._session), more=False)

    async def _send(self, send: Send, data: bytes, *, more: bool = True) -> None:
        sending = asyncio.ensure_future(send({"type": "http.response.body", "body": data, "more_body": more}))
        try:
            await asyncio.wait({sending}, timeout=self._settings.aside_seconds)
            if not sending.done():
                if self._session.permit is not None:
                    self._session.permit.step_aside()
                await asyncio.wait({sending}, timeout=self._settings.stall_seconds)
            if not sending.done():
                raise Problem(408, "the client does not read.", "client_slow")
            sending.result()
        finally:
            sending.cancel()

    def _understand(self, error: Exception) -> Problem:
        match error:
            case Problem(code="client_slow"):
                self._session.outcome = SLOW
                return error
            case Problem():
                self._session.outcome = REFUSED
                return error
            case InputError() if not self._has_begun:
                self._session.outcome = REFUSED
                return Problem(400, str(error), "invalid_request")
        self._session.outcome = FAILED
        event("synthesis failed", level=logging.ERROR, error=error)
        self._suspect()
        return failed()


class SpokenJson(Spoken):
    """The whole utterance as JSON, for those that do not stream."""

    def __init__(self, *args: Any, render: Callable[[bytes], Mapping[str, Any]], **options: Any) -> None:
        super().__init__(*args, **options)
        self._render = render

    async def _speak(self, send: Send) -> None:
        parts = []
        while (data := await self._session.next()) is not None:
            parts.append(data)
        response = JSONResponse(self._render(b"".join(parts)), headers={"X-Sample-Rate": self.headers["X-Sample-Rate"]})
        self._has_begun = True
        await send({"type": "http.response.start", "status": 200, "headers": response.raw_headers})
        await self._send(send, bytes(response.body), more=False)


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
