"""measurements.csv and timbre.npz: what preprocessing measured of every clip, or why it could not."""

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data.quality import Quality
from voice.errors import InputError
from voice.publish import publish
from voice.table import write_table

CSV, TIMBRE = "measurements.csv", "timbre.npz"


@dataclass(frozen=True, slots=True)
class Measured:
    """One clip: its measurements, or the error that stopped it."""

    id: str
    error: str = ""
    digest: str = ""
    quality: Quality | None = None
    timbres: np.ndarray | None = None  # (windows, coefficients), row 0 the whole clip


def write_measurements(folder: Path, clips: Iterable[Measured]) -> None:
    """Write both files."""
    clips = list(clips)
    names = [field.name for field in fields(Quality)]
    write_table(folder / CSV, ["id", "error", "digest", *names], map(_row, clips))
    with publish(folder / TIMBRE) as draft, draft.open("wb") as archive:
        arrays: dict[str, Any] = {clip.id: clip.timbres for clip in clips if clip.timbres is not None}
        np.savez(archive, **arrays)


def _row(clip: Measured) -> dict[str, Any]:
    numbers = asdict(clip.quality) if clip.quality else {}
    row = {"id": clip.id, "error": clip.error, "digest": clip.digest}
    return row | {name: "" if value is None else round(value, 4) for name, value in numbers.items()}


def read_measurements(folder: Path) -> list[Measured]:
    """Read both files. Raises InputError if they are not there."""
    if not (folder / CSV).is_file():
        raise InputError(f"{folder / CSV} is missing. Run `dvc repro preprocess`.")
    with np.load(folder / TIMBRE) as archive, (folder / CSV).open(newline="", encoding="utf-8") as file:
        return [
            Measured(row["id"], row["error"], row["digest"], _quality(row), archive.get(row["id"]))
            for row in csv.DictReader(file)
        ]


def _quality(row: dict[str, str]) -> Quality | None:
    if row["error"]:
        return None
    values: dict[str, Any] = {f.name: float(row[f.name]) if row[f.name] else None for f in fields(Quality)}
    return Quality(**values | {"clicks": int(values["clicks"])})
