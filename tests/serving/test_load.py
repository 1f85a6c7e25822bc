import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from serving.cast import LocalCast, Member
from serving.metrics import active, restarts
from serving.phase import Phase
from serving.state import RUNNING, WANTED, State
from tests.serving.conftest import PACK, Running, Start, running, wait_until
from voice.audio import Waveform
from voice.errors import InputError
from voice.tts import Request

BODY = {"input": "Hi.", "response_format": "pcm"}
LONG = {"input": "Hello there, how do you do? " * 30, "response_format": "pcm"}


class Altered:
    """The real cast with something done to what its first voice says."""

    def __init__(self, cast: LocalCast, stream: Callable[[Any, Request], Iterator[Waveform]]) -> None:
        self.identity, first = cast.identity, next(iter(cast.members.values()))
        self._member = replace(first, tts=_Tts(first.tts, stream))

    @property
    def members(self) -> dict[str, Member]:
        return {self._member.id: self._member}

    def imitate(self, *args: Any) -> None:
        raise InputError("no")

    forget = imitate


class _Tts:
    def __init__(self, real: Any, stream: Callable[[Any, Request], Iterator[Waveform]]) -> None:
        self.voice, self._real, self._stream = real.voice, real, stream

    def stream(self, request: Request) -> Iterator[Waveform]:
        return self._stream(self._real, request)


def running_streams(service: Running) -> int:
    return service.desk.gate.open


def engine_is_idle(cast: LocalCast) -> bool:
    scheduler = cast._engine.scheduler
    return not scheduler._running and not scheduler._waiting


def test_a_client_that_leaves_frees_its_place_and_the_engine(service: Running, cast: LocalCast):
    with service.client() as client, client.stream("POST", "/v1/audio/speech", json=LONG) as response:
        parts = response.iter_raw()
        next(parts)
        assert running_streams(service) == 1
    wait_until(lambda: running_streams(service) == 0)
    wait_until(lambda: engine_is_idle(cast))
    assert active._value.get() == 0


def test_a_client_that_leaves_the_queue_is_forgotten(serve: Start):
    service = serve(active=1, queue=1, aside_seconds=60)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(service.client())
        first = stack.enter_context(client.stream("POST", "/v1/audio/speech", json=LONG))
        parts = first.iter_raw()
        next(parts)
        with pytest.raises(httpx2.TimeoutException):
            client.post("/v1/audio/speech", json=BODY, timeout=0.3)
        wait_until(lambda: service.desk.gate.waiting == 0)


def test_beyond_the_queue_clients_are_told_to_come_back(serve: Start):
    service = serve(active=1, queue=1, aside_seconds=60)
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(service.client())
        first = stack.enter_context(client.stream("POST", "/v1/audio/speech", json=LONG))
        parts = first.iter_raw()
        next(parts)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(client.post, "/v1/audio/speech", json=BODY)
            wait_until(lambda: service.desk.gate.waiting == 1)
            third = client.post("/v1/audio/speech", json=BODY)
            assert third.status_code == 429
            assert 1 <= int(third.headers["retry-after"]) <= 60
            assert third.json()["error"]["code"] == "queue_full"
            first.close()
            assert second.result().status_code == 200


def test_a_wait_that_is_too_long_ends(serve: Start):
    service = serve(active=1, wait_seconds=0.1, aside_seconds=60)
    with service.client() as client, client.stream("POST", "/v1/audio/speech", json=LONG) as first:
        parts = first.iter_raw()
        next(parts)
        assert client.post("/v1/audio/speech", json=BODY).status_code == 429


def test_a_slow_reader_gives_its_place_to_the_next(serve: Start):
    service = serve(active=1, aside_seconds=0.1)
    host, port = service.url.removeprefix("http://").split(":")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.connect((host, int(port)))
        body = b'{"response_format": "wav", "speed": 0.25, "input": "%s"}' % (b"Hello there, how do you do. " * 60)
        slow.sendall(
            f"POST /v1/audio/speech HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        slow.recv(100)  # and no more
        with service.client() as client:
            assert client.post("/v1/audio/speech", json=BODY).status_code == 200


def test_sixty_four_clients_are_all_served(serve: Start):
    service = serve()
    alone = httpx2.post(f"{service.url}/v1/audio/speech", json=BODY).content
    with service.client(limits=httpx2.Limits(max_connections=64)) as client, ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/audio/speech", json=BODY), range(64)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.content for answer in answers} == {alone}


def breaks_in_mid_stream(real: Any, request: Request) -> Iterator[Waveform]:
    for number, chunk in enumerate(real.stream(request)):
        if number == 2 and request.text != "Ready.":
            raise RuntimeError("/secret/path")
        yield chunk


@pytest.mark.parametrize("form", ["pcm", "mp3"])
def test_a_failure_in_mid_stream_reaches_the_client_as_a_failure(serve: Start, cast: LocalCast, form: str):
    service = serve(Altered(cast, breaks_in_mid_stream))
    with service.client() as client, pytest.raises(httpx2.RemoteProtocolError):
        client.post("/v1/audio/speech", json={**BODY, "response_format": form})
    assert running_streams(service) == 0


def test_events_say_what_happened_before_the_connection_breaks(serve: Start, cast: LocalCast):
    service, heard = serve(Altered(cast, breaks_in_mid_stream)), b""
    body = {**BODY, "stream_format": "sse"}
    with (
        service.client() as client,
        pytest.raises(httpx2.RemoteProtocolError),
        client.stream("POST", "/v1/audio/speech", json=body) as response,
    ):
        for part in response.iter_raw():
            heard += part
    assert b'"code": "synthesis_failed"' in heard
    assert b"speech.audio.done" not in heard
    assert b"secret" not in heard


def test_a_failure_of_one_text_leaves_the_process_alone(serve: Start, cast: LocalCast):
    service = serve(Altered(cast, breaks_in_mid_stream))
    with service.client() as client:
        response = client.post("/synthesize", json={"text": "Hi."})
        assert response.status_code == 500
        assert "secret" not in response.text
    assert not service.died.wait(1.0)


def test_an_engine_that_cannot_speak_any_more_ends_the_process(serve: Start, cast: LocalCast):
    broken = threading.Event()

    def stream(real: Any, request: Request) -> Iterator[Waveform]:
        if broken.is_set():
            raise RuntimeError("the device is gone")
        yield from real.stream(request)

    service = serve(Altered(cast, stream))
    broken.set()
    with service.client() as client:
        assert client.post("/v1/audio/speech", json=BODY).status_code == 500
    assert service.died.wait(60)


def test_an_engine_that_says_nothing_is_a_failure(serve: Start, cast: LocalCast):
    service = serve(Altered(cast, lambda real, request: real.stream(request) if request.text == "Ready." else iter(())))
    with service.client() as client:
        assert client.post("/v1/audio/speech", json=BODY).status_code == 500


def test_until_the_voice_has_spoken_nobody_is_served(cast: LocalCast, tmp_path: Path):
    may_load = threading.Event()

    def open_cast(pack: str) -> LocalCast:
        may_load.wait(60)
        return cast

    with running(cast, tmp_path, open_cast=open_cast, wait=False) as service, service.client() as client:
        assert client.get("/health").status_code == 503
        assert client.get("/health").json()["status"] == "loading"
        response = client.post("/v1/audio/speech", json=BODY)
        assert response.status_code == 503
        assert response.headers["retry-after"]
        may_load.set()
        wait_until(lambda: client.get("/health").status_code == 200)


def test_a_voice_that_cannot_be_loaded_is_reported(cast: LocalCast, tmp_path: Path):
    def open_cast(pack: str) -> LocalCast:
        raise InputError("/secret is missing")

    with running(cast, tmp_path, open_cast=open_cast) as service, service.client() as client:
        assert service.station.phase is Phase.FAILED
        assert client.get("/health").json()["status"] == "failed"
        response = client.post("/v1/audio/speech", json=BODY)
        assert response.status_code == 503
        assert "secret" not in response.text


def test_a_voice_that_fails_its_probe_does_not_come_on_air(cast: LocalCast, tmp_path: Path):
    def open_cast(pack: str) -> Any:
        silent = Altered(cast, lambda real, request: iter([np.zeros(24_000, np.float32)]))
        return cast if pack == PACK else silent

    with running(cast, tmp_path, open_cast=open_cast) as service, service.client() as client:
        service.state.write(WANTED, pack="voice-me:fedcba9876543210", at=1)
        wait_until(lambda: "said nothing" in service.state.read("answer.json").get("message", ""))
        assert client.post("/v1/audio/speech", json=BODY).status_code == 200


def test_a_process_that_crashed_is_counted(cast: LocalCast, tmp_path: Path):
    State(tmp_path).write(RUNNING, pid=2**22 - 1, since=0)
    before = restarts._value.get()
    with running(cast, tmp_path):
        assert restarts._value.get() == before + 1
    with running(cast, tmp_path):
        assert restarts._value.get() == before + 1
