"""What can go wrong between here and the service, in words that help."""

import errno
import http.server
import ssl
import subprocess
import threading
from pathlib import Path

import httpx2
import pytest

from mcp_client.client import Speech, VoiceService, _reason
from mcp_client.errors import ServiceError

pytestmark = pytest.mark.anyio


async def failure(url: str) -> str:
    service = VoiceService(url, read_seconds=5)
    with pytest.raises(ServiceError) as caught:
        async with service.speak(Speech("Hi.")):
            pass
    await service.close()
    return str(caught.value)


async def test_a_certificate_that_nobody_signed_is_named(tmp_path: Path):
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 1 -subj /CN=localhost"
    try:
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        assert "certificate" in await failure(f"https://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("url", ["not an address", "ftp://host", "http://", "localhost:8080"])
async def test_what_is_no_address_names_the_setting(url: str):
    assert "TTS_SERVER_URL" in await failure(url)


def test_a_mac_that_forbids_the_local_network_says_where_to_allow_it():
    error = httpx2.ConnectError("no")
    error.__cause__ = OSError(errno.EHOSTUNREACH, "No route to host")
    assert "Local Network" in _reason("http://10.0.0.2:8080", error)
