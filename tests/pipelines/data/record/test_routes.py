"""What goes over HTTP: every route, every refusal, and who may ask at all."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
from fastapi.testclient import TestClient

from pipelines.data.record import session as session_module
from pipelines.data.record.app import build_app
from pipelines.data.record.session import Session
from tests.pipelines.data.record.conftest import LIMITS, SENTENCES, room, spoken, wav

PAGE = "http://127.0.0.1:8082"
TAKE = wav(spoken())
FIRST, SECOND, _ = SENTENCES


def client_of(session: Session) -> TestClient:
    app = build_app(session, max_take_seconds=LIMITS.max_take_seconds)
    return TestClient(app, base_url=PAGE, headers={"Origin": PAGE}, raise_server_exceptions=False)


@pytest.fixture
def client(session: Session) -> TestClient:
    return client_of(session)


def send(client: TestClient, content: bytes = TAKE, sentence: str = FIRST) -> Any:
    return client.post(
        "/api/take", params={"sentence": sentence}, content=content, headers={"Content-Type": "audio/wav"}
    )


def message(response: Any) -> str:
    text: str = response.json()["error"]["message"]
    assert "\n" not in text
    return text


def test_the_page_comes_from_this_server_alone(client: TestClient):
    page = client.get("/")
    assert page.status_code == 200
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    assert "https://" not in page.text
    for name in ("record.js", "meter.js", "style.css", "icon.svg"):
        assert client.get(f"/{name}").status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_from_consent_to_a_kept_clip(open_session: Callable[..., Session], raw: Path):
    client = client_of(open_session())
    state = client.get("/api/state").json()
    assert state["consent"] is None
    assert set(state["checklist"]) == {"Room", "Microphone", "Reading"}
    state = client.post("/api/consent", json={"name": "Anna", "agreed": True}).json()
    assert "Name: Anna" in state["consent"]
    state = send(client).json()
    assert state["review"]["findings"] == []
    assert state["review"]["measured"]["seconds"] == 5.0
    samples, rate = soundfile.read(io.BytesIO(client.get("/api/take.wav").content))
    assert (len(samples), rate) == (5 * 48_000, 48_000)
    state = client.post("/api/keep").json()
    assert [c["text"] for c in state["clips"]] == [FIRST]
    assert state["sentence"] == {"text": SECOND, "replaces": None}
    assert state["undo"] == "anna_0001"
    assert client.get("/api/clips/anna_0001").content == TAKE
    assert (raw / "metadata.csv").read_text() == f"anna_0001|{FIRST}\n"


def test_skip_undo_and_redo_answer_with_the_new_state(client: TestClient):
    assert client.post("/api/skip").json()["sentence"]["text"] == SECOND
    send(client, sentence=SECOND)
    client.post("/api/keep")
    assert client.post("/api/clips/anna_0001/redo").json()["sentence"]["replaces"] == "anna_0001"
    assert client.post("/api/undo").json()["review"]["id"] == "anna_0001"


def test_findings_come_with_their_severity(client: TestClient):
    [finding] = send(client, wav(room(3.0))).json()["review"]["findings"]
    assert finding["severity"] == "refuse"


@pytest.mark.parametrize("agreed", [False, None])
def test_without_agreement_there_is_no_consent_and_no_recording(
    open_session: Callable[..., Session], raw: Path, agreed: bool | None
):
    client = client_of(open_session())
    refused = client.post("/api/consent", json={"name": "Anna", "agreed": agreed})
    assert refused.status_code in (403, 422)
    message(refused)
    assert send(client).status_code == 403
    assert not raw.exists()


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("POST", "/api/keep", 409, "no take"),
        ("POST", "/api/undo", 409, "nothing to undo"),
        ("POST", "/api/clips/nobody/redo", 409, "no clip"),
        ("GET", "/api/take.wav", 404, "no such recording"),
        ("GET", "/api/clips/nobody", 404, "no such recording"),
        ("GET", "/api/clips/..%2Fconsent.txt", 404, ""),
        ("GET", "/../session.py", 404, ""),
        ("GET", "/nothing", 404, ""),
        ("PUT", "/api/keep", 405, ""),
        ("POST", "/api/take", 422, "sentence"),
        ("POST", "/api/consent", 422, "body"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(client: TestClient, method: str, path: str, status: int, says: str):
    response = client.request(method, path)
    assert response.status_code == status
    assert says in message(response)


def test_uploads_are_checked(client: TestClient):
    for content, status in ((b"", 422), (b"not audio", 400), (wav(spoken(), container="FLAC"), 400)):
        response = send(client, content)
        assert response.status_code == status
        assert message(response)
    assert client.get("/api/state").json()["review"] is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:8082"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Host": "[::1"},
        {"Host": "192.168.0.7:8082"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/state", "/record.js"])
def test_the_page_answers_to_this_machines_names_only(client: TestClient, headers: dict[str, str], path: str):
    assert client.get("/api/state", headers=headers).status_code == 403
    assert "127.0.0.1" in message(client.get(path, headers=headers))


@pytest.mark.parametrize("host", ["127.0.0.1:8082", "localhost:9000", "[::1]:8082"])
def test_it_answers_on_every_name_of_loopback_and_through_a_tunnels_port(client: TestClient, host: str):
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert client.get("/api/state", headers=headers).status_code == 200
    assert client.post("/api/skip", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:3000", "https://127.0.0.1:8082", "null", ""]
)
@pytest.mark.parametrize("path", ["/api/consent", "/api/take", "/api/keep", "/api/skip", "/api/undo"])
def test_other_pages_cannot_post(client: TestClient, path: str, origin: str):
    response = client.post(path, headers={"Origin": origin})
    assert response.status_code == 403
    assert "own page" in message(response)


def test_a_post_without_an_origin_is_refused(session: Session):
    client = TestClient(build_app(session, max_take_seconds=60.0), base_url=PAGE)
    assert client.post("/api/skip").status_code == 403


def test_an_upload_says_its_length_and_is_no_longer_than_a_take(client: TestClient):
    endless = client.post("/api/take", params={"sentence": FIRST}, content=iter([b"a"]))
    assert endless.status_code == 411
    huge = client.post("/api/take", params={"sentence": FIRST}, headers={"Content-Length": str(10**9)})
    assert huge.status_code == 413
    assert "too long" in message(huge)


def test_nothing_is_cached_or_shown_in_other_pages(client: TestClient):
    send(client)
    headers = client.get("/api/take.wav").headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_full_disk_is_named_and_the_take_stays(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    send(client)

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(session_module.folder, "write_durably", full)
        response = client.post("/api/keep")
    assert response.status_code == 507
    assert "No space left" in message(response)
    assert client.post("/api/keep").status_code == 200


def test_a_failure_inside_tells_no_trace(client: TestClient, session: Session, monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(session, "skip", fail)
    response = client.post("/api/skip")
    assert response.status_code == 500
    assert "secret" not in json.dumps(response.json())
