"""One voice at a time: windows and processes wait in one line for the speaker.

A ticket is drawn when something is asked for. It is a file whose name is its number and whose writer holds a lock on
it. The kernel drops that lock when the process ends, however it ends, so a killed holder blocks nobody. `stop` holds a
number; when it grows, all that was asked for before it stops.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import anyio

from mcp_client.errors import RequestError

POLL_SECONDS = 0.03


class Ticket:
    """A place in the line."""

    def __init__(self, path: Path, handle: int) -> None:
        self.number = int(path.stem)
        self._path, self._handle = path, handle

    def leave(self) -> None:
        """Let the next one go on. May be called again."""
        if self._handle >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = -1


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

    async def reached(self, ticket: Ticket) -> None:
        """Wait until all who came before are done or dead: the speaker is the ticket's until it leaves."""
        while self.before(ticket.number):
            await anyio.sleep(POLL_SECONDS)

    def before(self, number: int | None = None) -> int:
        """How many live tickets are lower than this one, or are there at all."""
        return sum(_is_held(path) for path in self._tickets() if number is None or int(path.stem) < number)

    def stop_all(self) -> None:
        """Stop what every process says or was going to say."""
        with self._alone():
            partial = self.folder / "stop.partial"
            partial.write_text(str(self.stops() + 1), encoding="ascii")
            partial.replace(self.folder / "stop")

    def stops(self) -> int:
        """How often all was stopped. A time would not do: two stops within a tick of the clock look alike."""
        try:
            return int((self.folder / "stop").read_text(encoding="ascii") or 0)
        except (FileNotFoundError, ValueError):
            return 0

    def _tickets(self) -> list[Path]:
        return sorted(self.folder.glob("*.ticket"))

    def draw(self) -> Ticket:
        """Take a place at the end of the line."""
        with self._alone():
            for path in self._tickets():
                if not _is_held(path):
                    path.unlink(missing_ok=True)
            number = max((int(path.stem) for path in self._tickets()), default=0) + 1
            path = self.folder / f"{number:012}.ticket"
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)  # waits at most for somebody who is looking
            return Ticket(path, handle)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.folder / "line").open() as line:
            fcntl.flock(line, fcntl.LOCK_EX)  # numbers are given one by one
            yield


def _is_held(path: Path) -> bool:
    with suppress(FileNotFoundError), path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who look at once see the same
        except BlockingIOError:
            return True
    return False
