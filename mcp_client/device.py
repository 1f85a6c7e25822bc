"""The computer's output device, through sounddevice (PortAudio): an open stream that asks a ring for samples."""

import sys
from typing import Any

from mcp_client.errors import PlaybackError
from mcp_client.ring import Ring

LATENCY_SECONDS = 0.1  # a number: 'high' means only 35 ms on some devices, and a busy interpreter then loses samples


def portaudio() -> Any:
    """The library. Raises PlaybackError where it is missing; imported late, for the server must start all the same."""
    try:
        import sounddevice
    except OSError as error:
        remedy = "Install it (macOS: it comes with sounddevice; Debian: libportaudio2)."
        raise PlaybackError(f"PortAudio is missing ({error}). {remedy}") from error
    return sounddevice


class OutputStream:
    """An open stream. It plays silence until it is given a ring."""

    def __init__(self, *, sample_rate: int, device: str | None) -> None:
        """Open the device. Raises PlaybackError if there is none, or none of that name."""
        library = portaudio()
        self.sample_rate = sample_rate
        self.ring: Ring | None = None
        try:
            self._stream = library.RawOutputStream(
                sample_rate,
                channels=1,
                dtype="int16",
                latency=LATENCY_SECONDS,
                device=device,
                callback=self._fill,
            )
            self._stream.start()
            self.latency_seconds = float(self._stream.latency)
        except (library.PortAudioError, ValueError) as error:
            raise PlaybackError(f"No sound can be played ({error}). {_remedy(device)}") from error

    def _fill(self, out: Any, frames: int, moment: Any, status: Any) -> None:
        ring = self.ring
        out[:] = bytes(len(out)) if ring is None else ring.read(len(out))

    @property
    def is_active(self) -> bool:
        """Whether the device still asks for samples."""
        return bool(self._stream.active)

    def close(self) -> None:
        """Free the device at once; what it holds is dropped, so silence comes first."""
        try:
            self._stream.abort()
            self._stream.close()
        except portaudio().PortAudioError:
            pass  # it was unplugged: nothing is left to close


def _remedy(device: str | None) -> str:
    if device:
        return f"TTS_DEVICE is {device!r}; `voice-mcp doctor` lists what there is."
    return "Connect or choose an output device."


def rescan() -> None:
    """Have PortAudio look for devices anew; it does so only when it starts. No stream may be open."""
    library = portaudio()
    library._terminate()
    library._initialize()


def output_names() -> list[str]:
    """Names of the devices that sound can come from."""
    return [str(device["name"]) for device in portaudio().query_devices() if device["max_output_channels"]]


def default_output() -> int | None:
    """Core Audio's id of the system's output device, which PortAudio does not follow; None elsewhere than on macOS."""
    if sys.platform != "darwin":
        return None
    return _core_audio_default()


def _core_audio_default() -> int | None:
    # AudioObjectGetPropertyData(kAudioObjectSystemObject, kAudioHardwarePropertyDefaultOutputDevice): AudioHardware.h
    import ctypes

    audio = ctypes.CDLL("/System/Library/Frameworks/CoreAudio.framework/CoreAudio")
    address = (ctypes.c_uint32 * 3)(*(int.from_bytes(name, "big") for name in (b"dOut", b"glob", bytes(4))))
    device, size = ctypes.c_uint32(0), ctypes.c_uint32(4)
    failed = audio.AudioObjectGetPropertyData(
        ctypes.c_uint32(1), address, 0, None, ctypes.byref(size), ctypes.byref(device)
    )
    return None if failed else int(device.value)
