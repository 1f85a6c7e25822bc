"""Who may speak now: so many at a time, so many waiting, and the next one is told to come back."""

import asyncio
import math
import time
from collections import deque

from serving.problems import busy

_LONGEST_RETRY = 60  # seconds


class Permit:
    """A place. Left once, however often it is said."""

    def __init__(self, gate: "Gate") -> None:
        self._gate, self._since = gate, time.monotonic()
        self._has_place = self._is_open = True

    def step_aside(self) -> None:
        """Give the place to the next one and go on without: for a client that is slow to listen."""
        if self._has_place:
            self._has_place = False
            self._gate._free()

    def leave(self) -> None:
        """The request is over."""
        if self._is_open:
            self._is_open = False
            self.step_aside()
            self._gate._close(time.monotonic() - self._since)


class Gate:
    """Places and a queue. One event loop's."""

    def __init__(self, *, active: int, queue: int, wait_seconds: float) -> None:
        self._places, self._queue, self._wait_seconds = active, queue, wait_seconds
        self._active = active  # the number of places
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._open = 0  # those who have begun, whether they still have a place or stepped aside
        self._usual_seconds = 5.0  # that a request takes

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def open(self) -> int:
        """Requests that are being spoken."""
        return self._open

    async def enter(self) -> Permit:
        """Wait for a place. Raises Problem 429 where the queue is full or the wait was too long."""
        if self._open >= self._active + self._queue:  # most of them slow to listen
            raise self._busy("the voice has more listeners than it can")
        if self._places and not self._waiting:
            self._places -= 1
        elif self.waiting >= self._queue:
            raise self._busy("the voice has more to say than it can")
        else:
            await self._wait()
        self._open += 1
        return Permit(self)

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await asyncio.wait_for(asyncio.shield(turn), self._wait_seconds)
        except BaseException as error:  # too long, or the client has gone
            if turn.done():
                self._free()  # its place came at the same moment
            else:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise self._busy(f"the voice was busy for {self._wait_seconds:g} s") from None
            raise

    def _busy(self, what: str) -> Exception:
        seconds = math.ceil(self._usual_seconds * (self.waiting + 1) / self._active)
        seconds = min(max(seconds, 1), _LONGEST_RETRY)
        return busy(f"{what}. Try again in {seconds} s.", retry_seconds=seconds)

    def _free(self) -> None:
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._places += 1

    def _close(self, seconds: float) -> None:
        self._open -= 1
        self._usual_seconds += 0.1 * (seconds - self._usual_seconds)
