"""The edge: this machine only, one line for what is wrong, and an end without noise."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.data.record.__main__ import main
from pipelines.data.record.serve import listen_on
from voice.errors import InputError

PROJECT = Path(__file__).resolve().parents[4]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines.data.record", *arguments]
    path = os.pathsep.join([str(PROJECT), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def port() -> Iterator[int]:
    """A port that is free until somebody else takes it."""
    with listen_on(0) as listener:
        number = listener.getsockname()[1]
    yield number


def test_only_this_machine_can_connect():
    with listen_on(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_named_with_the_remedy():
    with listen_on(0) as listener:
        taken = listener.getsockname()[1]
        with pytest.raises(InputError, match=f"port {taken} .*PORT="), listen_on(taken):
            pass


def test_the_recorder_starts_serves_and_stops_without_a_word_of_error(tmp_path: Path, port: int):
    recorder = start(tmp_path, "voice=anna", f"port={port}")
    assert recorder.stdout
    assert f"http://127.0.0.1:{port}" in recorder.stdout.readline()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/state") as answer:
        state = json.load(answer)
    assert state["voice"] == "anna"
    assert state["sentence"]["text"]
    recorder.send_signal(signal.SIGINT)
    _, errors = recorder.communicate()
    assert (recorder.returncode, errors) == (0, "")
    assert list(tmp_path.rglob("*.*")) == []  # looking is not recording


@pytest.fixture
def complaint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Start a recorder that cannot start, and return the line that it exits with."""

    def complaint(*arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["record", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        assert isinstance(exit_.value.code, str)  # printed to stderr, and the exit status is 1
        assert "\n" not in exit_.value.code
        assert list(tmp_path.rglob("*.*")) == []
        return exit_.value.code

    return complaint


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "synthetic demo"),
        (["voice='a b'"], "letters, digits"),
        (["voice=anna", "language=xx"], "xx"),
        (["voice=anna", "port=0"], "port=0 must be at least 1"),
        (["voice=anna", "data.asr=ears"], "none, pocketsphinx or whisper"),
        (["voice=anna", "data.max_wer=0"], "data.max_wer=0.0 must be above 0"),
        (["voice=anna", "data.max_weird=1"], "max_weird"),
    ],
)
def test_what_is_wrong_is_one_line(complaint: Callable[..., str], port: int, arguments: list[str], says: str):
    if not any(a.startswith("port=") for a in arguments):
        arguments = [*arguments, f"port={port}"]
    assert says in complaint(*arguments)


def test_a_taken_port_is_one_line(complaint: Callable[..., str]):
    with listen_on(0) as taken:
        assert "error: port" in complaint("voice=anna", f"port={taken.getsockname()[1]}")
