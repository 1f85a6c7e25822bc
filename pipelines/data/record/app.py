"""The recorder's routes: a page, the session's state, and one POST for each step, which answers with the new state."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import Body, FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.exceptions import HTTPException as AnyHTTPException

from pipelines.data.record.guard import Guard, problem
from pipelines.data.record.session import ConsentError, Session, StepError
from pipelines.data.record.state import State
from pipelines.data.record.take import HIGHEST_BYTES_PER_SECOND
from voice.errors import InputError
from voice.stage import one_line

log = logging.getLogger(__name__)

_PAGE = Path(__file__).parent / "page"
_HEADER_BYTES = 4_096  # of a WAV file, at most


class Agreement(BaseModel):
    """What the speaker types and ticks."""

    name: str
    agreed: bool


def build_app(session: Session, *, max_take_seconds: float) -> FastAPI:
    """Build the app around one session."""
    app = FastAPI(title="Record", docs_url=None, redoc_url=None, openapi_url=None)
    _add_steps(app, session)
    _add_audio(app, session)
    app.add_exception_handler(InputError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_body)
    app.add_exception_handler(AnyHTTPException, _refuse_route)
    app.add_exception_handler(OSError, _fail_on_disk)
    app.add_exception_handler(Exception, _fail)
    app.mount("/", StaticFiles(directory=_PAGE, html=True))
    app.add_middleware(Guard, max_bytes=round(max_take_seconds * HIGHEST_BYTES_PER_SECOND) + _HEADER_BYTES)
    return app


def _add_steps(app: FastAPI, session: Session) -> None:
    @app.get("/api/state")
    def state() -> State:
        """Everything that the page shows."""
        return session.state()

    @app.post("/api/consent")
    def agree(body: Agreement) -> State:
        """Save the speaker's consent."""
        if not body.agreed:
            raise ConsentError("nothing is recorded without consent. Tick the box, or leave.")
        session.agree(body.name, at=datetime.now(UTC))
        return session.state()

    @app.post("/api/take")
    def record(wav: Annotated[bytes, Body(media_type="audio/wav")], sentence: Annotated[str, Query()]) -> State:
        """Take a recording of `sentence` under review."""
        session.record(wav, text=sentence)
        return session.state()

    @app.post("/api/clips/{clip}/redo")
    def redo(clip: str) -> State:
        """Read a kept clip's sentence again."""
        session.redo(clip)
        return session.state()

    @app.post("/api/keep")
    def keep() -> State:
        """Make the take under review a clip."""
        session.keep()
        return session.state()

    @app.post("/api/skip")
    def skip() -> State:
        """Go on to another sentence."""
        session.skip()
        return session.state()

    @app.post("/api/undo")
    def undo() -> State:
        """Bring the last kept clip back under review."""
        session.undo()
        return session.state()


def _add_audio(app: FastAPI, session: Session) -> None:
    @app.get("/api/take.wav")
    def take() -> FileResponse:
        """The take under review."""
        return _audio(session.take_audio())

    @app.get("/api/clips/{clip}")
    def clip(clip: str) -> FileResponse:
        """A kept clip, in the container that it lies in."""
        return _audio(session.clip_audio(clip))


def _audio(path: Path | None) -> FileResponse:
    if path is None:
        raise HTTPException(404, "there is no such recording. Reload the page.")
    return FileResponse(path)


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    match error:
        case ConsentError():
            status = 403
        case StepError():
            status = 409
        case _:
            status = 400
    return problem(status, one_line(error))


async def _refuse_body(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    return problem(422, f"{where}: {first['msg']}. Reload the page.")


async def _refuse_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)
    return problem(error.status_code, error.detail)


async def _fail_on_disk(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OSError)
    log.error("cannot read or write", exc_info=error)
    where = f"{error.filename}: " if error.filename else ""
    return problem(507, f"{where}{error.strerror or error}. Free some disk or check the folder, then try again.")


async def _fail(request: Request, error: Exception) -> JSONResponse:
    log.error("the recorder failed", exc_info=error)
    return problem(500, "the recorder failed; the terminal that it runs in says why. Your clips are safe.")
