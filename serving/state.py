"""What a service remembers from one process to the next: which voice is on air, what is wanted, whether it crashed.

Small JSON files in one folder that only this user reads: VOICE_STATE, by default `voice-state/` in BentoML's home.
Whoever may write there decides what is spoken; nothing over HTTP does."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from voice.publish import publish

WANTED, ANSWER, ACTIVE, RUNNING = "wanted.json", "answer.json", "active.json", "running.json"


def folder_of(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Where the service `name` keeps its state."""
    if chosen := environment.get("VOICE_STATE"):
        return Path(chosen)
    home = environment.get("BENTOML_HOME") or Path.home() / "bentoml"
    return Path(home) / "voice-state" / name


class State:
    """The files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def read(self, name: str) -> dict[str, Any]:
        """A file's content; nothing where it is not there or not whole."""
        try:
            content = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, name: str, **content: Any) -> None:
        """Replace a file in one step."""
        with publish(self.folder / name) as draft:
            draft.write_text(json.dumps(content) + "\n", encoding="utf-8")

    def begin(self) -> int | None:
        """Note that this process runs. Returns the process that ran before and never said that it stopped."""
        before = self.read(RUNNING).get("pid")
        self.write(RUNNING, pid=os.getpid(), since=time.time())
        crashed = isinstance(before, int) and before != os.getpid() and not is_running(before)
        return before if crashed else None

    def end(self) -> None:
        """Note that this process stopped because it was told to."""
        if self.read(RUNNING).get("pid") == os.getpid():
            (self.folder / RUNNING).unlink(missing_ok=True)

    def first_pack(self, own: str) -> str:
        """The pack to begin with: what was on air under the same Bento, else the Bento's own (a new one was built)."""
        active = self.read(ACTIVE)
        if active.get("own") == own and isinstance(active.get("pack"), str):
            return str(active["pack"])
        before = active.get("pack")
        self.write(ACTIVE, pack=own, before=before if before != own else active.get("before"), own=own)
        return own

    def now_speaks(self, pack: str) -> None:
        """Note that another pack is on air."""
        active = self.read(ACTIVE)
        self.write(ACTIVE, pack=pack, before=active.get("pack"), own=active.get("own"))


def is_running(pid: int) -> bool:
    """Whether a process lives: not gone, and not only waiting to be counted."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
