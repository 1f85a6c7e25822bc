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
        # When all of it has been heard (nobody waits for the first chunk yet), and what was missed until then: in one,
        # for another thread may ask
        self._heard = (math.inf, 0.0)

    def hand_over(self, chunk: Waveform) -> None:
        """Count a chunk that leaves now."""
        (until, missed), now = self._heard, self._clock()
        since = now if until == math.inf else max(until, now)
        self._heard = (since + len(chunk) / SAMPLE_RATE / self._speed, missed + max(0.0, now - until))

    def unheard(self) -> float:
        """Seconds until what was handed over has been heard."""
        until, _ = self._heard
        return 0.0 if until == math.inf else max(0.0, until - self._clock())

    def missed(self) -> float:
        """Seconds that were waited for sound since the first chunk."""
        until, missed = self._heard
        return missed + max(0.0, self._clock() - until)
