"""One voice at a time: windows and processes wait in one line for the speaker.

A ticket is a file whose name is its number and whose writer holds a lock on it. The kernel drops that lock when the
process ends, however it ends, so a killed holder blocks nobody. `stop` is a file whose time of change stops all that
was asked for before it.
"""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio

from mcp_client.errors import RequestError

POLL_SECONDS = 0.03


class Turns:
    """The line, in a folder that all processes of this person share."""

    def __init__(self, folder: Path) -> None:
        """Make the folder. Raises RequestError if that is not possible."""
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / "line").touch()
        except OSError as error:
            raise RequestError(
                f"{folder} cannot be written ({error}). Set TTS_STATE_DIR to a folder of yours."
            ) from error

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until all who came before are done or dead; then hold the speaker."""
        number, handle = self._draw()
        path = self.folder / f"{number:012}.ticket"
        try:
            while self.before(number):
                await anyio.sleep(POLL_SECONDS)
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(handle)

    def before(self, number: int | None = None) -> int:
        """How many live tickets are lower than this one, or are there at all."""
        return sum(_is_held(path) for path in self._tickets() if number is None or int(path.stem) < number)

    def stop_all(self) -> None:
        """Stop what every process says or was going to say."""
        mark = self.folder / "stop"
        mark.touch()
        os.utime(mark)

    def stops(self) -> int:
        """A number that changes with each `stop_all`."""
        try:
            return (self.folder / "stop").stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _tickets(self) -> list[Path]:
        return sorted(self.folder.glob("*.ticket"))

    def _draw(self) -> tuple[int, int]:
        with (self.folder / "line").open() as line:
            fcntl.flock(line, fcntl.LOCK_EX)  # numbers are given one by one
            for path in self._tickets():
                if not _is_held(path):
                    path.unlink(missing_ok=True)
            number = max((int(path.stem) for path in self._tickets()), default=0) + 1
            handle = os.open(self.folder / f"{number:012}.ticket", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)  # waits at most for somebody who is looking
            return number, handle


def _is_held(path: Path) -> bool:
    with suppress(FileNotFoundError), path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who look at once see the same
        except BlockingIOError:
            return True
    return False
