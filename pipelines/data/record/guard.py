"""Only the page that this recorder serves, opened on this machine, may talk to it.

A page from elsewhere that the browser has open could otherwise post to 127.0.0.1, or reach it under a name of its own
(DNS rebinding).
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_READING = ("GET", "HEAD")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",  # a voice is private, and a clip that was read again keeps its address
}


class Guard:
    """Refuses requests that do not come from our own page, or carry more than `max_bytes`."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal, or pass the request on."""
        if scope["type"] != "http":  # start and end of the server: there are no websockets
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refused = self._refuse(scope["method"], Headers(scope=scope))
        await (refused or self._app)(scope, receive, send_with_headers)

    def _refuse(self, method: str, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if _hostname(host) not in _LOOPBACK:
            return problem(403, "open this page as http://127.0.0.1, with the port that the recorder printed.")
        if method in _READING:
            return None
        if headers.get("origin") != f"http://{host}":
            return problem(403, "this request does not come from the recorder's own page.")
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return problem(411, "the request does not say how long it is.")
        if int(length) > self._max_bytes:
            return problem(413, "the take is too long. Read one sentence at a time.")
        return None


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def problem(status: int, message: str) -> JSONResponse:
    """An error as every route answers it."""
    return JSONResponse({"error": {"message": message}}, status_code=status)
