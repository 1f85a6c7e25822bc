"""The owner's review: a CSV of the clips whose words are in doubt, to be edited by hand and kept over every rerun.

`text` may be corrected, `decision` may be `keep` or `drop`. What the owner wrote wins over whatever a recogniser says.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from voice.errors import InputError
from voice.table import write_records


class Decision(StrEnum):
    """What the owner said of a clip."""

    OPEN = ""
    KEEP = "keep"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Doubt:
    """One line: a clip, its text as proposed (`was`), as it stands now, and what was heard."""

    id: str
    decision: Decision
    text: str
    heard: str
    disagreement: float | None
    was: str
    audio: str

    @property
    def answered(self) -> bool:
        """Whether the owner has edited this line."""
        return self.decision is not Decision.OPEN or self.text != self.was


def read_review(path: Path) -> dict[str, Doubt]:
    """Read the lines by clip. Raises InputError that names the line. No file is no review yet."""
    if not path.is_file():
        return {}
    doubts = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                doubts[row["id"]] = _doubt(row)
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{path}:{number}: {error}. Keep the columns, and write keep, drop or nothing as decision."
                ) from error
    return doubts


def _doubt(row: dict[str, str]) -> Doubt:
    disagreement = float(row["disagreement"]) if row["disagreement"] else None
    decision = Decision(row["decision"].strip().lower())
    return Doubt(row["id"], decision, row["text"].strip(), row["heard"], disagreement, row["was"], row["audio"])


def write_review(path: Path, doubts: Iterable[Doubt]) -> None:
    """Write the lines, what is still open first, the greatest disagreement on top."""
    lines = sorted(doubts, key=lambda d: (d.answered, -(d.disagreement or 0.0), d.id))
    write_records(path, Doubt, lines)
