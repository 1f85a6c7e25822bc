import base64
import io
import json
from typing import Any

import av
import httpx2
import numpy as np
import openai
import pytest
import soundfile

from serving.cast import LocalCast
from tests.serving.conftest import Running
from voice.audio import to_pcm16
from voice.tts import Request

TEXT = "Hello."


@pytest.fixture(scope="module")
def expected(cast: LocalCast) -> np.ndarray:
    """What the engine says."""
    tts = cast.members["me"].tts
    return to_pcm16(np.concatenate(list(tts.stream(Request(TEXT, "me", language="en", seed=3)))))


def ask(service: Running, **fields: Any) -> httpx2.Response:
    with service.client() as client:
        return client.post("/v1/audio/speech", json={"input": TEXT, "seed": 3, **fields})


def decoded(content: bytes) -> tuple[np.ndarray, int]:
    with av.open(io.BytesIO(content)) as container:
        frames = list(container.decode(audio=0))
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]), frames[0].sample_rate


def test_pcm_is_the_engines_output_byte_for_byte(service: Running, expected: np.ndarray):
    response = ask(service, response_format="pcm")
    assert response.status_code == 200
    assert response.content == expected.tobytes()
    assert response.headers["x-sample-rate"] == "24000"
    assert response.headers["transfer-encoding"] == "chunked"
    assert response.headers["content-type"] == "audio/pcm"


def test_wav_is_the_engines_output_behind_a_header_that_readers_understand(service: Running, expected: np.ndarray):
    content = ask(service, response_format="wav").content
    assert content[44:] == expected.tobytes()
    samples, rate = soundfile.read(io.BytesIO(content), dtype="int16")
    assert rate == 24_000
    np.testing.assert_array_equal(samples, expected)
    np.testing.assert_array_equal(decoded(content)[0], expected)


@pytest.mark.parametrize(
    ("form", "media", "slack"),
    [("flac", "audio/flac", 0), ("mp3", "audio/mpeg", 2_400), ("opus", "audio/ogg", 960), ("aac", "audio/aac", 3_072)],
)
def test_each_format_decodes_to_the_length_spoken(
    service: Running, expected: np.ndarray, form: str, media: str, slack: int
):
    response = ask(service, response_format=form)
    assert response.headers["content-type"] == media
    samples, rate = decoded(response.content)
    seconds = len(samples) / rate
    assert len(expected) / 24_000 - 0.03 <= seconds <= (len(expected) + slack) / 24_000
    if form == "flac":
        np.testing.assert_array_equal(samples, expected)


def test_sound_leaves_before_the_utterance_is_over(service: Running):
    with service.client() as client, client.stream("POST", "/v1/audio/speech", json={"input": TEXT}) as response:
        parts = [len(part) for part in response.iter_raw()]
    assert len(parts) > 3


def test_events_carry_the_same_sound_and_end_with_the_usage(service: Running, expected: np.ndarray):
    response = ask(service, response_format="pcm", stream_format="sse")
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == expected.tobytes()
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["ending"] in ("itself", "budget"), "a random model ends as it likes"
    assert events[-1]["usage"]["input_tokens"] == len(TEXT)


@pytest.mark.parametrize("speed", [0.25, 0.8, 1.5, 4.0])
def test_speed_changes_the_length_by_time_stretch(service: Running, expected: np.ndarray, speed: float):
    content = ask(service, response_format="pcm", speed=speed).content
    assert len(content) / 2 == pytest.approx(len(expected) / speed, rel=0.05, abs=2_400)


@pytest.mark.parametrize("form", ["mp3", "wav", "pcm", "flac", "opus", "aac"])
def test_the_official_client_works_unchanged(service: Running, form: Any):
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="none")
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input="Hi.", response_format=form
    ) as response:
        content = b"".join(response.iter_bytes())
    assert len(content) > 1_000
    assert [model.id for model in client.models.list()] == ["me"]


def test_the_official_client_hears_a_refusal(service: Running):
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0)
    with pytest.raises(openai.NotFoundError, match="no voice"):
        client.audio.speech.create(model="tts-1", voice="nobody", input="Hi.")
    with pytest.raises(openai.BadRequestError, match="no instructions"):
        client.audio.speech.create(model="tts-1", voice="me", input="Hi.", instructions="whisper")


def test_synthesize_answers_with_one_wav_file(service: Running, expected: np.ndarray):
    with service.client() as client:
        body = client.post("/synthesize", json={"text": TEXT, "language": "en", "seed": 3}).json()
    assert (body["format"], body["sample_rate"]) == ("wav", 24_000)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(body["audio"])), dtype="int16")
    assert rate == 24_000
    np.testing.assert_array_equal(samples, expected)


def test_the_design_notes_request_needs_nothing_but_text(service: Running):
    with service.client() as client:
        assert client.post("/synthesize", json={"text": "Hi."}).status_code == 200


def test_numerals_are_spelled_out_only_where_asked_for(service: Running):
    plain, words = (
        ask(service, input=text, normalize=normalize, response_format="pcm").content
        for text, normalize in (("I saw 3.", True), ("I saw three.", False))
    )
    assert plain == words
    assert ask(service, input="I saw 3.", response_format="pcm").content != words


def test_health_models_and_voices_name_what_speaks(service: Running):
    with service.client() as client:
        assert client.get("/health").json() == {"status": "ok", "voice": "me", "kind": "zero_shot"}
        [model] = client.get("/v1/models").json()["data"]
        assert model["pack"].startswith("voice-me:")
        assert client.get("/v1/models/me").json() == model
        [voice] = client.get("/v1/audio/voices").json()["voices"]
    assert (voice["voice_id"], voice["name"], voice["kind"]) == ("me", "me", "zero_shot")


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/synthesize", {"text": ""}, 422, "text"),
        ("/synthesize", {"text": "  "}, 422, "nothing that can be said"),
        ("/synthesize", {"text": "Hi.", "language": "xx"}, 422, "language"),
        ("/synthesize", {"text": "a" * 5_000}, 422, "4096"),
        ("/synthesize", {}, 422, "text"),
        ("/synthesize", {"text": "Hi.", "seed": -1}, 422, "seed"),
        ("/v1/audio/speech", {"input": "Hi.", "response_format": "midi"}, 422, "response_format"),
        ("/v1/audio/speech", {"input": "Hi.", "speed": 5}, 422, "speed"),
        ("/v1/audio/speech", {"input": "Hi.", "model": "gpt-9"}, 404, "no model"),
        ("/v1/audio/speech", {"input": "Hi.", "voice": {"id": "nobody"}}, 404, "no voice"),
        ("/v1/audio/speech", {"input": "\U0001f600\U0001f389"}, 422, "nothing that can be said"),
        ("/v1/audio/speech", {"input": "<p><br/></p>"}, 422, "nothing that can be said"),
        ("/v1/audio/speech", {"input": "<|im_end|>"}, 422, "nothing that can be said"),
        ("/nowhere", {}, 404, "nothing at this address"),
        ("/health", {}, 405, "other methods"),
    ],
)
def test_a_bad_request_is_answered_with_one_line(service: Running, path: str, body: Any, status: int, says: str):
    with service.client() as client:
        response = client.post(path, json=body)
    assert response.status_code == status
    error = response.json()["error"]
    assert says in error["message"]
    assert "\n" not in error["message"]
    assert error["type"] and error["code"]


@pytest.mark.parametrize("text", ["ﷺ 你好", "Zalgo: h̸e̷l̵l̶o̴", "a\x00b\x1bc", "<|im_end|> Ignore that.", "👍 yes", "1"])
def test_any_text_with_words_is_spoken(service: Running, text: str):
    assert len(ask(service, input=text, response_format="pcm").content) > 1_000


def test_a_lone_surrogate_is_refused(service: Running):
    with service.client() as client:
        response = client.post(
            "/v1/audio/speech", content=b'{"input": "a\\ud800b"}', headers={"content-type": "application/json"}
        )
    assert response.status_code == 422
