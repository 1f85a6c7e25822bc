"""report.html: the verdict, the table with its bounds, and the sentences to listen to, in one offline file."""

import base64
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from pipelines.eval.score import OTHER_SPEAKER, REAL
from pipelines.eval.settings import System
from voice.audio import encode, read_waveform

Rows = Sequence[dict[str, str]]

LABELS = {
    REAL: "you, recorded (ceiling)",
    System.FINETUNED: "fine-tuned",
    System.ZERO_SHOT: "zero-shot, in context",
    System.ZERO_SHOT_EMBEDDING: "zero-shot, by embedding",
    OTHER_SPEAKER: "another speaker (floor)",
}


def render(voice: str, metrics: dict[str, Any], scores: dict[str, Any], *, names: dict[str, str], players: int) -> str:
    """Fill the template. `players` sentences get audio, those first that the fine-tuned voice spoke worst."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    return environment.get_template("report.html.j2").render(
        voice=voice,
        labels=LABELS,
        systems=metrics["systems"],
        differences=metrics["difference_to_zero_shot"],
        decision=metrics["decision"],
        names=names,
        sentences=_sentences(scores, players),
        recordings=[_player(row) for row in scores[REAL][: max(1, players // 4)]],
    )


def _sentences(scores: dict[str, Rows], players: int) -> list[dict[str, Any]]:
    first = {s: {r["sentence"]: r for r in scores[s] if r["take"] == "0"} for s in System}
    recorded = {row["sentence"]: row for row in scores[REAL]}
    worst = sorted(first[System.FINETUNED].values(), key=lambda row: (-float(row["wer"]), row["sentence"]))
    return [
        {
            "text": row["text"],
            "recorded": _player(recorded[row["sentence"]]) if row["sentence"] in recorded else None,
            "systems": {system: _player(first[system][row["sentence"]]) for system in System},
        }
        for row in worst[:players]
    ]


def _player(row: dict[str, str]) -> dict[str, Any]:
    return {
        "text": row["text"],
        "heard": row["transcript"],
        "wer": float(row["wer"]),
        "sim": float(row["sim"]),
        "error": row["error"],
        "source": _data_uri(row["audio"]) if row["audio"] else "",
    }


@functools.cache
def _data_uri(path: str) -> str:
    # mp3 plays in every browser; data: because MLflow shows reports in a frame that cannot reach other files
    return "data:audio/mpeg;base64," + base64.b64encode(encode(read_waveform(Path(path)), container="mp3")).decode()
