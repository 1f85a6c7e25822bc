"""What goes wrong, as clients of OpenAI's API read it: `{"error": {"message", "type", "code", "param"}}`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.responses import JSONResponse

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


@dataclass
class Problem(Exception):  # noqa: N818  an answer, raised
    """A refusal or a failure. The message is one line for whoever sent the request."""

    status: int
    message: str
    code: str
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    @property
    def body(self) -> dict[str, object]:
        """The JSON."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "code": self.code, "param": self.param}}

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.body, status_code=self.status, headers=dict(self.headers))


def busy(message: str, *, retry_seconds: int, code: str = "queue_full") -> Problem:
    """Too much at the moment."""
    return Problem(429, message, code, headers={"Retry-After": str(retry_seconds)})


def failed() -> Problem:
    """What is nobody's fault but ours: the log has the rest."""
    return Problem(500, "the voice failed on this text; the server's log says why.", "synthesis_failed")


def not_ready() -> Problem:
    """The voice is still being loaded."""
    return Problem(503, "the voice is being loaded. Try again in a moment.", "loading", headers={"Retry-After": "5"})
