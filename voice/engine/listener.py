"""Who hears an utterance as it comes, by the clock: what they have in hand, and what they have missed."""

import math
import time
from collections.abc import Callable

from voice.audio import SAMPLE_RATE, Waveform

Clock = Callable[[], float]  # seconds


class Listener:
    """Hears what is handed over without a break, at so many times the speed, and waits where nothing is there."""

    def __init__(self, *, speed: float = 1.0, clock: Clock = time.monotonic) -> None:
        self._speed, self._clock = speed, clock
        self._until = math.inf  # when all of it has been heard; nobody waits for the first chunk yet
        self._missed = 0.0

    def hand_over(self, chunk: Waveform) -> None:
        """Count a chunk that leaves now."""
        now = self._clock()
        self._missed += max(0.0, now - self._until)
        since = now if self._until == math.inf else max(self._until, now)
        self._until = since + len(chunk) / SAMPLE_RATE / self._speed

    def unheard(self) -> float:
        """Seconds until what was handed over has been heard."""
        return 0.0 if self._until == math.inf else max(0.0, self._until - self._clock())

    def missed(self) -> float:
        """Seconds that were waited for sound since the first chunk."""
        return self._missed + max(0.0, self._clock() - self._until)
