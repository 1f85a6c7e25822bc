"""The local speaker: plays a ring on a device that is opened when needed and freed when idle."""

import time
from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.to_thread

from mcp_client import device
from mcp_client.errors import PlaybackError
from mcp_client.ring import SAMPLE_RATE, Ring

POLL_SECONDS = 0.01
STUCK_SECONDS = 3.0  # a device that asks for nothing so long is gone


class Stream(Protocol):
    """What `device.OutputStream` is to the player."""

    ring: Ring | None
    sample_rate: int
    latency_seconds: float

    @property
    def is_active(self) -> bool:  # noqa: D102
        ...

    def close(self) -> None: ...  # noqa: D102


class Speaker:
    """One output device, used by one utterance at a time."""

    def __init__(self, name: str | None = None, *, open_stream: Callable[..., Stream] = device.OutputStream) -> None:
        self._name = name
        self._open_stream = open_stream
        self._stream: Stream | None = None
        self._opened_on: int | None = None

    @property
    def latency_seconds(self) -> float:
        """From the moment that a sample is taken to the moment that it is heard."""
        return self._stream.latency_seconds if self._stream else 0.0

    async def open(self, sample_rate: int = SAMPLE_RATE) -> None:
        """Make the device ready. Follows the system's choice of device since the last time. Raises PlaybackError."""
        await anyio.to_thread.run_sync(self._open, sample_rate)

    def _open(self, sample_rate: int) -> None:
        current = device.default_output()
        stream = self._stream
        if stream and stream.is_active and stream.sample_rate == sample_rate and current == self._opened_on:
            return
        self._close()
        if current != self._opened_on and self._opened_on is not None:
            device.rescan()
        try:
            self._stream = self._open_stream(sample_rate=sample_rate, device=self._name)
        except PlaybackError:
            device.rescan()  # it may have been plugged in since PortAudio started
            self._stream = self._open_stream(sample_rate=sample_rate, device=self._name)
        self._opened_on = current

    async def play(self, ring: Ring) -> None:
        """Play to the end. Cancelling fades out and frees the device. Raises PlaybackError if the device is lost."""
        await self.open(ring.sample_rate)
        assert self._stream
        self._stream.ring = ring
        try:
            await self._until_over(ring)
        except anyio.get_cancelled_exc_class():
            ring.stop()
            with anyio.CancelScope(shield=True):
                await self._until_faded(ring)
                await self.close()
            raise
        finally:
            if self._stream:
                self._stream.ring = None

    async def _until_over(self, ring: Ring) -> None:
        reopened = False
        asked, at = ring.fills, time.monotonic()
        while not ring.is_over:
            await anyio.sleep(POLL_SECONDS)
            now = time.monotonic()
            if ring.fills != asked:
                asked, at = ring.fills, now
            elif now - at > STUCK_SECONDS or not (self._stream and self._stream.is_active):
                if reopened:
                    raise PlaybackError("The output device takes no more sound. Connect or choose another one.")
                reopened = True
                await self._reopen(ring)
                at = time.monotonic()

    async def _reopen(self, ring: Ring) -> None:
        await self.close()
        await anyio.to_thread.run_sync(device.rescan)
        await self.open(ring.sample_rate)
        assert self._stream
        self._stream.ring = ring

    async def _until_faded(self, ring: Ring) -> None:
        # The fade has to leave the device before it is closed: an abort drops what is in its buffer.
        with anyio.move_on_after(1.0):
            while not ring.is_over and self._stream and self._stream.is_active:
                await anyio.sleep(POLL_SECONDS / 2)

    async def close(self) -> None:
        """Free the device, so that the Mac may sleep."""
        await anyio.to_thread.run_sync(self._close)

    def _close(self) -> None:
        if self._stream:
            self._stream.close()
        self._stream = None
