"""The public routes: one FastAPI app, mounted in the BentoML service. Whoever mounts it sets `app.state.desk`."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from serving import metrics
from serving.logs import event
from serving.problems import Problem
from serving.routes import page, speech, state, voices
from voice.errors import InputError

_DESCRIPTION = """Speaks as one cloned voice, over OpenAI's routes for speech.

Every answer carries `X-Request-Id`. Every error is `{"error": {"message", "type", "code", "param"}}`. From another
machine a key is needed (`Authorization: Bearer KEY`). Limits: 64 kB of JSON, 4,096 characters of text, 10 MB and 60 s
for recordings; beyond the queue 429 with `Retry-After`."""

_PARTS = (speech, voices, state, page)


def create_app() -> FastAPI:
    """Build the app."""
    app = FastAPI(title="Voice", description=_DESCRIPTION, version="1", redoc_url=None, docs_url=None)
    app.state.desk = None
    for part in _PARTS:
        app.include_router(part.router)
    app.add_exception_handler(Problem, _refuse)
    app.add_exception_handler(InputError, _refuse_input)
    app.add_exception_handler(RequestValidationError, _refuse_body)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(Exception, _fail)
    _answer_the_rest(app)
    return app


def _answer_the_rest(app: FastAPI) -> None:
    """Addresses that there are not get the same errors as all others, BentoML's own plain ones do not."""
    known = [*app.router.routes, *(route for part in _PARTS for route in part.router.routes)]

    async def rest(request: Request) -> Response:
        methods = {
            method
            for route in known
            if route.matches(request.scope)[0] is Match.PARTIAL
            for method in getattr(route, "methods", None) or ()
        }
        if methods:
            headers = {"Allow": ", ".join(sorted(methods))}
            return _answer(Problem(405, "this address takes other methods.", "method_not_allowed", headers=headers))
        return _answer(Problem(404, "there is nothing at this address. See /openapi.json.", "not_found"))

    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
    app.router.add_route("/{path:path}", rest, methods=methods, include_in_schema=False)


def _answer(problem: Problem) -> JSONResponse:
    metrics.problems.labels(problem.code).inc()
    return problem.response()


async def _refuse(request: Request, error: Any) -> JSONResponse:
    return _answer(error)


async def _refuse_input(request: Request, error: Any) -> JSONResponse:
    return _answer(Problem(400, str(error), "invalid_request"))


async def _refuse_http(request: Request, error: Any) -> JSONResponse:
    return _answer(Problem(error.status_code, str(error.detail), "http_error", headers=error.headers or {}))


async def _refuse_body(request: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    message = str(first["msg"]).removeprefix("Value error, ").replace("\n", " ")
    hint = ' Send JSON such as {"input": "Hello."}.' if not where else ""
    return _answer(Problem(422, f"{where or 'body'}: {message}.{hint}", "invalid_value", param=where or None))


async def _fail(request: Request, error: Exception) -> JSONResponse:
    event("request failed", level=logging.ERROR, error=error, path=request.url.path)
    return _answer(Problem(500, "the service failed; its log says why.", "internal_error"))
