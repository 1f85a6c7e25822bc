"""This service in front of another one: the `http` engine over a real server."""

import httpx2
import numpy as np

from serving.cast import LocalCast, RemoteCast
from tests.serving.conftest import Running, Start

BODY = {"input": "Hello.", "response_format": "pcm", "seed": 5, "language": "en"}


def in_front_of(service: Running) -> RemoteCast:
    return RemoteCast(service.url, model="me", voice="me", api_key=None)


def test_a_service_in_front_passes_the_sound_on(service: Running, serve: Start):
    front = serve(in_front_of(service))
    own, passed = (httpx2.post(f"{url}/v1/audio/speech", json=BODY, timeout=60) for url in (service.url, front.url))
    one, other = (np.frombuffer(answer.content, "<i2") for answer in (own, passed))
    np.testing.assert_array_equal(one, other)
    assert httpx2.get(f"{front.url}/v1/models").json()["data"][0]["kind"] == "remote"
    assert httpx2.post(f"{front.url}/v1/audio/speech", json={**BODY, "instructions": "calm"}).status_code == 400


def test_a_server_that_is_gone_is_a_failure_that_names_no_address(cast: LocalCast, serve: Start):
    back = serve(cast)
    front = serve(in_front_of(back))
    back.server.should_exit = True
    back.thread.join(20)
    answer = httpx2.post(f"{front.url}/v1/audio/speech", json=BODY, timeout=60)
    assert answer.status_code == 500
    assert "127.0.0.1" not in answer.text
