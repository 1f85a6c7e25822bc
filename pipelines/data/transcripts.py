"""transcripts.csv: the text of every clip, who wrote it, and how far a recogniser disagrees."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipelines.data.review import Decision
from voice.errors import InputError
from voice.table import write_records


class Origin(StrEnum):
    """Where a clip's text comes from."""

    WRITTEN = "written"  # metadata.csv or a .txt beside the recording
    SCRIPT = "script"  # the part of a longer script that was heard in it
    HEARD = "heard"  # a recogniser wrote it, and nobody has read it
    REVIEWED = "reviewed"  # the owner wrote it


@dataclass(frozen=True, slots=True)
class Transcript:
    """One line of transcripts.csv."""

    id: str
    text: str  # empty where nobody wrote and nothing was heard
    origin: Origin
    heard: str
    disagreement: float | None  # error rate of what was heard against the text; None where no recogniser listened
    decision: Decision


def write_transcripts(path: Path, lines: Iterable[Transcript]) -> None:
    """Write transcripts.csv."""
    write_records(path, Transcript, lines)


def read_transcripts(path: Path) -> list[Transcript]:
    """Read transcripts.csv. Raises InputError if there is none."""
    if not path.is_file():
        raise InputError(f"{path} is missing. Run `dvc repro transcribe`.")
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Transcript(
                row["id"],
                row["text"],
                Origin(row["origin"]),
                row["heard"],
                float(row["disagreement"]) if row["disagreement"] else None,
                Decision(row["decision"]),
            )
            for row in csv.DictReader(file)
        ]
