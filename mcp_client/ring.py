"""The jitter buffer between network and device: mono 16-bit samples, written by one thread, read by another.

Nothing sounds until a prebuffer is full; where the network falls behind, silence is inserted, never a sample dropped.
"""

import threading
import time
from array import array

SAMPLE_RATE = 24_000  # Hz, what the service speaks at
FADE_SECONDS = 0.01  # short enough to be a stop, long enough not to click
MOST_PREBUFFER_SECONDS = 1.0
CAPACITY_SECONDS = 300.0  # 14 MB; then the network waits


class Ring:
    """One utterance on its way to the device."""

    def __init__(self, *, prebuffer_seconds: float = 0.2, lead_seconds: float = 0.0, tail_seconds: float = 0.25):
        self.sample_rate = SAMPLE_RATE
        self.prebuffer_seconds = prebuffer_seconds
        self.underruns = 0
        self.played_bytes = 0
        self.fills = 0  # how often the device asked
        self.first_sample_at: float | None = None  # time.monotonic() when the device took it
        self._lead_seconds = lead_seconds
        self._tail_seconds = tail_seconds
        self._lock = threading.Lock()
        self._samples = bytearray()
        self._carry = b""  # half a sample: chunks end where packets end
        self._sounding = self._ended = self._stopping = self._faded = False
        self._pausing = self._paused = self._resuming = False
        self._silent_bytes = self._led_bytes = 0

    def write(self, chunk: bytes) -> None:
        """Take what arrived, wherever it is cut."""
        with self._lock:
            data = self._carry + chunk
            whole = len(data) // 2 * 2
            self._samples += data[:whole]
            self._carry = data[whole:]

    def end(self) -> None:
        """Nothing more will come."""
        with self._lock:
            self._ended = True

    def stop(self) -> None:
        """Fade out and be over, whatever is left."""
        with self._lock:
            self._stopping = True

    def pause(self) -> None:
        """Fade out and keep the rest."""
        with self._lock:
            self._pausing = not self._paused

    def resume(self) -> None:
        """Go on where it was paused."""
        with self._lock:
            self._resuming, self._pausing, self._paused = self._paused, False, False

    @property
    def is_paused(self) -> bool:
        """Whether it is held."""
        return self._pausing or self._paused

    @property
    def is_full(self) -> bool:
        """Whether the network should wait."""
        return len(self._samples) >= self._bytes(CAPACITY_SECONDS)

    @property
    def is_over(self) -> bool:
        """Whether all was handed on, and silence after it: without that, devices drop the last 20 to 35 ms."""
        return self._silent_bytes >= self._bytes(self._tail_seconds)

    @property
    def is_truncated(self) -> bool:
        """Whether what was written ends in mid-sample."""
        return bool(self._carry)

    @property
    def played_seconds(self) -> float:
        """How much sound the device has taken."""
        return self.played_bytes / self._bytes(1.0)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes for the device: samples where there are any, else silence. Never waits."""
        with self._lock:
            self.fills += 1
            taken = self._take(size)
            self.played_bytes += len(taken)
            return taken + bytes(size - len(taken))

    def _bytes(self, seconds: float) -> int:
        return 2 * round(seconds * self.sample_rate)

    def _take(self, size: int) -> bytes:
        if self._stopping:
            return self._last(size)
        if self._pausing or self._paused:
            fading, self._pausing, self._paused = self._pausing and self._sounding, False, True
            return self._fade_out(size) if fading else b""
        if not self._sounding and not self._starts(size):
            return b""
        taken = self._pop(size)
        if self._resuming:
            self._resuming, taken = False, _fade(taken, self._bytes(FADE_SECONDS) // 2, rising=True)
        if len(taken) < size and not self._ended:
            self._underrun()
        return taken

    def _starts(self, size: int) -> bool:
        if self._ended and not self._samples:
            self._silent_bytes += size
            return False
        if self._led_bytes < self._bytes(self._lead_seconds):
            self._led_bytes += size
            return False
        if not self._ended and len(self._samples) < max(2, self._bytes(self.prebuffer_seconds)):
            return False
        self._sounding = True
        self.first_sample_at = self.first_sample_at or time.monotonic()
        return True

    def _pop(self, size: int) -> bytes:
        taken = bytes(self._samples[:size])
        del self._samples[:size]
        if self._ended and not self._samples:
            self._sounding = False
            self._silent_bytes += size - len(taken)
        return taken

    def _underrun(self) -> None:
        self.underruns += 1
        self._sounding = False
        self.prebuffer_seconds = min(max(2 * self.prebuffer_seconds, 0.1), MOST_PREBUFFER_SECONDS)

    def _last(self, size: int) -> bytes:
        taken = b"" if self._faded or not self._sounding else self._fade_out(size)
        self._faded = True
        self._samples.clear()
        self._silent_bytes += size - len(taken)
        return taken

    def _fade_out(self, size: int) -> bytes:
        length = min(size, self._bytes(FADE_SECONDS))
        return _fade(self._pop(length), length // 2, rising=False)


def _fade(pcm: bytes, length: int, *, rising: bool) -> bytes:
    samples = array("h", pcm)  # native order: Macs and PCs are little-endian
    for i in range(min(length, len(samples))):
        gain = (i + 1) / length if rising else 1 - (i + 1) / length
        samples[i] = int(samples[i] * gain)
    return samples.tobytes()
