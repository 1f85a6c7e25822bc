"""A curated voice as its files tell: every clip of quality.csv with its verdict, measures and text."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from voice.errors import InputError
from voice.manifest import read_metadata


class Verdict(StrEnum):
    """What became of a recording; flagged ones are used, but somebody should listen to them."""

    KEPT = "kept"
    FLAGGED = "flagged"
    DROPPED = "dropped"


class Worse(StrEnum):
    """On which side of the typical value a clip is suspicious."""

    LOW = "low"
    HIGH = "high"
    EITHER = "either"


@dataclass(frozen=True, slots=True)
class Measure:
    """A column of quality.csv and how it is shown."""

    column: str
    label: str
    unit: str
    digits: int
    worse: Worse
    per_unit: float = 1.0  # shown value = stored value / per_unit

    def shown(self, value: float) -> str:
        """The number in the unit that readers see."""
        return f"{value / self.per_unit:.{self.digits}f}"


MEASURES = (
    Measure("seconds", "Length", "s", 1, Worse.EITHER),
    Measure("lufs", "Loudness", "LUFS", 1, Worse.EITHER),
    Measure("snr_db", "Signal to noise", "dB", 1, Worse.LOW),
    Measure("characters_per_second", "Pace", "characters/s", 1, Worse.EITHER),
    Measure("bandwidth_hz", "Bandwidth", "kHz", 1, Worse.LOW, per_unit=1_000),
    Measure("pitch_hz", "Pitch", "Hz", 0, Worse.EITHER),
    Measure("peak_dbfs", "Peak", "dBFS", 1, Worse.EITHER),
    Measure("clipped_share", "Clipped", "%", 2, Worse.HIGH, per_unit=0.01),
    Measure("reverberation_seconds", "Reverberation", "s", 2, Worse.HIGH),
    Measure("longest_pause_seconds", "Longest pause", "s", 1, Worse.HIGH),
    Measure("hum_db", "Hum", "dB", 1, Worse.HIGH),
    Measure("disagreement", "Other words heard", "%", 0, Worse.HIGH, per_unit=0.01),
    Measure("speaker_distance", "Distance to the voice", "", 2, Worse.HIGH),
)


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording."""

    id: str
    verdict: Verdict
    reasons: tuple[str, ...]
    source: str
    text: str  # empty where it was dropped: metadata.csv holds what is used
    measures: Mapping[str, float]  # by column; only what could be measured
    audio: Path | None

    @property
    def is_used(self) -> bool:
        """Whether it is trained on or held out."""
        return self.verdict is not Verdict.DROPPED


def read_voice(processed: Path) -> list[Clip]:
    """Read quality.csv and metadata.csv. Raises InputError where they are missing or are not what stages write."""
    path = processed / "quality.csv"
    if not path.is_file():
        raise InputError(f"{path} is missing. Run `dvc repro`.")
    texts = {utterance.id: utterance.text for utterance in read_metadata(processed / "metadata.csv")}
    clips = []
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                clips.append(_parse(row, texts, processed / "wavs"))
            except (KeyError, ValueError) as error:
                raise InputError(f"{path}:{number}: {error}. Run `dvc repro -f` to write it anew.") from error
    return clips


def _parse(row: Mapping[str, str], texts: Mapping[str, str], wavs: Path) -> Clip:
    if "verdict" not in row:
        raise ValueError("no column `verdict`")
    verdict, audio = Verdict(row["verdict"]), wavs / f"{row['id']}.wav"
    if verdict is not Verdict.DROPPED and row["id"] not in texts:
        raise ValueError(f"{row['id']!r} is {verdict} but has no line in metadata.csv")
    return Clip(
        id=row["id"],
        verdict=verdict,
        reasons=tuple(reason for reason in row.get("reasons", "").split("; ") if reason),
        source=row.get("source", ""),
        text=texts.get(row["id"], ""),
        measures={m.column: float(row[m.column]) for m in MEASURES if row.get(m.column)},
        audio=audio if audio.is_file() else None,
    )
