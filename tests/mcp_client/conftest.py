"""A stand-in for the voice service on loopback, and a speaker that remembers."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from mcp_client.client import VoiceService
from mcp_client.narrator import Narrator
from mcp_client.ring import SAMPLE_RATE, Ring
from mcp_client.settings import Settings


def noise(seconds: float, *, seed: int = 0) -> bytes:
    """Samples that are never zero, so that silence is told from sound."""
    samples = np.random.default_rng(seed).integers(1, 20_000, round(seconds * SAMPLE_RATE), dtype=np.int16)
    return samples.tobytes()


class StandIn:
    """Answers as it was told to, over real sockets, and keeps what it was sent."""

    def __init__(self) -> None:
        self.status = 200
        self.headers = {"Content-Type": "audio/pcm", "X-Sample-Rate": "24000"}
        self.script: list[bytes | float] = [noise(0.1)]  # chunks, and pauses in seconds
        self.cut = False  # break off instead of ending
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.broken = threading.Event()  # the client hung up
        self.url = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: StandIn

    def do_GET(self) -> None:
        voices = {"voices": [{"voice_id": "me", "name": "Me", "kind": "finetuned"}]}
        self._json({"status": "ok"} if self.path == "/health" else voices)

    def do_POST(self) -> None:
        told = self.stand_in
        content = self.rfile.read(int(self.headers["Content-Length"]))
        told.requests.append({"path": self.path, **json.loads(content)})
        told.authorizations.append(self.headers["Authorization"])
        self.send_response(told.status)
        for name, value in told.headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            self._chunks(told)
        except OSError:
            told.broken.set()
            self.close_connection = True

    def _chunks(self, told: StandIn) -> None:
        for part in told.script:
            if isinstance(part, float):
                time.sleep(part)
            else:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                self.wfile.flush()
        if told.cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _json(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[StandIn]:
    stand_in = StandIn()
    handler = type("Bound", (Handler,), {"stand_in": stand_in})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield stand_in
    server.shutdown()
    server.server_close()


class Speaker:
    """A device that takes sound as fast as it comes and remembers it."""

    latency_seconds = 0.0

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.held = anyio.Event()  # set to let it play
        self.held.set()
        self.error: Exception | None = None

    async def open(self, sample_rate: int = SAMPLE_RATE) -> None:
        if self.error:
            raise self.error

    async def play(self, ring: Ring) -> None:
        sound = bytearray()
        self.heard.append(b"")
        try:
            while not ring.is_over:
                await anyio.sleep(0.001)
                if self.held.is_set():
                    before = ring.played_bytes
                    block = ring.read(4_800)
                    sound += block[: ring.played_bytes - before]
        finally:
            self.heard[-1] = bytes(sound)

    async def close(self) -> None:
        pass


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def settings(service: StandIn, tmp_path: Path) -> Settings:
    return Settings(
        url=service.url, api_key="k", save_folder=tmp_path / "saved", state_folder=tmp_path / "state",
        prebuffer_seconds=0.0,
    )  # fmt: skip


@pytest.fixture
async def speaker() -> Speaker:
    return Speaker()


@pytest.fixture
def make_narrator(settings: Settings, speaker: Speaker) -> Any:
    def make(url: str | None = None) -> Narrator:
        service = VoiceService(url or settings.url, api_key="k", read_seconds=5)
        return Narrator(settings, service, speaker)

    return make
