import socket
from pathlib import Path
from typing import Any

import pytest

from serving.keys import Keys
from serving.rates import Rate
from tests.serving.conftest import Running, Start, running, wait_until
from voice.errors import InputError

KEY, OTHER = "k" * 32, "o" * 32
BODY = {"input": "Hi.", "response_format": "pcm"}


@pytest.fixture(scope="module")
def locked(cast: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running(
        cast, tmp_path_factory.mktemp("state"), keys={"mac": KEY, "laptop": OTHER}, refusals_per_minute=9_999
    ) as service:
        yield service


@pytest.mark.parametrize("key", ["wrong", "k" * 31, "", "\x7f" * 8])
@pytest.mark.parametrize("path", ["/v1/audio/voices", "/v1/models", "/openapi.json", "/metrics", "/nowhere"])
def test_without_a_right_key_nothing_is_told(locked: Running, key: str, path: str):
    with locked.client() as client:
        response = client.get(path, headers={"Authorization": f"Bearer {key}"} if key else {})
    assert response.status_code == 401
    assert "me" not in response.json()["error"]["code"].split()


def spoken(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(record)["fields"] for record in caplog.records if record.getMessage() == "speech"]


def test_each_key_opens_and_is_named_in_the_log(locked: Running, caplog: pytest.LogCaptureFixture):
    with locked.client() as client, caplog.at_level("INFO", logger="serving"):
        for key in (KEY, OTHER):
            response = client.post("/v1/audio/speech", json=BODY, headers={"Authorization": f"Bearer {key}"})
            assert response.status_code == 200
        wait_until(lambda: [fields["caller"] for fields in spoken(caplog)] == ["mac", "laptop"])
    assert not any("Hi." in str(vars(record)) for record in caplog.records)


def test_probes_and_the_page_need_no_key_but_name_nobody(locked: Running):
    with locked.client() as client:
        assert client.get("/health").json() == {"status": "ok", "voice": None, "kind": None}
        assert client.get("/health", headers={"Authorization": f"Bearer {KEY}"}).json()["voice"] == "me"


def test_guessing_is_slowed_down(serve: Start):
    service = serve(keys={"mac": KEY}, refusals_per_minute=3)
    with service.client() as client:
        statuses = [client.get("/v1/models", headers={"Authorization": f"Bearer {n}"}).status_code for n in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_behind_a_proxy_a_key_is_needed_even_on_loopback(service: Running, header: str):
    with service.client() as client:
        response = client.get("/v1/models", headers={header: "127.0.0.1"})
    assert response.status_code == 401
    assert "VOICE_API_KEYS" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[::1", "localhost."]
)
def test_a_name_that_is_not_this_machines_is_refused(service: Running, host: str):
    with service.client() as client:
        assert client.get("/v1/models", headers={"Host": host}).status_code in (400, 403)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:8080", "[::1]:8080", "192.168.1.7:8080", socket.gethostname()]
)
def test_addresses_and_its_own_name_are_fine(service: Running, host: str):
    with service.client() as client:
        assert client.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_a_page_from_elsewhere_may_not_speak(service: Running, headers: dict[str, str]):
    with service.client() as client:
        response = client.post("/v1/audio/speech", json=BODY, headers=headers)
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers
        assert client.options("/v1/audio/speech", headers=headers).status_code == 403
        own = {"Origin": service.url}
        assert client.post("/v1/audio/speech", json=BODY, headers=own).status_code == 200


def test_oversized_bodies_are_refused_whether_or_not_they_say_their_length(service: Running):
    with service.client() as client:
        assert client.post("/synthesize", content=b"x" * 70_000).status_code == 413
        assert client.post("/synthesize", content=(b"x" * 10_000 for _ in range(10))).status_code == 413
        assert client.post("/v1/audio/voices", content=b"x" * 10_200_000).status_code == 413
        response = client.post("/synthesize", content=b'{"text": "' + b"\\u0041" * 5_000 + b'"}')
        assert response.status_code == 422


def test_too_many_requests_a_minute_are_told_when_to_come_back(serve: Start):
    service = serve(requests_per_minute=2)
    with service.client() as client:
        answers = [client.post("/synthesize", json={}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [422, 422, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 30


def test_a_body_that_never_comes_is_given_up(serve: Start):
    service = serve(body_seconds=0.2)
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST /synthesize HTTP/1.1\r\nHost: {host}\r\nContent-Length: 10\r\n\r\n"
        connection.sendall(head.encode() + b"{")
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_a_request_keeps_its_id(service: Running):
    with service.client() as client:
        assert client.get("/health", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"
        assert client.get("/health", headers={"X-Request-Id": "a b"}).headers["x-request-id"] != "a b"


def test_keys_come_from_the_environment_and_a_file_that_only_we_read(tmp_path: Path):
    path = tmp_path / "keys"
    path.write_text(f"# the Mac's\nmac:{KEY}\n")
    path.chmod(0o600)
    keys = Keys.from_environment({"VOICE_API_KEYS": f"laptop:{OTHER}", "VOICE_API_KEYS_FILE": str(path)})
    assert (keys.owner(KEY), keys.owner(OTHER), keys.owner("x")) == ("mac", "laptop", None)
    path.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        Keys.from_environment({"VOICE_API_KEYS_FILE": str(path)})
    with pytest.raises(InputError, match="16 are the least"):
        Keys({"mac": "short"})
    with pytest.raises(InputError, match="name:key"):
        Keys.from_environment({"VOICE_API_KEYS": KEY})


def test_a_rate_refills():
    now = [0.0]
    rate = Rate(60, clock=lambda: now[0])
    assert [rate.take("a") for _ in range(61)] == [0] * 60 + [1]
    now[0] += 1.0
    assert [rate.take("a"), rate.take("a"), rate.take("b")] == [0, 1, 0]
