"""So many a minute, for each caller: a bucket that refills."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

_CALLERS = 4_096  # remembered; the one that came longest ago is forgotten first


class Rate:
    """Buckets of `per_minute` requests that refill evenly."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._clock = float(per_minute), clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when that was

    def take(self, caller: str) -> int:
        """Take one. Returns the seconds until there will be one, or 0 where there was."""
        left = self._now(caller)
        ok = left >= 1.0
        self._left[caller] = (left - 1.0 if ok else left, self._clock())
        self._left.move_to_end(caller)
        while len(self._left) > _CALLERS:
            self._left.popitem(last=False)
        return 0 if ok else math.ceil((1.0 - left) * 60.0 / self._size)

    def is_empty(self, caller: str) -> bool:
        """Whether nothing is left; takes none."""
        return self._now(caller) < 1.0

    def _now(self, caller: str) -> float:
        left, then = self._left.get(caller, (self._size, self._clock()))
        return min(self._size, left + (self._clock() - then) * self._size / 60.0)
