"""The blind test's routes: a page, what to hear next without a word about who it is, and the votes."""

import dataclasses
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from pipelines.data.quality.level import loudness
from pipelines.data.record.guard import Guard, problem
from pipelines.eval.listen.trials import Session
from voice.audio import encode, read_waveform
from voice.errors import InputError
from voice.stage import one_line

_PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
LUFS = -23.0  # all three at one loudness: what is louder is otherwise taken for better
_PEAK = 0.98


class Ballot(BaseModel):
    """A choice as the page sends it."""

    trial: int
    choice: str


@dataclasses.dataclass(frozen=True)
class State:
    """Everything that the page shows."""

    voice: str
    trial: int
    text: str | None  # None at the end
    done: int
    total: int


def build_app(session: Session) -> FastAPI:
    """Build the app around one session."""
    app = FastAPI(title="Listen", docs_url=None, redoc_url=None, openapi_url=None)
    one_at_a_time = threading.Lock()  # two tabs, or a key that repeats, must not vote on one pair twice
    fetched: set[tuple[int, str]] = set()

    @app.get("/api/state")
    def state() -> State:
        """What to hear now."""
        return _state(session)

    @app.post("/api/vote")
    def vote(ballot: Ballot) -> State:
        """Choose, and go on."""
        with one_at_a_time:
            if not {(ballot.trial, "a"), (ballot.trial, "b")} <= fetched:
                raise InputError("this pair was not heard yet. Play both sides, then choose.")
            session.choose(ballot.trial, ballot.choice, time=datetime.now(UTC))
            return _state(session)

    @app.post("/api/back")
    def back() -> State:
        """The pair before."""
        with one_at_a_time:
            session.back()
            return _state(session)

    @app.get("/api/audio/{trial}/{side}")
    def audio(trial: int, side: str) -> Response:
        """What stands on a side; the address says nothing of whose it is."""
        if not 0 <= trial < len(session.trials) or side not in ("a", "b", "x"):
            raise InputError("there is nothing to hear at this address. Reload the page.")
        chosen = session.trials[trial]
        fetched.add((trial, side))
        path = {"a": chosen.a.audio, "b": chosen.b.audio, "x": chosen.x}[side]
        return Response(levelled(path), media_type="audio/wav")

    @app.get("/{name:path}")
    def page(name: str) -> Response:
        """The page's own files."""
        path = _PAGE / (name or "index.html")
        if path.parent != _PAGE or not path.is_file():
            return problem(404, "there is no such page.")
        return Response(path.read_bytes(), media_type=_TYPES[path.suffix])

    app.add_exception_handler(InputError, _refuse)
    app.add_middleware(Guard, max_bytes=1_000)
    return app


def _state(session: Session) -> State:
    trial = session.trial
    done, total = session.earlier + session.at, session.earlier + len(session.trials)
    return State(session.voice, session.at, trial.text if trial else None, done, total)


async def _refuse(request: Request, error: Exception) -> Response:
    return problem(409, one_line(error))


def levelled(path: Path) -> bytes:
    """A file as WAV at LUFS, less where its peaks would clip."""
    waveform = read_waveform(path)
    gain = 10 ** ((LUFS - loudness(waveform)) / 20)
    peak = float(np.abs(waveform).max())
    return encode(waveform * np.float32(min(gain, _PEAK / peak) if peak else 1.0), container="wav")
