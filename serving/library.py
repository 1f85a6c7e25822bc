"""Uploaded voices: kept on the disk, so that they speak again after a restart and after another voice came on air."""

import json
import re
import threading
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.cast import Cast, short_hash
from serving.logs import event
from serving.problems import Problem
from voice.audio import Waveform, encode, read_waveform
from voice.errors import InputError
from voice.pack import REFERENCE_AUDIO, REFERENCE_TEXT
from voice.publish import publish, remove

CONSENT = "I am the speaker in what I send, or the speaker has agreed to its use for synthetic speech."
_CARD = "uploaded.json"


def is_consent(statement: str) -> bool:
    """Whether somebody said what has to be said, however it is spaced and cased."""
    return " ".join(statement.split()).rstrip(".").casefold() == CONSENT.rstrip(".").casefold()


class Library:
    """A folder for each voice: reference.wav, reference.txt, uploaded.json (name, who agreed, when)."""

    def __init__(self, folder: Path, *, most: int) -> None:
        self._folder, self._most = folder, most
        self._changing = threading.Lock()

    def introduce(self, cast: Cast) -> None:
        """Have a cast imitate all that were uploaded. One that it cannot is left out, and kept."""
        for voice_id, card in self._cards():
            home = self._folder / voice_id
            try:
                text = (home / REFERENCE_TEXT).read_text(encoding="utf-8").strip()
                cast.imitate(voice_id, str(card["name"]), read_waveform(home / REFERENCE_AUDIO), text)
            except (InputError, OSError, KeyError) as error:
                event("an uploaded voice cannot speak", voice=voice_id, reason=str(error))

    def add(self, cast: Cast, name: str, waveform: Waveform, text: str, *, caller: str) -> str:
        """Imitate a recording and keep it; returns its id. Raises Problem where there are enough, or it is there."""
        wav = encode(waveform, container="wav")
        voice_id = f"{_slug(name)}-{short_hash(wav + text.encode())}"
        with self._changing:
            if voice_id in cast.members:
                raise Problem(409, f"this recording is there already, as voice {voice_id!r}.", "voice_exists")
            if sum(1 for _ in self._cards()) >= self._most:
                raise Problem(409, f"{self._most} voices are kept. Delete one first.", "too_many_voices")
            cast.imitate(voice_id, name, waveform, text)
            try:
                self._keep(voice_id, name, wav, text, caller)
            except OSError as error:  # a voice that nobody could delete must not go on speaking
                cast.forget(voice_id)
                event("an uploaded voice could not be kept", voice=voice_id, error=error)
                message = "the recording could not be kept: the service's disk is full or may not be written to."
                raise Problem(503, message, "not_kept") from error
        return voice_id

    def _keep(self, voice_id: str, name: str, wav: bytes, text: str, caller: str) -> None:
        with publish(self._folder / voice_id) as draft:
            draft.mkdir(mode=0o700)
            (draft / REFERENCE_AUDIO).write_bytes(wav)
            (draft / REFERENCE_TEXT).write_text(text + "\n", encoding="utf-8")
            when = datetime.now(UTC).isoformat(timespec="seconds")
            card = {"name": name, "consent": CONSENT, "agreed_at": when, "agreed_by": caller}
            (draft / _CARD).write_text(json.dumps(card) + "\n", encoding="utf-8")

    def remove(self, cast: Cast, voice_id: str) -> None:
        """Delete a voice and its recording. Raises Problem 404 for one that was not uploaded."""
        with self._changing:
            known = {known: self._folder / known for known, _ in self._cards()}
            if voice_id not in known:
                raise Problem(404, f"no uploaded voice is called {voice_id[:64]!r}.", "voice_not_found")
            cast.forget(voice_id)
            remove(known[voice_id])

    def _cards(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for path in sorted(self._folder.glob(f"[a-z0-9]*/{_CARD}")):
            try:
                yield path.parent.name, json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                event("an uploaded voice cannot be read", voice=path.parent.name, reason=str(error))


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:32] or "voice"
