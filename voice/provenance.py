"""What a result depends on besides its inputs: the code that made it and the libraries under it."""

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SOURCES = (".py", ".cpp", ".hpp", ".yaml")


def code_digest(*places: Path) -> str:
    """Hash of the sources in files and folders; 16 hex digits. Compiled copies beside them do not count."""
    digest = hashlib.sha256()
    for place in places:
        files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.suffix in SOURCES)
        for path in files:
            digest.update(f"{path.relative_to(place.parent)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def versions(*packages: str) -> str:
    """Installed versions, for an identity; a package that is not installed is named as missing."""
    return " ".join(f"{package}={_version(package)}" for package in packages)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def identity(*parts: str, code: str, packages: tuple[str, ...]) -> str:
    """All that a judge's answers depend on besides the audio: its weights and settings, its module `code`, libraries.

    Judges hear what `voice.audio` resamples, so that belongs to all of them.
    """
    here = Path(__file__).parent
    return "|".join(
        (*parts, code_digest(Path(code), here / "audio.py"), versions("numpy", "librosa", "soxr", *packages))
    )
