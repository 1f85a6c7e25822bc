"""What a system has spoken: its takes in utterances.csv, and those of a run that was interrupted."""

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import soundfile

from voice.errors import InputError
from voice.table import write_records

UTTERANCES = "utterances.csv"
FOLDER = Path(".cache/spoken")
A_SAMPLE = 1e-4  # seconds
IDENTITY, LINES = "identity.txt", "takes.jsonl"


@dataclass(frozen=True, slots=True)
class Take:
    """One line of utterances.csv. A failure keeps its line: it will count as not understood."""

    sentence: str
    origin: str
    kind: str
    text: str
    spoken: str
    take: int
    seed: int
    audio: str = ""  # file name; empty where synthesis failed
    seconds: float = 0.0
    synthesis_seconds: float = 0.0  # its share, by length, of the time of its batch
    first_audio_seconds: float | None = None  # spoken once more as a stream, alone
    runaway: bool = False
    error: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """Which take of which sentence."""
        return self.sentence, self.take

    @property
    def asked(self) -> tuple[str, ...]:
        """What was to be said; a sentence that is edited keeps its key."""
        return self.origin, self.kind, self.text, self.spoken, str(self.seed)


def read_takes(folder: Path) -> list[Take]:
    """Read a system's utterances.csv. Raises InputError if it is missing."""
    path = folder / UTTERANCES
    if not path.is_file():
        raise InputError(f"{path} is missing. Run `dvc repro synthesize@{folder.name}`.")
    with path.open(newline="", encoding="utf-8") as file:
        return [_take(row) for row in csv.DictReader(file)]


def _take(row: dict[str, str]) -> Take:
    first = row["first_audio_seconds"]
    return Take(
        row["sentence"], row["origin"], row["kind"], row["text"], row["spoken"], int(row["take"]), int(row["seed"]),
        row["audio"], float(row["seconds"]), float(row["synthesis_seconds"]), float(first) if first else None,
        row["runaway"] == "True", row["error"],
    )  # fmt: skip


def write_takes(folder: Path, takes: Sequence[Take]) -> None:
    """Write utterances.csv."""
    write_records(folder / UTTERANCES, Take, takes)


class Unfinished:
    """What an interrupted run has spoken, so that the same command goes on where it stopped.

    Nothing of it outlives the stage: whether a system is spoken anew is for DVC to say. What was spoken with other
    weights, settings, code or libraries (the identity) is thrown away.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, name: str, identity: str, *, root: Path = FOLDER) -> "Unfinished":
        """Open a run's folder, or begin it anew."""
        folder = root / name
        known = folder / IDENTITY
        if not known.is_file() or known.read_text(encoding="utf-8") != identity:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            known.write_text(identity, encoding="utf-8")
        return cls(folder)

    def takes(self) -> dict[tuple[str, int], Take]:
        """Takes that were spoken and whose audio is whole, by sentence and number. Failed ones are tried again."""
        return {take.key: take for take in self._lines() if take.audio and self._is_whole(take)}

    def note(self, take: Take) -> Take:
        """Write down a take whose audio lies in the folder."""
        with (self.folder / LINES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(take)) + "\n")
        return take

    def forget(self) -> None:
        """The stage is through."""
        shutil.rmtree(self.folder)

    def _is_whole(self, take: Take) -> bool:
        try:
            return abs(soundfile.info(self.folder / take.audio).duration - take.seconds) < A_SAMPLE
        except soundfile.LibsndfileError:  # not there, or not all of it reached the disk
            return False

    def _lines(self) -> Iterator[Take]:
        path = self.folder / LINES
        if not path.is_file():
            return
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                yield Take(**json.loads(line))
            except ValueError:  # the line that was being written when the power went
                continue
