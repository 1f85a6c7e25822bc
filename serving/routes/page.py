"""The page at `/`: type, choose, listen."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from serving.problems import Problem

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).resolve().parent.parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def _read() -> dict[str, tuple[bytes, str]]:
    return {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in _FOLDER.iterdir() if path.suffix in _TYPES}


_FILES = _read()  # all there are: no path from a request is ever opened


@router.get("/")
async def index() -> Response:
    """The page."""
    return await file("index.html")


@router.get("/page/{name}")
async def file(name: str) -> Response:
    """One of its files."""
    if name not in _FILES:
        raise Problem(404, "there is no such page.", "not_found")
    content, media_type = _FILES[name]
    return Response(content, media_type=media_type)
