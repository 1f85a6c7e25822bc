"""A stand-in for the voice service on loopback, and a speaker that remembers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mcp_client.client import Sound


class StandIn:
    """Answers every request with what it was told to, and keeps what it was sent."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b""
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.url = ""


@pytest.fixture
def service() -> Iterator[StandIn]:
    stand_in = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            stand_in.requests.append((self.path, dict(self.headers), json.loads(content)))
            self.send_response(stand_in.status)
            self.send_header("Content-Length", str(len(stand_in.body)))
            self.end_headers()
            self.wfile.write(stand_in.body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield stand_in
    server.shutdown()
    server.server_close()


class Speaker:
    """Plays nothing, remembers everything."""

    def __init__(self) -> None:
        self.played: list[Sound] = []

    async def __call__(self, sound: Sound) -> None:
        self.played.append(sound)


@pytest.fixture
def speaker() -> Speaker:
    return Speaker()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
