"""What was really heard: the recording of a PulseAudio null sink against what the service sent."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcp_client.turns import Turns
from tests.mcp_client.conftest import noise

RATE = 24_000

pytestmark = [
    pytest.mark.sound,
    pytest.mark.skipif(
        not (shutil.which("pulseaudio") and shutil.which("parec") and find_library("portaudio")),
        reason="needs pulseaudio, pulseaudio-utils, libasound2-plugins and libportaudio2",
    ),
]


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A PulseAudio server of our own with one silent loudspeaker; yields the environment that reaches it."""
    folder = tmp_path_factory.mktemp("pulse")
    socket = folder / "native"
    environment = {
        **os.environ, "XDG_RUNTIME_DIR": str(folder), "PULSE_SERVER": f"unix:{socket}", "HOME": str(folder),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }  # fmt: skip
    # norewinds: otherwise the null sink stalls the player and drops its first milliseconds
    sink = f"module-null-sink sink_name=speaker rate={RATE} channels=1 format=s16le norewinds=1"
    protocol = f"module-native-protocol-unix auth-anonymous=1 socket={socket}"
    command = ["pulseaudio", "-n", "--exit-idle-time=-1", "-L", protocol, "-L", sink]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while subprocess.run(["pactl", "info"], env=environment, capture_output=True).returncode:
        assert server.poll() is None
        time.sleep(0.05)
    yield environment
    server.terminate()
    server.wait()


class Recorder:
    """Records what the loudspeaker plays."""

    def __init__(self, environment: dict[str, str]) -> None:
        command = [
            "parec", "-d", "speaker.monitor", "--raw", "--format=s16le", f"--rate={RATE}", "--channels=1",
            "--latency-msec=10",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        self._recording = bytearray()
        runs = threading.Event()
        self._thread = threading.Thread(target=self._drain, args=(runs,), daemon=True)
        self._thread.start()
        assert runs.wait(60)

    def _drain(self, runs: threading.Event) -> None:
        # all the time: what parec holds back while its pipe is full is lost when it is told to end
        assert self._process.stdout
        while data := self._process.stdout.read(RATE // 10):
            self._recording += data
            runs.set()

    def samples(self) -> np.ndarray:
        """All that was heard so far, without the silence before and after it."""
        time.sleep(0.4)  # the recorder's own latency
        self._process.terminate()
        self._process.wait()
        self._thread.join()
        recording = bytes(self._recording[: len(self._recording) // 2 * 2])
        samples = np.frombuffer(recording, np.int16)
        loud = np.flatnonzero(samples)
        return samples[loud[0] : loud[-1] + 1] if len(loud) else samples[:0]


@pytest.fixture
def environment(sink: dict[str, str], service: Any, tmp_path: Path) -> dict[str, str]:
    return {**sink, "TTS_SERVER_URL": service.url, "TTS_STATE_DIR": str(tmp_path / "state")}


def voice(environment: dict[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "mcp_client", *arguments], env=environment)


def say(environment: dict[str, str], text: str = "Hello.") -> None:
    assert voice(environment, "say", text).wait(60) == 0


def test_every_sample_is_heard_head_and_tail_wherever_the_network_cuts(environment: dict[str, str], service: Any):
    pcm = noise(2.0)
    service.script = [pcm[:1], pcm[1:4_800], pcm[4_800:30_001], 0.05, pcm[30_001:]]
    recorder = Recorder(environment)
    say(environment)
    np.testing.assert_array_equal(recorder.samples(), np.frombuffer(pcm, np.int16))


def test_a_network_that_stalls_is_a_pause_and_loses_no_sample(environment: dict[str, str], service: Any):
    pcm = noise(2.0)
    service.script = [pcm[:24_001], 1.1, pcm[24_001:]]  # half a second of sound, then 0.6 s too late
    recorder = Recorder(environment)
    say(environment)
    heard = recorder.samples()
    np.testing.assert_array_equal(heard[heard != 0], np.frombuffer(pcm, np.int16))
    assert len(heard) > len(pcm) // 2  # the pause


def test_two_at_once_speak_one_after_the_other(environment: dict[str, str], service: Any):
    pcm = noise(1.0)
    service.script = [pcm]
    recorder = Recorder(environment)
    both = [voice(environment, "say", "Hello."), voice(environment, "say", "Hello.")]
    assert [process.wait(60) for process in both] == [0, 0]
    heard = recorder.samples()
    np.testing.assert_array_equal(heard[heard != 0], np.frombuffer(pcm + pcm, np.int16))


def until_spoken(service: Any, count: int = 1) -> None:
    while len(service.requests) < count:
        time.sleep(0.01)
    time.sleep(0.6)


def test_stop_in_mid_word_fades_and_is_silent(environment: dict[str, str], service: Any):
    pcm = noise(20.0)
    service.script = [pcm]
    recorder = Recorder(environment)
    process = voice(environment, "say", "Long.")
    until_spoken(service)
    assert voice(environment, "stop").wait(60) == 0
    assert process.wait(60) == 0
    heard, sent = recorder.samples(), np.frombuffer(pcm, np.int16)
    assert 0 < len(heard) < len(sent)
    untouched = len(heard) - RATE // 50
    np.testing.assert_array_equal(heard[:untouched], sent[:untouched])
    assert (heard <= sent[: len(heard)]).all()  # the fade only makes it quieter
    assert heard[-1] < 0.1 * sent.max()


def test_a_killed_player_frees_the_speaker_for_who_waits(environment: dict[str, str], service: Any):
    pcm = noise(20.0)
    service.script = [pcm]
    killed = voice(environment, "say", "Long.")
    until_spoken(service)
    waiting = voice(environment, "say", "Short.")
    time.sleep(0.5)
    assert len(service.requests) == 1
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    service.script = [short := noise(0.5, seed=1)]
    recorder = Recorder(environment)
    assert waiting.wait(60) == 0
    heard = recorder.samples()
    np.testing.assert_array_equal(heard[-len(short) // 2 :], np.frombuffer(short, np.int16))


def test_an_answer_of_the_editor_is_read_aloud_without_holding_it_up(environment: dict[str, str], service: Any):
    service.script = [pcm := noise(1.0)]
    recorder = Recorder(environment)
    event = json.dumps({"hook_event_name": "afterAgentResponse", "text": "**Done.**"})
    command = [sys.executable, "-m", "mcp_client", "hook"]
    hook = subprocess.run(command, env=environment, input=event, text=True, capture_output=True, check=True)
    assert json.loads(hook.stdout) == {}
    until_spoken(service)
    while Turns(Path(environment["TTS_STATE_DIR"])).before():  # a process of its own still speaks
        time.sleep(0.02)
    np.testing.assert_array_equal(recorder.samples(), np.frombuffer(pcm, np.int16))
    assert service.requests[0]["input"] == "Done."
