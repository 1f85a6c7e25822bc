"""What the recorder remembers between a take and its clip: .cache/record/<voice>, which git ignores.

A take lies here from the moment it is recorded until it is kept, so that a reload, a crash or a power cut loses none.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipelines.data.record.folder import write_durably


@dataclass(frozen=True, slots=True)
class Pending:
    """The take under review: the clip that it may become."""

    id: str
    text: str
    replaces: bool  # a clip that is kept already


@dataclass(frozen=True, slots=True)
class Kept:
    """The last clip that was kept, which can be undone."""

    id: str
    text: str
    before: str | None = None  # the file in aside/ with the clip that it replaced


@dataclass(slots=True)
class Notes:
    """Small things to remember."""

    last_number: int = 0  # of the clips' names; none is given twice
    skipped: list[str] = field(default_factory=list)
    last_kept: Kept | None = None


class Desk:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.notes = self._read_notes()

    def _read_notes(self) -> Notes:
        path = self._folder / "notes.json"
        if not path.is_file():
            return Notes()
        values = json.loads(path.read_text(encoding="utf-8"))
        last = values.pop("last_kept")
        return Notes(**values, last_kept=Kept(**last) if last else None)

    def save_notes(self) -> None:
        """Write what is remembered."""
        write_durably(self._folder / "notes.json", json.dumps(asdict(self.notes)).encode())

    @property
    def take(self) -> Path:
        """The audio of the take under review."""
        return self._folder / "take.wav"

    def pending(self) -> Pending | None:
        """The take under review, if there is one."""
        path = self._folder / "take.json"
        return Pending(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None

    def put(self, pending: Pending, wav: bytes) -> None:
        """Lay a take down for review, in place of the one before."""
        write_durably(self.take, wav)
        write_durably(self._folder / "take.json", json.dumps(asdict(pending)).encode())

    def clear(self) -> None:
        """Take the reviewed take away."""
        (self._folder / "take.json").unlink(missing_ok=True)
        self.take.unlink(missing_ok=True)

    def set_aside(self, path: Path) -> str:
        """Copy audio that is about to leave its place into aside/, and return the copy's name."""
        numbers = (int(p.name.partition("_")[0]) for p in (self._folder / "aside").glob("[0-9]*_*"))
        name = f"{max(numbers, default=0) + 1:04d}_{path.name}"
        write_durably(self._folder / "aside" / name, path.read_bytes())
        return name

    def aside(self, name: str) -> Path:
        """Audio that was set aside."""
        return self._folder / "aside" / name
