"""What the editor's server costs: python -m benchmarks.mcp

Start-up, memory, call to first sample heard, stop to silence: the real process over stdio, a PulseAudio null
sink as the loudspeaker, and a service on loopback that answers at once (so that the client alone is measured).
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

RATE = 24_000  # Hz
RUNS = 5
CLIENT = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "benchmark", "version": "1"}}


class Service(BaseHTTPRequestHandler):
    """Ten seconds of a square wave, at once."""

    def do_POST(self) -> None:
        """Answer with sound."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "audio/pcm")
        self.send_header("X-Sample-Rate", str(RATE))
        self.end_headers()
        try:
            self.wfile.write(b"\x00\x10" * 10 * RATE)
        except OSError:
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def loudspeaker(folder: Path) -> Iterator[dict[str, str]]:
    """A PulseAudio server with a null sink; yields the environment that reaches it."""
    socket = folder / "native"
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "HOME": str(folder), "PULSE_SERVER": f"unix:{socket}"}
    sink = f"module-null-sink sink_name=speaker rate={RATE} channels=1 format=s16le norewinds=1"
    protocol = f"module-native-protocol-unix auth-anonymous=1 socket={socket}"
    command = ["pulseaudio", "-n", "--exit-idle-time=-1", "-L", protocol, "-L", sink]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while subprocess.run(["pactl", "info"], env=environment, capture_output=True).returncode:
        time.sleep(0.05)
    try:
        yield environment
    finally:
        server.terminate()
        server.wait()


class Ear:
    """Notes when sound begins and ends on the loudspeaker, to 10 ms."""

    def __init__(self, environment: dict[str, str]) -> None:
        command = ["parec", "-d", "speaker.monitor", "--raw", "--format=s16le", f"--rate={RATE}", "--channels=1",
                   "--latency-msec=5"]  # fmt: skip
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        self.is_loud = False
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout
        while block := self._process.stdout.read(2 * RATE // 100):
            with self._changed:
                self.is_loud = any(block[-4:])
                self._changed.notify_all()

    def wait(self, *, loud: bool) -> float:
        """Return the moment at which it becomes so."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.is_loud == loud, timeout=30):
                raise SystemExit("Nothing was heard within 30 s.")
        return time.monotonic()

    def close(self) -> None:
        """Stop listening."""
        self._process.terminate()
        self._process.wait()


class Server:
    """`voice-mcp` over stdio, as an editor has it."""

    def __init__(self, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "mcp_client"]
        began = time.monotonic()
        self._process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._count = 0
        self.request("initialize", CLIENT)
        self.start_seconds = time.monotonic() - began
        self._send({"method": "notifications/initialized"})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self._process.stdin.flush()

    def request(self, method: str, params: dict[str, Any]) -> Any:
        """Send and wait for the answer."""
        assert self._process.stdout
        self._count += 1
        self._send({"id": self._count, "method": method, "params": params})
        return json.loads(self._process.stdout.readline())["result"]

    def call(self, tool: str, **arguments: Any) -> Any:
        """Call a tool."""
        return self.request("tools/call", {"name": tool, "arguments": arguments})

    @property
    def megabytes(self) -> float:
        """Peak resident memory (Linux)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)


def main() -> None:
    """Measure and print."""
    web = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    web.daemon_threads = True
    threading.Thread(target=web.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name, loudspeaker(Path(name)) as environment:
        url = f"http://127.0.0.1:{web.server_port}"
        environment = {**environment, "TTS_SERVER_URL": url, "TTS_STATE_DIR": f"{name}/state"}
        starts: list[float] = []
        firsts: list[float] = []
        warm: list[float] = []
        stops: list[float] = []
        memory = 0.0
        ear = Ear(environment)
        for _ in range(RUNS):
            server = Server(environment)
            starts.append(server.start_seconds)
            for times in (firsts, warm):
                began = time.monotonic()
                server.call("speak", text="Hello.")
                times.append(ear.wait(loud=True) - began)
                time.sleep(0.5)
                began = time.monotonic()
                server.call("stop")
                stops.append(ear.wait(loud=False) - began)
                time.sleep(0.5)
            memory = max(memory, server.megabytes)
            server.close()
        ear.close()
    for label, times in (("start-up", starts), ("first call to first sample heard", firsts),
                         ("second call to first sample heard", warm), ("stop to silence", stops)):  # fmt: skip
        print(f"{label}: {1000 * median(times):.0f} ms ({1000 * min(times):.0f} to {1000 * max(times):.0f})")
    print(f"peak memory: {memory:.0f} MB")


if __name__ == "__main__":
    main()
