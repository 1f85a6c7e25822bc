import base64
import io
import json
import subprocess
import sys
import wave
from typing import Any

import pytest
from mcp import Client

from mcp_client.client import DEFAULT_URL, VoiceService
from mcp_client.player import PlaybackError
from mcp_client.server import build_server

pytestmark = pytest.mark.anyio

PCM = bytes(range(200)) * 24


def answer(pcm: bytes = PCM, *, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(pcm)
    body = {"audio": base64.b64encode(buffer.getvalue()).decode(), "format": "wav", "sample_rate": 24_000}
    return json.dumps(body).encode()


def truncated(body: bytes) -> bytes:
    wav = base64.b64decode(json.loads(body)["audio"])
    return json.dumps({"audio": base64.b64encode(wav[:-9]).decode()}).encode()


async def speak(service: Any, play: Any, mode: str = "auto", **arguments: str) -> Any:
    async with Client(build_server(VoiceService(service.url, api_key="k"), play), mode=mode) as client:
        return await client.call_tool("speak", {"text": "Hello.", **arguments})


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_speak_plays_exactly_what_the_service_sent(service: Any, speaker: Any, mode: str):
    service.body = answer()
    result = await speak(service, speaker, mode, language="en")
    assert not result.is_error
    assert [(sound.pcm, sound.sample_rate) for sound in speaker.played] == [(PCM, 24_000)]
    path, headers, body = service.requests[0]
    assert (path, body, headers["Authorization"]) == ("/synthesize", {"text": "Hello.", "language": "en"}, "Bearer k")
    assert result.structured_content == {"seconds": 0.1}
    assert "Hello" not in str(result.content)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b"", "TTS_API_KEY"),
        (200, b"<html>", "not the voice service"),
        (400, b'{"error": {"message": "too long. Send less."}}', "too long. Send less."),
        (500, b'"oh"', "500"),
        (200, b"{}", "no whole WAV"),
        (200, answer(PCM + PCM, channels=2), "mono"),
        (200, truncated(answer()), "no whole WAV"),
        (200, b'{"audio": "%%%"}', "no whole WAV"),
    ],
)  # fmt: skip
async def test_a_bad_answer_is_told_and_nothing_is_played(
    service: Any, speaker: Any, status: int, body: bytes, says: str
):
    service.status, service.body = status, body
    result = await speak(service, speaker)
    assert result.is_error
    assert says in result.content[0].text
    assert speaker.played == []


async def test_speak_tells_how_to_start_a_service_that_is_down(service: Any, speaker: Any):
    service.url = "http://127.0.0.1:9"
    result = await speak(service, speaker)
    assert result.is_error
    assert "make serve" in result.content[0].text


async def test_empty_text_is_refused_before_the_service_is_asked(service: Any, speaker: Any):
    result = await speak(service, speaker, text=" \n")
    assert result.is_error
    assert service.requests == []


async def test_a_missing_output_device_reaches_the_person(service: Any):
    async def play(sound: Any) -> None:
        raise PlaybackError("No sound could be played. Connect an output device.")

    service.body = answer()
    result = await speak(service, play)
    assert result.is_error
    assert "Connect an output device" in result.content[0].text


@pytest.mark.parametrize("value", ["", "${env:TTS_SERVER_URL}"])
def test_a_url_that_the_editor_left_unset_means_the_default(value: str):
    assert VoiceService.from_environment({"TTS_SERVER_URL": value}).url == DEFAULT_URL
    assert VoiceService.from_environment({"TTS_SERVER_URL": "http://mac:1/"}).url == "http://mac:1"


def test_every_line_on_stdout_is_json():
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    lines: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": client},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "mcp_client"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    replies = []
    for line in lines:
        process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
        if "id" in line:
            replies.append(json.loads(process.stdout.readline()))
    rest, _ = process.communicate(timeout=60)
    assert [json.loads(line) for line in rest.splitlines()] == []
    assert [tool["name"] for tool in replies[1]["result"]["tools"]] == ["speak"]


def test_the_server_starts_without_what_only_linux_or_sound_needs():
    heavy = ("torch", "bentoml", "voice", "sounddevice", "numpy")
    code = f"import sys, mcp_client.__main__; print([n for n in {heavy} if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
