"""Who may speak now: so many at a time, so many waiting, and the next one is told to come back.

Fair among callers, not requests: whoever sends a hundred holds up nobody who sends one.
"""

import asyncio
import math
import time
from collections import Counter, deque
from dataclasses import dataclass

from serving.problems import busy

_LONGEST_RETRY = 60  # seconds


class Permit:
    """A place. Left once, however often it is said."""

    def __init__(self, gate: "Gate", caller: str) -> None:
        self._gate, self._caller, self._since = gate, caller, time.monotonic()
        self._has_place = self._is_open = True

    def step_aside(self) -> None:
        """Give the place to the next one and go on without: for a client that is slow to listen."""
        if self._has_place:
            self._has_place = False
            self._gate._free(self._caller)

    def leave(self) -> None:
        """The request is over."""
        if self._is_open:
            self._is_open = False
            self.step_aside()
            self._gate._close(time.monotonic() - self._since)


@dataclass(frozen=True, slots=True, eq=False)
class _Turn:
    """A request in the queue."""

    caller: str
    comes: asyncio.Future[None]


class Gate:
    """Places and a queue. One event loop's."""

    def __init__(self, *, active: int, queue: int, wait_seconds: float) -> None:
        self._places, self._queue, self._wait_seconds = active, queue, wait_seconds
        self._active = active  # the number of places
        self._waiting: deque[_Turn] = deque()
        self._taken: Counter[str] = Counter()  # places, by caller
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

    async def enter(self, caller: str = "") -> Permit:
        """Wait for a place. Raises Problem 429 where the queue is full or the wait was too long.

        Who has the fewest places comes first. In a full queue a caller takes the place of one who has more there.
        """
        if self._open >= self._active + self._queue:  # most of them slow to listen
            raise self._busy("the voice has more listeners than it can")
        if self._places and not self._waiting:
            self._places -= 1
            self._taken[caller] += 1
        elif self.waiting >= self._queue and not self._make_room(caller):
            raise self._busy("the voice has more to say than it can")
        else:
            await self._wait(caller)
        self._open += 1
        return Permit(self, caller)

    def _make_room(self, caller: str) -> bool:
        """Send the last request away of who has most in the queue, if that is more than this caller would have."""
        waiting = Counter(turn.caller for turn in self._waiting)
        most = max(waiting, key=lambda name: waiting[name], default=caller)
        if waiting[most] <= waiting[caller] + 1:
            return False
        last = next(turn for turn in reversed(self._waiting) if turn.caller == most)
        self._waiting.remove(last)
        last.comes.set_exception(self._busy("the voice has more to say than it can, much of it for you"))
        return True

    async def _wait(self, caller: str) -> None:
        turn = _Turn(caller, asyncio.get_running_loop().create_future())
        self._waiting.append(turn)
        try:
            await asyncio.wait_for(asyncio.shield(turn.comes), self._wait_seconds)
        except BaseException as error:  # too long, or the client has gone, or others had fewer
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.comes.exception():
                self._free(caller)  # its place came at the same moment
            if isinstance(error, TimeoutError):
                raise self._busy(f"the voice was busy for {self._wait_seconds:g} s") from None
            raise

    def _busy(self, what: str) -> Exception:
        seconds = math.ceil(self._usual_seconds * (self.waiting + 1) / self._active)
        seconds = min(max(seconds, 1), _LONGEST_RETRY)
        return busy(f"{what}. Try again in {seconds} s.", retry_seconds=seconds)

    def _free(self, caller: str) -> None:
        self._taken[caller] -= 1
        if not self._taken[caller]:
            del self._taken[caller]
        if not self._waiting:
            self._places += 1
            return
        turn = min(self._waiting, key=lambda waiting: self._taken[waiting.caller])
        self._waiting.remove(turn)
        self._taken[turn.caller] += 1
        turn.comes.set_result(None)

    def _close(self, seconds: float) -> None:
        self._open -= 1
        self._usual_seconds += 0.1 * (seconds - self._usual_seconds)
