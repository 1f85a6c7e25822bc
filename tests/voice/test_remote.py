"""The `http` engine against a stand-in for a server with OpenAI's route."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.eval.settings import MoreSystem
from pipelines.eval.synthesize import load_more
from tests.sounds import speechlike
from voice.audio import from_pcm16, to_pcm16
from voice.errors import InputError
from voice.remote import RemoteError, RemoteTTS
from voice.request import Request

SAID = to_pcm16(speechlike(1.0))


class Server:
    """Says the same to everybody, in parts of odd lengths, or what it is told to."""

    def __init__(self) -> None:
        self.status, self.rate, self.breaks = 200, 24_000, False
        self.body: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.url = ""
        self.left = threading.Event()  # a client went before the end
        self.endless = False


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            told.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.headers = dict(self.headers)
            self.send_response(told.status)
            if told.status != 200:
                content = b'{"error": {"message": "no such voice"}}'
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                return
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("X-Sample-Rate", str(told.rate))
            self.end_headers()
            self.speak(SAID.tobytes())

        def speak(self, content: bytes) -> None:
            try:
                while True:
                    for start in range(0, len(content), 9_999):
                        part = content[start : start + 9_999]
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                        if told.breaks:
                            self.close_connection = True
                            return
                    if not told.endless:
                        break
                self.wfile.write(b"0\r\n\r\n")
            except OSError:
                told.left.set()

        def log_message(self, *args: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{listening.server_port}"
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield told
    listening.shutdown()
    listening.server_close()


def test_what_the_server_says_is_what_is_heard(server: Server):
    tts = RemoteTTS(server.url, model="qwen", voice="anna", api_key="secret")
    request = Request("Hello.", "anna", language="en", seed=7, instruct="calm")
    chunks = list(tts.stream(request))
    assert len(chunks) > 1
    np.testing.assert_array_equal(np.concatenate(chunks), from_pcm16(SAID))
    assert server.headers["Authorization"] == "Bearer secret"
    assert server.body == {
        "model": "qwen", "voice": "anna", "input": "Hello.", "response_format": "pcm", "stream_format": "audio",
        "seed": 7, "language": "en", "instructions": "calm",
    }  # fmt: skip
    several = tts.batch([request] * 20)
    assert all(np.array_equal(speech.waveform, from_pcm16(SAID)) for speech in several)


def test_another_rate_is_resampled(server: Server):
    server.rate = 12_000
    [speech] = RemoteTTS(server.url).batch([Request("Hello.", "default")])
    assert len(speech.waveform) == 2 * len(SAID)


def test_a_server_that_breaks_off_refuses_or_is_not_there_is_an_error(server: Server):
    server.breaks = True
    with pytest.raises(RemoteError, match="broke off"):
        list(RemoteTTS(server.url).stream(Request("Hello.", "default")))
    server.status = 400
    with pytest.raises(InputError, match="no such voice"):
        list(RemoteTTS(server.url).stream(Request("Hello.", "default")))
    server.status = 500
    with pytest.raises(RemoteError, match="500"):
        list(RemoteTTS(server.url).stream(Request("Hello.", "default")))
    with pytest.raises(RemoteError):
        list(RemoteTTS("http://127.0.0.1:9").stream(Request("Hello.", "default")))
    with pytest.raises(InputError, match="address"):
        RemoteTTS("gpu-box:8091")


def test_closing_ends_the_connection(server: Server):
    server.endless = True
    stream = RemoteTTS(server.url).stream(Request("Hello.", "default"))
    next(stream)
    stream.close()
    assert server.left.wait(30)


def test_an_evaluation_takes_a_server_for_a_system(server: Server, tmp_path: Path):
    file = tmp_path / "gpu_box.yaml"
    file.write_text(f"url: {server.url}\nvoice: anna\n")
    tts = load_more(MoreSystem(checkpoint=str(file)))
    assert len(list(tts.stream(Request("Hello.", "anna")))) > 1
    file.write_text("adress: x\n")
    with pytest.raises(InputError, match="url"):
        load_more(MoreSystem(checkpoint=str(file)))
