"""What the speaker reads and agrees to before anything is recorded. The lists are the design note's."""

from datetime import UTC, datetime
from pathlib import Path

from pipelines.data.record.folder import write_durably
from voice.errors import InputError

STATEMENT = (
    "The voice recorded here is my own, or its owner agreed to this. "
    "The recordings may be used to make a synthetic copy of the voice."
)

CHECKLIST = {
    "Room": (
        "Quiet, with little echo",
        "No air conditioning, fans or traffic to be heard",
        "No music and no other voices",
        "Soft furnishings rather than hard, bare walls",
    ),
    "Microphone": (
        "A good one; a USB condenser is recommended",
        "A pop filter in front of it, for p, b and t",
        "On a stand, so that nobody handles it",
        "Always the same distance: 15 to 30 cm (6 to 12 inches)",
    ),
    "Reading": (
        "Natural, at your normal pace",
        "Questions as questions, exclamations as exclamations",
        "No pauses over 2 seconds",
        "A quiet moment before and after each sentence",
    ),
}

_LONGEST_NAME = 100  # characters


def read_consent(raw: Path) -> str | None:
    """The consent that lies beside the recordings, or None."""
    path = raw / "consent.txt"
    text = path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
    return text or None


def write_consent(raw: Path, name: str, *, at: datetime) -> None:
    """Save who agreed to what, and when. Raises InputError without a name, or where a consent lies there already."""
    name = " ".join(name.split())
    if not 0 < len(name) <= _LONGEST_NAME:
        raise InputError("the name is missing. Type the name of the person whose voice this is.")
    if read_consent(raw):
        raise InputError(f"{raw / 'consent.txt'} is there already. Remove it first if somebody else is to speak.")
    when = at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    write_durably(raw / "consent.txt", f"Name: {name}\nStatement: {STATEMENT}\nDate: {when}\n".encode())
