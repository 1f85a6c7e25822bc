import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from serving.app import Speaker, create_app
from voice.audio import write_wav
from voice.pack import Kind, Reference, VoiceCard
from voice.tts import Qwen3TTS, Request

CARD = VoiceCard("me", Kind.ZERO_SHOT, None, "en", "tiny", "0", "0", "0")


@pytest.fixture(scope="module")
def voice(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Qwen3TTS:
    path: Path = tmp_path_factory.mktemp("reference") / "reference.wav"
    write_wav(path, (0.1 * np.random.default_rng(0).standard_normal(24_000)).astype(np.float32))
    return Qwen3TTS.zero_shot(tiny, Reference(path, "Some words."), voice="me", in_context=True)


@pytest.fixture(scope="module")
def client(voice: Qwen3TTS) -> TestClient:
    app = create_app()
    app.state.speaker = Speaker(CARD, voice)
    return TestClient(app, raise_server_exceptions=False)


def test_synthesize_answers_with_the_wav_that_the_voice_speaks(client: TestClient, voice: Qwen3TTS):
    response = client.post("/synthesize", json={"text": "Hi.", "language": "en", "seed": 3})
    assert response.status_code == 200
    body = response.json()
    assert (body["format"], body["sample_rate"]) == ("wav", 24_000)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(body["audio"])), dtype="int16")
    assert rate == 24_000
    [expected] = voice.batch([Request("Hi.", "me", language="en", seed=3)])
    np.testing.assert_array_equal(samples, np.round(expected.waveform * 32_767).astype(np.int16))


def test_the_design_notes_request_needs_nothing_but_text(client: TestClient):
    assert client.post("/synthesize", json={"text": "Hi."}).status_code == 200


def test_health_names_the_voice(client: TestClient):
    assert client.get("/health").json() == {"status": "ok", "voice": "me", "kind": "zero_shot"}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"text": ""}, 422, "text"),
        ({"text": "  "}, 400, "empty"),
        ({"text": "Hi.", "language": "xx"}, 400, "language"),
        ({"text": "a" * 5_000}, 422, "4096"),
        ({}, 422, "text"),
        ({"text": "Hi.", "seed": -1}, 422, "seed"),
    ],
)
def test_a_bad_request_is_answered_with_one_line(client: TestClient, body: Any, status: int, says: str):
    response = client.post("/synthesize", json=body)
    assert response.status_code == status
    message = response.json()["error"]["message"]
    assert says in message
    assert "\n" not in message


def test_a_failure_inside_tells_neither_path_nor_trace(voice: Qwen3TTS, monkeypatch: pytest.MonkeyPatch):
    def fail(*args: Any) -> Any:
        raise RuntimeError("/secret/path")

    app = create_app()
    app.state.speaker = Speaker(CARD, voice)
    monkeypatch.setattr(voice, "batch", fail)
    response = TestClient(app, raise_server_exceptions=False).post("/synthesize", json={"text": "Hi."})
    assert response.status_code == 500
    assert "secret" not in response.text


def test_the_schema_describes_every_field(client: TestClient):
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {"/synthesize", "/health"}
    for name in ("SynthesizeRequest", "SynthesizeResponse", "Health"):
        assert all("description" in field for field in schema["components"]["schemas"][name]["properties"].values())
