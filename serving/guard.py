"""Who may ask for what, looked at before any route sees it: keys, names of this machine, pages from elsewhere, sizes,
rates.

It stands before BentoML's own routes, too. A page from elsewhere that somebody's browser has open could otherwise post
to this machine, or reach it under a name of its own (DNS rebinding); there is no CORS, so it could not read the answer
either."""

import asyncio
import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import metrics
from serving.keys import Keys
from serving.problems import Problem, busy
from serving.rates import Rate
from serving.settings import Settings

OPEN = ("/", "/health", "/livez", "/healthz", "/readyz")  # the page asks for the key itself; probes have none
PAGE = "/page/"
UPLOADS = "/v1/audio/voices"
_READING = ("GET", "HEAD", "OPTIONS")
_PROXY_HEADERS = (
    "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "cf-connecting-ip",
)  # fmt: skip
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_FORM_BYTES = 64 * 1024  # beside uploaded files: what is said in them, the consent, the borders between them


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    name: str  # of the key, else the address
    is_known: bool  # has a key, or needs none


class Guard:
    """Refuses, or passes on with `request_id` and `caller` in the request's state."""

    def __init__(self, app: ASGIApp, *, settings: Settings, keys: Keys) -> None:
        self._app, self._settings, self._keys = app, settings, keys
        self._names = {"localhost", *_own_names(), *(name.lower() for name in settings.hosts)}
        self._rate = Rate(settings.requests_per_minute)
        self._refusals = Rate(settings.refusals_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal, or pass the request on with its body."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websockets: the server closes
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update({**_HEADERS, "X-Request-Id": request_id})
            await send(message)

        try:
            caller = self._admit(scope, headers)
            body = await self._body(scope, headers, receive)
        except Problem as problem:
            metrics.problems.labels(problem.code).inc()
            await problem.response()(scope, receive, send_with_headers)
            return
        scope.setdefault("state", {}).update(request_id=request_id, caller=caller)
        await self._app(scope, _replay(body, receive), send_with_headers)

    def _admit(self, scope: Scope, headers: Headers) -> Caller:
        self._check_host(headers)
        self._check_origin(scope, headers)
        caller = self._caller(scope, headers)
        if scope["method"] not in _READING and (seconds := self._rate.take(caller.name)):
            raise busy(
                f"more than {self._settings.requests_per_minute} requests a minute. Try again in {seconds} s.",
                retry_seconds=seconds,
                code="rate_limited",
            )
        return caller

    def _check_host(self, headers: Headers) -> None:
        # a name that rebinding could use is never an address
        name = _hostname(headers.get("host", ""))
        if name is None or (name not in self._names and not _is_address(name)):
            message = "this machine is not known by that name. Use its address, or add the name to `hosts`."
            raise Problem(403, message, "unknown_host")

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            raise Problem(403, "pages from elsewhere may not use this voice.", "foreign_origin")
        navigates = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate" and scope["path"] in OPEN
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not navigates:
            raise Problem(403, "pages from elsewhere may not use this voice.", "foreign_origin")

    def _caller(self, scope: Scope, headers: Headers) -> Caller:
        address = scope["client"][0] if scope.get("client") else "unknown"
        is_near = not self._keys and _is_near(scope, headers)
        if is_near:
            return Caller(address, is_known=True)
        path = scope["path"]
        is_open = path in OPEN or path.startswith(PAGE)
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if not key and is_open:
            return Caller(address, is_known=False)
        if self._refusals.is_empty(address):
            raise busy("too many wrong keys from this address.", retry_seconds=60, code="rate_limited")
        owner = self._keys.owner(key.strip()) if scheme.lower() == "bearer" and key else None
        if owner is None:
            self._refusals.take(address)
            raise self._unauthorised(has_key=bool(key))
        return Caller(owner, is_known=True)

    def _unauthorised(self, *, has_key: bool) -> Problem:
        if not self._keys:
            message = "another machine needs a key, and the service has none. Set VOICE_API_KEYS where it runs."
        elif has_key:
            message = "that key is not one of the service's."
        else:
            message = "a key is needed. Send `Authorization: Bearer KEY`."
        return Problem(401, message, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    async def _body(self, scope: Scope, headers: Headers, receive: Receive) -> bytes:
        limit = self._limit(scope)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            raise _too_large(limit)
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                return await _read(receive, limit)
        except TimeoutError:
            raise Problem(408, "the body did not arrive in time.", "body_timeout") from None

    def _limit(self, scope: Scope) -> int:
        if scope["path"] == UPLOADS and scope["method"] == "POST":
            return self._settings.upload_megabytes * 1_000_000 + _FORM_BYTES
        return self._settings.body_kilobytes * 1024


async def _read(receive: Receive, limit: int) -> bytes:
    parts, size = list[bytes](), 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "the client left before its request was whole.", "client_gone")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(limit: int) -> Problem:
    message = f"the body is larger than {limit / 1000:.0f} kB. Send a shorter text or recording."
    return Problem(413, message, "too_large", headers={"Connection": "close"})


def _replay(body: bytes, receive: Receive) -> Receive:
    first = True

    async def replayed() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()  # tells when the client leaves

    return replayed


def _is_near(scope: Scope, headers: Headers) -> bool:
    """Whether both ends are this machine's own, and nothing stands between that speaks for somebody else."""
    ends = (scope.get("client"), scope.get("server"))
    return all(end and _is_loopback(end[0]) for end in ends) and not any(name in headers for name in _PROXY_HEADERS)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _own_names() -> Iterable[str]:
    name = socket.gethostname().lower()
    return (name, f"{name}.local") if name else ()
