"""API keys: who may speak, from far away. Only their hashes stay in memory."""

import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from voice.errors import InputError

SHORTEST = 16  # characters; `python -c 'import secrets; print(secrets.token_urlsafe(32))'` gives 43
VARIABLE, FILE_VARIABLE = "VOICE_API_KEYS", "VOICE_API_KEYS_FILE"


class Keys:
    """Names and hashes of keys."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """`keys` by name. Raises InputError for one that can be guessed."""
        for name, key in keys.items():
            if len(key) < SHORTEST:
                raise InputError(f"the API key {name!r} has {len(key)} characters, {SHORTEST} are the least.")
        self._hashes = {name: _hash(key) for name, key in keys.items()}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Keys":
        """VOICE_API_KEYS="mac:KEY laptop:KEY" and VOICE_API_KEYS_FILE with a `name:KEY` a line; `#` begins a comment.

        Raises InputError for a file that others may read, and for what is no name and key.
        """
        words = environment.get(VARIABLE, "").replace(",", " ").split()
        if path := environment.get(FILE_VARIABLE):
            words += _lines(Path(path))
        return cls(dict(_parse(word) for word in words))

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def owner(self, key: str) -> str | None:
        """Whose key it is. Takes as long for any."""
        given, found = _hash(key), None
        for name, known in self._hashes.items():
            if hmac.compare_digest(given, known):
                found = name
        return found


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _lines(path: Path) -> Iterator[str]:
    try:
        if path.stat().st_mode & 0o077:
            raise InputError(f"{path}: others may read it. Run `chmod 600 {path}`.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}. Correct {FILE_VARIABLE}.") from error
    yield from (line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))


def _parse(word: str) -> tuple[str, str]:
    name, colon, key = word.partition(":")
    if not colon or not name or not key:
        raise InputError(f"{VARIABLE} or its file holds something that is not `name:key`. Write `mac:KEY`.")
    return name.strip(), key.strip()
