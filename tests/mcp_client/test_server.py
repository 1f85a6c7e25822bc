"""The tools, as a model calls them: in memory, both eras of the protocol, against a stand-in over real sockets."""

import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp import Client

from mcp_client.errors import PlaybackError
from mcp_client.server import build_server
from mcp_client.turns import Turns
from tests.mcp_client.conftest import noise

pytestmark = pytest.mark.anyio
PCM = noise(0.2)


@pytest.fixture
def connect(settings: Any, make_narrator: Any) -> Any:
    @asynccontextmanager
    async def connect(mode: str = "auto", url: str | None = None) -> AsyncIterator[Client]:
        async with Client(build_server(settings, lambda: make_narrator(url)), mode=mode) as client:
            yield client

    return connect


async def until(condition: Any) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.01)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_speak_with_only_a_text_plays_exactly_what_the_service_sent(
    connect: Any, service: Any, speaker: Any, mode: str
):
    service.script = [PCM[:1001], PCM[1001:]]  # cut in mid-sample
    async with connect(mode) as client:
        result = await client.call_tool("speak", {"text": "**Hello** there.", "wait": True})
    assert not result.is_error
    assert speaker.heard == [PCM]
    assert service.requests[0]["path"] == "/v1/audio/speech"
    assert (service.requests[0]["input"], service.requests[0]["response_format"]) == ("Hello there.", "pcm")
    assert service.authorizations == ["Bearer k"]
    assert result.structured_content["state"] == "done"
    assert "Hello" not in str(result.content)


async def test_speak_returns_while_it_speaks_and_tells_the_place_in_the_queue(connect: Any, service: Any, speaker: Any):
    speaker.held = anyio.Event()
    async with connect() as client:
        first = await client.call_tool("speak", {"text": "One."})
        second = await client.call_tool("speak", {"text": "Two."})
        assert first.structured_content["state"] == "speaking"
        assert (second.structured_content["state"], second.structured_content["position"]) == ("queued", 1)
        speaker.held.set()
        await until(lambda: len(service.requests) == 2)


async def test_another_window_that_asked_first_is_counted_and_waited_for(connect: Any, service: Any, settings: Any):
    other = Turns(settings.state_folder).draw()
    async with connect() as client:
        result = await client.call_tool("speak", {"text": "One."})
        assert (result.structured_content["state"], result.structured_content["position"]) == ("queued", 1)
        later = Turns(settings.state_folder).draw()  # asked after it: comes after it
        other.leave()
        await until(lambda: len(service.requests) == 1)
        with anyio.fail_after(20):
            await Turns(settings.state_folder).reached(later)
        later.leave()


async def test_interrupt_stops_what_is_said_and_what_waits(connect: Any, service: Any, speaker: Any):
    speaker.held = anyio.Event()
    async with connect() as client:
        await client.call_tool("speak", {"text": "One."})
        await client.call_tool("speak", {"text": "Two."})
        speaker.held.set()
        service.script = [PCM]
        result = await client.call_tool("speak", {"text": "Three.", "mode": "interrupt", "wait": True})
    assert result.structured_content["state"] == "done"
    assert [r["input"] for r in service.requests] == ["One.", "Three."]
    assert speaker.heard[-1] == PCM


async def test_stop_hangs_up_so_that_the_service_stops_speaking(connect: Any, service: Any):
    service.script = [noise(0.05), *[0.05, noise(0.01)] * 400]
    async with connect() as client:
        job = (await client.call_tool("speak", {"text": "Long."})).structured_content["job_id"]
        result = await client.call_tool("stop", {"job_id": job})
        assert result.structured_content == {"job_ids": [job]}
        await until(service.broken.is_set)


async def test_cancelling_the_call_stops_the_sound(connect: Any, service: Any):
    service.script = [noise(0.05), *[0.05, noise(0.01)] * 400]
    async with connect() as client:
        with anyio.move_on_after(0.5):
            await client.call_tool("speak", {"text": "Long.", "wait": True})
        await until(service.broken.is_set)


async def test_waiting_reports_how_much_was_said(connect: Any, service: Any):
    service.script = [noise(0.3), 0.7, noise(0.3), 0.7, noise(0.1)]
    told: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async with connect() as client:
        await client.call_tool("speak", {"text": "Long.", "wait": True}, progress_callback=note)
    assert told
    assert told == sorted(set(told))


async def test_pause_holds_and_resume_loses_nothing_but_the_fade(connect: Any, service: Any, speaker: Any):
    speaker.held = anyio.Event()
    async with connect() as client:
        await client.call_tool("speak", {"text": "One."})
        paused = await client.call_tool("pause", {})
        assert paused.structured_content["state"] == "paused"
        speaker.held.set()
        await anyio.sleep(0.1)
        assert (await client.call_tool("status", {})).structured_content["speaking"] == "speech-1"
        resumed = await client.call_tool("resume", {})
        assert resumed.structured_content["state"] == "speaking"
        await until(lambda: speaker.heard[0])
        assert (await client.call_tool("pause", {})).is_error
    assert len(speaker.heard[0]) == len(service.script[0])


async def test_status_and_voices(connect: Any, service: Any):
    async with connect() as client:
        await client.call_tool("speak", {"text": "One.", "wait": True})
        status = (await client.call_tool("status", {})).structured_content
        voices = (await client.call_tool("list_voices", {})).structured_content
    assert (status["service"], status["url"], status["queued"], status["line"]) == ("ok", service.url, 0, 0)
    assert status["last_first_sound_ms"] >= 0
    assert voices == {"voices": [{"voice_id": "me", "name": "Me", "kind": "finetuned"}]}


async def test_save_writes_a_new_file_in_the_allowed_folder_only(connect: Any, service: Any, settings: Any):
    service.script = [PCM]
    async with connect() as client:
        saved = await client.call_tool("save", {"text": "Hi.", "name": "greeting.wav"})
        again = await client.call_tool("save", {"text": "Hi.", "name": "greeting"})
        outside = [
            await client.call_tool("save", {"text": "Hi.", "name": name})
            for name in ("../x", "/tmp/x", "", ".x", "a/b")
        ]
    with wave.open(saved.structured_content["path"]) as file:
        assert (file.readframes(file.getnframes()), file.getframerate()) == (PCM, 24_000)
    assert again.is_error
    assert all(result.is_error for result in outside)
    assert [path.name for path in settings.save_folder.iterdir()] == ["greeting.wav"]


async def test_two_halves_of_samples_are_no_sound_that_is_saved(connect: Any, service: Any, settings: Any):
    service.script = [PCM[:1001]]  # of each of two pieces: together an even number
    async with connect() as client:
        saved = await client.call_tool("save", {"text": "Words and words. " * 400, "name": "odd"})
    assert saved.is_error
    assert "nothing was saved" in str(saved.content)
    assert not settings.save_folder.exists() or not list(settings.save_folder.iterdir())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"status": 404, "script": [b"Not Found"]}, "has no /v1/audio/speech"),
        ({"status": 401}, "TTS_API_KEY"),
        ({"headers": {"Content-Type": "text/html"}, "script": [b"<html>"]}, "not the voice service"),
        ({"status": 400, "script": [b'{"error": {"message": "Send less."}}']}, "Send less."),
        ({"status": 503, "script": [b'{"status": "loading"}']}, "loading"),
        ({"status": 500, "script": [b"oh"]}, "log"),
        ({"status": 302, "headers": {"Location": "http://elsewhere.example/x"}}, "elsewhere.example"),
        ({"headers": {"Content-Type": "audio/pcm"}}, "sample rate"),
        ({"headers": {"Content-Type": "audio/pcm", "X-Sample-Rate": "3"}}, "sample rate"),
        ({"cut": True}, "broke off"),
        ({"script": [b"123"]}, "mid-sample"),
    ],
)  # fmt: skip
async def test_a_bad_answer_is_told_with_its_remedy(connect: Any, service: Any, change: dict[str, Any], says: str):
    vars(service).update(change)
    async with connect() as client:
        result = await client.call_tool("speak", {"text": "Hi.", "wait": True})
        after = (await client.call_tool("status", {})).structured_content
    assert result.is_error
    assert says in result.content[0].text
    assert says in after["last_error"]


async def test_a_service_that_is_down_says_how_to_start_it(connect: Any):
    async with connect(url="http://127.0.0.1:9") as client:
        result = await client.call_tool("speak", {"text": "Hi."})
    assert result.is_error
    assert "make serve" in result.content[0].text


async def test_another_sample_rate_is_played_at_that_rate(connect: Any, service: Any, speaker: Any):
    service.headers = {"Content-Type": "audio/pcm", "X-Sample-Rate": "16000"}
    async with connect() as client:
        result = await client.call_tool("speak", {"text": "Hi.", "wait": True})
    assert result.structured_content["seconds"] == round(len(speaker.heard[0]) / 32_000, 2)


async def test_a_missing_output_device_reaches_the_person(connect: Any, speaker: Any):
    speaker.error = PlaybackError("No sound can be played. Connect an output device.")
    async with connect() as client:
        result = await client.call_tool("speak", {"text": "Hi."})
    assert result.is_error
    assert "Connect an output device" in result.content[0].text


@pytest.mark.parametrize("text", ["", " \n", "🎉", "<speak></speak>", "a" * 1_000_000, "\x00\x07", "---"])
async def test_what_cannot_be_said_is_refused_before_the_service_is_asked(connect: Any, service: Any, text: str):
    async with connect() as client:
        result = await client.call_tool("speak", {"text": text})
    assert result.is_error
    assert len(result.content[0].text) < 300
    assert service.requests == []


async def test_a_text_longer_than_a_request_is_said_in_several_without_a_word_lost(
    connect: Any, service: Any, speaker: Any
):
    text = " ".join(f"Sentence number {i} is here." for i in range(400))
    service.script = [PCM]
    async with connect() as client:
        await client.call_tool("speak", {"text": text, "wait": True})
    assert len(service.requests) > 1
    assert " ".join(r["input"] for r in service.requests) == text
    assert speaker.heard == [PCM * len(service.requests)]
