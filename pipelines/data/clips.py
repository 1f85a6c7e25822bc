"""clips.csv: every clip of a voice, where its audio lies, which recording it is from, what is known of its text."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from voice.audio import AUDIO_SUFFIXES
from voice.errors import InputError
from voice.table import write_records


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip. Where a recording was cut, `script` is what all of it says; the clip's own words are to be found."""

    id: str
    source: str  # the recording's name
    audio: str  # path from the project's folder; empty where metadata.csv names a clip that is not there
    text: str = ""
    script: str = ""
    start: float | None = None  # seconds into the recording; None for a recording that is one clip
    end: float | None = None
    between_pauses: bool = True  # False where it had to be cut without one


def find_recordings(folder: Path) -> dict[str, Path]:
    """Clip name -> audio file, for every audio file in `folder`. Raises InputError if two files share a name."""
    if not folder.is_dir():
        raise InputError(f"{folder} is missing. Put your recordings there, beside metadata.csv (see README.md).")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in AUDIO_SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise InputError(f"{path}: {found[path.stem].name} has the same name. Keep one of them.")
        found[path.stem] = path
    return found


def write_clips(path: Path, clips: Iterable[Clip]) -> None:
    """Write clips.csv."""
    write_records(path, Clip, clips)


def read_clips(path: Path) -> list[Clip]:
    """Read clips.csv. Raises InputError if there is none."""
    if not path.is_file():
        raise InputError(f"{path} is missing. Run `dvc repro segment`.")
    with path.open(newline="", encoding="utf-8") as file:
        return [_clip(row) for row in csv.DictReader(file)]


def _clip(row: dict[str, str]) -> Clip:
    start, end = (float(row[name]) if row[name] else None for name in ("start", "end"))
    between_pauses = row["between_pauses"] == "True"
    return Clip(row["id"], row["source"], row["audio"], row["text"], row["script"], start, end, between_pauses)
