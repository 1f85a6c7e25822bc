"""A processed voice as its files lie on disk: a few seconds of tones, and whatever quality.csv says of them."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from voice.audio import SAMPLE_RATE, write_wav
from voice.manifest import Utterance, write_metadata

COLUMNS = [
    "id", "verdict", "reasons", "source", "seconds", "lufs", "peak_dbfs", "clipped_share", "snr_db", "bandwidth_hz",
    "reverberation_seconds", "longest_pause_seconds", "hum_db", "characters_per_second", "disagreement",
    "speaker_distance",
]  # fmt: skip


def row(name: str, verdict: str = "kept", reasons: str = "", **measures: object) -> dict[str, object]:
    """One line of quality.csv."""
    return {"id": name, "verdict": verdict, "reasons": reasons, "source": f"{name}.flac", **measures}


def write_quality(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_summary(folder: Path, *, minutes: float, clips: int, tier: str) -> None:
    (folder / "summary.json").write_text(json.dumps({"minutes": minutes, "clips": clips, "tier": tier}))


def tone(seconds: float = 0.5) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE)).astype(np.float32)


def write_voice(
    processed: Path, rows: Sequence[Mapping[str, object]], texts: Mapping[str, str], *, minutes: float = 1.0
) -> Path:
    """Write all that `describe` reads; rows with a source get audio, texts a line."""
    (processed / "wavs").mkdir(parents=True)
    write_quality(processed / "quality.csv", rows)
    write_metadata(processed / "metadata.csv", (Utterance(name, text) for name, text in texts.items()))
    for name in [str(r["id"]) for r in rows if r["source"]]:
        write_wav(processed / "wavs" / f"{name}.wav", tone())
    write_summary(processed, minutes=minutes, clips=len(texts), tier="below minimum")
    write_wav(processed / "reference.wav", tone(1.0))
    (processed / "reference.txt").write_text("What the reference says.\n")
    return processed
