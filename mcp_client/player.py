"""The local speaker, through sounddevice (PortAudio)."""

import asyncio
import threading

from mcp_client.client import Sound

LATENCY_SECONDS = 0.15  # a number: 'high' means only 35 ms on some devices, and a busy interpreter then loses samples
TAIL_SECONDS = 0.3  # silence after the last sample: without it devices drop the last 20 to 35 ms
BLOCK_SECONDS = 0.05  # how soon a stop takes effect


class PlaybackError(Exception):
    """Why there is no sound, and what to do about it."""


async def play(sound: Sound) -> None:
    """Play to the end. Cancelling stops the sound. Raises PlaybackError without PortAudio or an output device."""
    stopped = threading.Event()
    playing = asyncio.get_running_loop().run_in_executor(None, _play, sound, stopped)
    try:
        await asyncio.shield(playing)
    except asyncio.CancelledError:
        stopped.set()  # the thread sees it within a block and frees the device
        raise


def _play(sound: Sound, stopped: threading.Event) -> None:
    try:
        import sounddevice  # here: without PortAudio the import itself fails, and the server must start all the same
    except OSError as error:
        remedy = "Install it (macOS: it comes with sounddevice; Debian: libportaudio2)."
        raise PlaybackError(f"PortAudio is missing ({error}). {remedy}") from error
    block = 2 * round(BLOCK_SECONDS * sound.sample_rate)
    samples = sound.pcm + bytes(2 * round(TAIL_SECONDS * sound.sample_rate))
    try:
        with sounddevice.RawOutputStream(
            sound.sample_rate, channels=1, dtype="int16", latency=LATENCY_SECONDS
        ) as stream:
            for start in range(0, len(samples), block):
                if stopped.is_set():
                    stream.abort()
                    return
                stream.write(samples[start : start + block])
    except sounddevice.PortAudioError as error:
        raise PlaybackError(f"No sound could be played ({error}). Connect or choose an output device.") from error
