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
            self._gate._step_aside(self._caller)

    def leave(self) -> None:
        """The request is over."""
        if self._is_open:
            self._is_open = False
            self._gate._leave(self._caller, time.monotonic() - self._since, has_place=self._has_place)
            self._has_place = False


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
        self._begun: Counter[str] = Counter()  # by caller: requests with a place, and those that stepped aside
        self._aside: Counter[str] = Counter()  # those
        self._usual_seconds = 5.0  # that a request takes

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def open(self) -> int:
        """Requests that are being spoken, whether they still have a place or stepped aside."""
        return self._begun.total()

    async def enter(self, caller: str = "") -> Permit:
        """Wait for a place. Raises Problem 429 where the queue is full or the wait was too long.

        Whose caller is spoken to least comes first. In a full queue a caller takes the place of one who has more there.
        Of those that stepped aside a caller may have no more than are left for others.
        """
        is_full = self.open >= self._active + self._queue and self._begun[caller]  # who has nothing yet may come in
        if is_full or self._aside[caller] > max(1, self._queue - self._aside.total()):
            raise self._busy("the voice has more listeners than it can, most of them slow")
        if self._places and not self._waiting:
            self._places -= 1
            self._begun[caller] += 1
        elif self.waiting >= self._queue and not self._make_room(caller):
            raise self._busy("the voice has more to say than it can")
        else:
            await self._wait(caller)
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
            elif not turn.comes.exception():  # its place came at the same moment
                _less(self._begun, caller)
                self._free()
            if isinstance(error, TimeoutError):
                raise self._busy(f"the voice was busy for {self._wait_seconds:g} s") from None
            raise

    def _busy(self, what: str) -> Exception:
        seconds = math.ceil(self._usual_seconds * (self.waiting + 1) / self._active)
        seconds = min(max(seconds, 1), _LONGEST_RETRY)
        return busy(f"{what}. Try again in {seconds} s.", retry_seconds=seconds)

    def _free(self) -> None:
        """A place goes to who waits, if anybody does."""
        if not self._waiting:
            self._places += 1
            return
        turn = min(self._waiting, key=lambda waiting: self._begun[waiting.caller])
        self._waiting.remove(turn)
        self._begun[turn.caller] += 1
        turn.comes.set_result(None)

    def _step_aside(self, caller: str) -> None:
        self._aside[caller] += 1
        self._free()

    def _leave(self, caller: str, seconds: float, *, has_place: bool) -> None:
        _less(self._begun, caller)
        if has_place:
            self._free()
        else:
            _less(self._aside, caller)
        self._usual_seconds += 0.1 * (seconds - self._usual_seconds)


def _less(counts: Counter[str], caller: str) -> None:
    """One less; nobody is remembered longer than their requests."""
    counts[caller] -= 1
    if not counts[caller]:
        del counts[caller]
