"""A voice pack: one self-contained folder with weights, reference.wav/.txt and voice.json, ready to speak."""

import json
import shutil
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from voice.errors import InputError

VOICE_FILE = "voice.json"
REFERENCE_AUDIO = "reference.wav"
REFERENCE_TEXT = "reference.txt"


class Kind(StrEnum):
    """How the voice was made."""

    FINETUNED = "finetuned"
    ZERO_SHOT = "zero_shot"


@dataclass(frozen=True, slots=True)
class VoiceCard:
    """voice.json: what this voice is and what it was made from."""

    name: str
    kind: Kind
    speaker: str | None  # row name in a fine-tuned checkpoint, lower case; None for a zero-shot voice
    language: str  # ISO code
    base: str  # hub id or folder the weights came from
    base_revision: str
    data_hash: str
    config_hash: str

    def write(self, folder: Path) -> None:
        """Write voice.json into a pack."""
        (folder / VOICE_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "VoiceCard":
        """Read a pack's voice.json. Raises InputError if it is missing or not one."""
        path = folder / VOICE_FILE
        try:
            fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**fields, "kind": Kind(fields["kind"])})
        except FileNotFoundError:
            raise InputError(f"{path} is missing: not a voice pack. Run `dvc repro` to make one.") from None
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}: is not a voice card ({error}). Run `dvc repro -f` to make the pack again."
            ) from error


@dataclass(frozen=True, slots=True)
class Reference:
    """The clip that a zero-shot voice imitates, and what is said in it."""

    audio: Path
    text: str

    @classmethod
    def read(cls, folder: Path) -> "Reference":
        """Find reference.wav and reference.txt in a folder. Raises InputError if one is missing or empty."""
        audio, text_file = folder / REFERENCE_AUDIO, folder / REFERENCE_TEXT
        if not audio.is_file() or not text_file.is_file():
            raise InputError(f"{audio} or {text_file.name} is missing. Run `dvc repro split`.")
        text = text_file.read_text(encoding="utf-8").strip()
        if not text:
            raise InputError(f"{text_file} is empty. Write the words that are said in {audio.name}.")
        return cls(audio, text)

    def copy_to(self, folder: Path) -> None:
        """Put both files into a pack."""
        shutil.copy(self.audio, folder / REFERENCE_AUDIO)
        (folder / REFERENCE_TEXT).write_text(self.text + "\n", encoding="utf-8")
