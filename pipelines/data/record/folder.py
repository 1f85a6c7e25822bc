"""data/raw/<voice> as the recorder changes it. Whatever already lies there stays as it is, byte for byte."""

import functools
import os
import re
from pathlib import Path

import soundfile

from pipelines.data.split import TIERS
from voice.audio import AUDIO_SUFFIXES, read_channels
from voice.errors import InputError
from voice.manifest import Utterance, read_metadata


def check_name(voice: str) -> str:
    """Return the name of a voice that may be recorded. Raises InputError where it cannot be a folder's name."""
    if not voice.replace("_", "").replace("-", "").isalnum():
        raise InputError(f"voice {voice!r} cannot be a folder's name. Use letters, digits, - and _: VOICE=my_voice.")
    if voice.lower() == "demo":
        raise InputError("data/raw/demo is the synthetic demo, which git keeps. Choose another name: VOICE=my_voice.")
    return voice


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file whole, so that a crash or a power cut leaves either the old content or the new.

    Not by voice.publish, which removes the old file before it renames the new one: an output can be made again, a
    recording cannot.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too
    finally:
        os.close(folder)


def read_utterances(raw: Path) -> list[Utterance]:
    """What metadata.csv lists; nothing where it is missing or blank. Raises InputError for a line that is wrong."""
    path = raw / "metadata.csv"
    if not path.is_file() or not path.read_bytes().strip(b"\xef\xbb\xbf \t\r\n"):
        return []
    return read_metadata(path)


def add_line(raw: Path, utterance: Utterance) -> None:
    """Append `id|text` to metadata.csv; where the clip is listed already, leave it."""
    if utterance.id in {u.id for u in read_utterances(raw)}:
        return
    path = raw / "metadata.csv"
    before = path.read_bytes() if path.exists() else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    write_durably(path, before + f"{utterance.id}|{utterance.text}\n".encode())


def drop_line(raw: Path, clip: str) -> None:
    """Remove a clip's line from metadata.csv."""
    path = raw / "metadata.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if line.decode("utf-8-sig").partition("|")[0].strip() != clip]
    write_durably(path, b"".join(kept))


def audio_of(raw: Path) -> dict[str, Path]:
    """Clip name -> its audio file in wavs/."""
    wavs = raw / "wavs"
    files = sorted(wavs.iterdir()) if wavs.is_dir() else []
    return {f.stem: f for f in files if f.suffix.lower() in AUDIO_SUFFIXES and not f.name.startswith(".")}


def seconds_of(path: Path) -> float:
    """How long a clip is, silence included; 0 where it cannot be decoded, which `preprocess` will report."""
    return _seconds_of(path, path.stat().st_mtime_ns)


@functools.cache
def _seconds_of(path: Path, changed_ns: int) -> float:
    try:
        return float(soundfile.info(path).duration)
    except soundfile.LibsndfileError:
        pass  # not one of libsndfile's containers: decode it
    try:
        samples, rate = read_channels(path)
    except InputError:
        return 0.0
    return len(samples) / rate


def highest_number(voice: str, names: set[str]) -> int:
    """The highest n of the clip names `<voice>_<n>`; 0 where there is none."""
    numbers = (re.fullmatch(rf"{re.escape(voice)}_(\d+)", name) for name in names)
    return max((int(match[1]) for match in numbers if match), default=0)


def next_tier(minutes: float, clips: int) -> tuple[str, float, int] | None:
    """The next better amount of data: its name, and the minutes and clips that it takes; None at the best."""
    better = [t for t in TIERS if minutes < t[1] or clips < t[2]]
    return better[-1] if better else None
