"""The real service on loopback: the project's tiny checkpoint, uvicorn, HTTP."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from serving import settings as settings_file
from serving.app import create_app
from serving.cast import Cast, LocalCast
from serving.desk import Desk
from serving.guard import Guard
from serving.keys import Keys
from serving.library import Library
from serving.phase import Phase
from serving.state import State
from serving.station import Station
from tests.sounds import speechlike
from voice.audio import write_wav
from voice.pack import Kind, Reference, VoiceCard

PACK = "voice-me:0123456789abcdef"


def wait_until(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Return when it has come to that; what a client has seen may be noted on the other side a moment later."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.01)


def make_pack(base: Path, out: Path, *, name: str = "me") -> Path:
    """A zero-shot voice pack around a checkpoint's weights."""
    out.mkdir()
    for path in base.iterdir():
        (out / path.name).symlink_to(path)
    write_wav(out / "sound.wav", speechlike(1.0))
    (out / "words.txt").write_text("Some words.")
    Reference(out / "sound.wav", "Some words.").copy_to(out)
    VoiceCard(name, Kind.ZERO_SHOT, None, "en", "tiny", "0", "0", "0").write(out)
    return out


@pytest.fixture(scope="session")
def pack(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tiny_folder, tmp_path_factory.mktemp("packs") / "me")


@pytest.fixture(scope="session")
def cast(pack: Path) -> LocalCast:
    """The pack, loaded once."""
    return LocalCast(pack, pack=PACK)


@dataclass
class Running:
    """A service that runs."""

    url: str
    desk: Desk
    state: State
    died: threading.Event
    server: uvicorn.Server
    thread: threading.Thread
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def station(self) -> Station:
        return self.desk.station

    def client(self, **options: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=60, headers=dict(self.headers), **options)


Start = Callable[..., Running]


@contextlib.contextmanager
def running(
    cast: Cast,
    folder: Path,
    *,
    keys: Mapping[str, str] | None = None,
    open_cast: Callable[[str], Cast] | None = None,
    wait: bool = True,
    **settings: Any,
) -> Iterator[Running]:
    """Serve a cast on a free port of loopback, as the Bento does: guard, routes, station."""
    options = settings_file.load({}, **{"requests_per_minute": 100_000, **settings})
    state, died = State(folder), threading.Event()
    library = Library(folder / "voices", most=options.uploads)
    station = Station(options, state, library, open_cast or (lambda pack: cast), own=PACK, die=died.set)
    app = create_app()
    app.state.desk = Desk(options, station)
    guarded = Guard(app, settings=options, keys=Keys(keys or {}))
    server = uvicorn.Server(uvicorn.Config(guarded, host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    station.start()
    thread.start()
    while not server.started or (wait and station.phase is Phase.LOADING):
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Running(f"http://127.0.0.1:{port}", app.state.desk, state, died, server, thread)
    finally:
        station.stop()
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def service(cast: LocalCast, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(cast, tmp_path_factory.mktemp("state")) as service:
        yield service
    for voice_id in [member.id for member in cast.members.values() if member.kind == "uploaded"]:
        cast.forget(voice_id)  # the next module has the same cast


@pytest.fixture
def serve(cast: LocalCast, tmp_path: Path) -> Iterator[Start]:
    """Start services with settings of their own."""
    with contextlib.ExitStack() as stack:
        count = iter(range(99))

        def start(use: Cast | None = None, **options: Any) -> Running:
            return stack.enter_context(running(use or cast, tmp_path / f"state{next(count)}", **options))

        yield start
