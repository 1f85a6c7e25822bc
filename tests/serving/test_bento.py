"""The built Bento under `bentoml serve`: processes, signals, files. Minutes, but here all of it is real."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest

from serving import package
from serving.state import ACTIVE, RUNNING, State, folder_of
from tests.serving.conftest import make_pack, wait_until

pytestmark = pytest.mark.slow

NAME = "voice-me"
LONG = "Hello there, how do you do? " * 12
BODY = {"input": "Hello.", "response_format": "pcm"}


@dataclass
class Store:
    """A BentoML home with a Bento, and two packs in it."""

    home: Path
    bento: str
    packs: tuple[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "BENTOML_HOME": str(self.home),
            "BENTOML_DO_NOT_TRACK": "True",
            "OMP_NUM_THREADS": "1",
        }


@pytest.fixture(scope="module")
def store(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(folder))
        script = (
            "import sys; from pathlib import Path; from serving.package import build, store;"
            "tags = [store(Path(p), 'voice-me') for p in sys.argv[2:]];"
            "print(build(tags[0], 'voice-me', Path(sys.argv[1])), *tags)"
        )
        packs = [make_pack(tiny_folder, folder / name) for name in ("one", "two")]
        (packs[1] / "scores.json").write_text("{}")
        command = [sys.executable, "-c", script, str(folder / "staging"), *map(str, packs)]
        done = subprocess.run(command, cwd=package.PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    bento, one, two = done.stdout.split()[-3:]
    yield Store(folder, bento, (one, two))


@dataclass
class Served:
    """`bentoml serve`, running."""

    url: str
    process: subprocess.Popen[bytes]
    state: State
    log: Path

    @property
    def worker(self) -> int:
        return int(self.state.read(RUNNING)["pid"])

    def events(self) -> list[str]:
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line)["event"] for line in lines if line.startswith('{"time"')]


def met(condition: Callable[[], bool]) -> bool:
    """Whether it has come to that; nothing has where nobody answers."""
    try:
        return condition()
    except (httpx2.HTTPError, KeyError):
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    wait_until(lambda: met(condition), seconds=120)


def active_streams(served: Served) -> float:
    text = httpx2.get(f"{served.url}/metrics", timeout=60).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("voice_active_streams"))


@pytest.fixture
def served(store: Store, tmp_path: Path) -> Iterator[Served]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log"
    environment = {**store.environment, "VOICE_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "bentoml", "serve", store.bento, "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT, cwd=tmp_path)
    state = State(folder_of(NAME, environment))
    served = Served(f"http://127.0.0.1:{port}", process, state, log)
    try:
        wait_for(lambda: httpx2.get(f"{served.url}/readyz").status_code == 200)
        yield served
    finally:
        everyone = psutil.Process(process.pid).children(recursive=True) if psutil.pid_exists(process.pid) else []
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        for left in [*everyone, process]:
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                left.kill()


def test_it_speaks_counts_and_hides_bentos_own_page(served: Served, store: Store):
    assert len(httpx2.post(f"{served.url}/v1/audio/speech", json=BODY, timeout=60).content) > 1_000
    assert httpx2.get(f"{served.url}/v1/models").json()["data"][0]["pack"] == store.packs[0]
    [dockerfile] = store.home.glob("bentos/voice-me/*/env/docker/Dockerfile")
    container = dockerfile.read_text()
    assert "FROM nvidia/cuda:" in container
    assert "HEALTHCHECK" in container
    assert "USER bentoml" in container
    metrics = httpx2.get(f"{served.url}/metrics").text
    assert 'voice_requests_total{format="pcm",outcome="done",route="/v1/audio/speech"} 1.0' in metrics
    assert "voice_first_sound_seconds_count 1.0" in metrics
    assert httpx2.get(f"{served.url}/metrics", headers={"Host": "evil.example"}).status_code == 403
    assert httpx2.get(f"{served.url}/nowhere").json()["error"]["code"] == "not_found"
    assert "speech" in served.events()
    assert "Hello." not in served.log.read_text()


def test_a_killed_worker_hangs_nobody_is_counted_and_the_next_request_works(served: Served):
    def ask() -> int:
        try:
            body = {"input": LONG, "response_format": "pcm"}
            return len(httpx2.post(f"{served.url}/v1/audio/speech", json=body, timeout=120).content)
        except httpx2.HTTPError:
            return 0

    worker = served.worker
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(ask) for _ in range(8)]
        wait_for(lambda: active_streams(served) > 0)
        os.kill(worker, signal.SIGKILL)
        lost = [answer.result(timeout=120) for answer in answers]
    assert 0 in lost
    wait_for(lambda: httpx2.get(f"{served.url}/readyz", timeout=120).status_code == 200)
    assert len(httpx2.post(f"{served.url}/v1/audio/speech", json=BODY, timeout=120).content) > 1_000
    assert served.worker != worker
    metrics = httpx2.get(f"{served.url}/metrics").text
    assert "voice_engine_restarts_total 1.0" in metrics
    assert active_streams(served) == 0


def test_sigterm_lets_those_who_are_spoken_to_finish(served: Served):
    body = {"input": LONG, "response_format": "pcm"}
    with httpx2.stream("POST", f"{served.url}/v1/audio/speech", json=body, timeout=120) as response:
        parts = response.iter_bytes()
        first = next(parts)
        served.process.send_signal(signal.SIGTERM)
        rest = b"".join(parts)  # raises if the body is not whole
    assert len(first) + len(rest) > 24_000
    assert served.process.wait(timeout=60) == 0
    assert not served.state.read(RUNNING)


def test_promote_and_roll_back_without_dropping_a_stream(served: Served, store: Store, tmp_path: Path):
    bento = tmp_path / "project/models/me/bento"
    bento.mkdir(parents=True)
    (bento / "pack_tag.txt").write_text(store.packs[1] + "\n")
    environment = {**store.environment, "VOICE_STATE": str(served.state.folder), "PYTHONPATH": str(package.PROJECT)}

    def run(verb: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serving.promote", verb, "me"]
        return subprocess.run(
            command, env=environment, cwd=tmp_path / "project", capture_output=True, text=True, check=False
        )

    body = {"input": LONG, "response_format": "pcm"}
    with httpx2.stream("POST", f"{served.url}/v1/audio/speech", json=body, timeout=120) as response:
        parts = response.iter_bytes()
        next(parts)
        done = run("promote")
        assert done.returncode == 0, done.stderr
        assert response.headers["x-voice-pack"] == store.packs[0]
        assert httpx2.get(f"{served.url}/v1/models").json()["data"][0]["pack"] == store.packs[1]
        assert len(b"".join(parts)) > 24_000
    assert run("rollback").returncode == 0
    assert httpx2.get(f"{served.url}/v1/models").json()["data"][0]["pack"] == store.packs[0]
    (bento / "pack_tag.txt").write_text("voice-me:0000000000000000\n")
    refused = run("promote")
    assert refused.returncode == 1
    assert "model store" in refused.stderr
    assert served.state.read(ACTIVE)["pack"] == store.packs[0]
    assert len(httpx2.post(f"{served.url}/v1/audio/speech", json=BODY, timeout=60).content) > 1_000
