"""What was really heard: the recording of a PulseAudio null sink equals what the service sent, head and tail."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcp_client.client import Sound
from mcp_client.player import PlaybackError, play

RATE = 24_000

needs_sound = pytest.mark.skipif(
    not (shutil.which("pulseaudio") and shutil.which("parec") and find_library("portaudio")),
    reason="needs pulseaudio, pulseaudio-utils, libasound2-plugins and libportaudio2",
)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A PulseAudio server of our own with one silent loudspeaker; yields the environment that reaches it."""
    socket = tmp_path / "native"
    environment = {
        **os.environ,
        "XDG_RUNTIME_DIR": str(tmp_path),
        "PULSE_SERVER": f"unix:{socket}",
        "HOME": str(tmp_path),
    }
    # norewinds: otherwise the null sink stalls the player and drops its first milliseconds
    sink = f"module-null-sink sink_name=speaker rate={RATE} channels=1 format=s16le norewinds=1"
    command = [
        "pulseaudio",
        "-n",
        "--exit-idle-time=-1",
        "-L",
        f"module-native-protocol-unix auth-anonymous=1 socket={socket}",
        "-L",
        sink,
    ]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while subprocess.run(["pactl", "info"], env=environment, capture_output=True).returncode:
        assert server.poll() is None
        time.sleep(0.05)
    yield environment
    server.terminate()
    server.wait()


def heard(recording: bytes) -> np.ndarray:
    samples = np.frombuffer(recording[: len(recording) // 2 * 2], np.int16)
    loud = np.flatnonzero(samples)
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]


PLAY = """
import asyncio, sys
from mcp_client.client import Sound
from mcp_client.player import play
pcm = open(sys.argv[1], "rb").read()
async def main():
    task = asyncio.create_task(play(Sound(pcm, 24_000)))
    if sys.argv[2] != "whole":
        await asyncio.sleep(float(sys.argv[2]))
        task.cancel()
        await asyncio.wait([task])
    else:
        await task
asyncio.run(main())
"""


def play_and_record(environment: dict[str, str], pcm: Path, how: str) -> np.ndarray:
    record = [
        "parec",
        "-d",
        "speaker.monitor",
        "--raw",
        "--format=s16le",
        f"--rate={RATE}",
        "--channels=1",
        "--latency-msec=10",
    ]
    recorder = subprocess.Popen(record, env=environment, stdout=subprocess.PIPE)
    assert recorder.stdout
    first = recorder.stdout.read(RATE // 10)  # it runs
    subprocess.run([sys.executable, "-c", PLAY, str(pcm), how], env=environment, check=True, timeout=60)
    time.sleep(0.3)  # the recorder's own latency
    recorder.terminate()
    return heard(first + recorder.stdout.read())


@pytest.fixture
def chirp(tmp_path: Path) -> Path:
    t = np.arange(2 * RATE) / RATE
    samples = np.round(20_000 * np.sin(2 * np.pi * (200 + 800 * t) * t)).astype(np.int16)
    samples[samples == 0] = 1  # so that the first and the last sample can be found
    (tmp_path / "chirp.pcm").write_bytes(samples.tobytes())
    return tmp_path / "chirp.pcm"


@pytest.mark.sound
@needs_sound
def test_every_sample_is_heard_head_and_tail(sink: dict[str, str], chirp: Path):
    np.testing.assert_array_equal(play_and_record(sink, chirp, "whole"), np.frombuffer(chirp.read_bytes(), np.int16))


@pytest.mark.sound
@needs_sound
def test_cancelling_stops_the_sound(sink: dict[str, str], chirp: Path):
    samples = play_and_record(sink, chirp, "0.5")
    assert 0 < len(samples) < 1.5 * RATE
    np.testing.assert_array_equal(samples, np.frombuffer(chirp.read_bytes(), np.int16)[: len(samples)])


class NoDevice:
    """sounddevice on a machine without an output device."""

    class PortAudioError(Exception):
        pass

    def RawOutputStream(self, *args: Any, **options: Any) -> Any:  # noqa: N802
        raise self.PortAudioError("Error querying device -1")


class NoPortAudio:
    """sounddevice as an import finds it where the PortAudio library is missing."""

    def find_spec(self, name: str, *args: Any) -> None:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")


@pytest.mark.anyio
async def test_without_an_output_device_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "sounddevice", NoDevice())
    with pytest.raises(PlaybackError, match="Connect or choose an output device"):
        await play(Sound(bytes(4_800), RATE))


@pytest.mark.anyio
async def test_without_portaudio_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoPortAudio(), *sys.meta_path])
    with pytest.raises(PlaybackError, match="libportaudio2"):
        await play(Sound(bytes(4_800), RATE))
