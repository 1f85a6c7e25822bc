"""What is said in an evaluation: the project's own sentences, and those of the held-out clips.

`texts/<language>.txt` holds one sentence a line, `text|kind` or `text|kind|spoken`. Kinds take turns, so that the first
lines are a fair sample. `spoken` is how symbols, dates and abbreviations are read; a recogniser may write either.
"""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from voice.errors import InputError
from voice.manifest import read_metadata
from voice.table import write_records
from voice.text import same_text_key

TEXTS = Path(__file__).parent / "texts"
FIXED, HELD_OUT = "fixed", "held_out"
KINDS = ("short", "long", "question", "exclamation", "number", "date", "name", "abbreviation", "code", "twister")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text to speak; the id is the same for all systems."""

    id: str
    origin: str  # `fixed` set or `held_out` clip
    kind: str  # one of KINDS; a held-out one has none
    text: str
    spoken: str  # how it is read, where that is written otherwise


def fixed_sentences(language: str) -> list[Sentence]:
    """The project's sentences of a language; English where it is `auto`. Raises InputError where there are none."""
    code = "en" if language == "auto" else language
    path = TEXTS / f"{code}.txt"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in TEXTS.glob("*.txt")))
        raise InputError(f"{path.name}: no evaluation texts for language {language!r}. There are {known}; add a file.")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [_sentence(f"{code}_{number:03}", line) for number, line in enumerate(lines, start=1)]


def _sentence(name: str, line: str) -> Sentence:
    text, kind, *spoken = (part.strip() for part in line.split("|"))
    return Sentence(name, FIXED, kind, text, spoken[0] if spoken else "")


def held_out_sentences(manifest: Path) -> list[Sentence]:
    """The voice's held-out sentences, each once, in the order of their ids."""
    once = {same_text_key(u.text): u for u in reversed(read_metadata(manifest))}
    return [Sentence(u.id, HELD_OUT, "", u.text, "") for u in sorted(once.values(), key=lambda u: u.id)]


def digest(sentences: Sequence[Sentence]) -> str:
    """The version of a set of texts: a hash of all that is in it; 16 hex digits."""
    content = "\n".join("|".join((s.id, s.origin, s.kind, s.text, s.spoken)) for s in sentences)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def write_sentences(path: Path, sentences: Sequence[Sentence]) -> None:
    """Write sentences.csv."""
    write_records(path, Sentence, sentences)


def read_sentences(path: Path) -> list[Sentence]:
    """Read sentences.csv. Raises InputError if it is missing."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [Sentence(**row) for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise InputError(f"{path} is missing. Run `dvc repro plan`.") from None
