"""report.html: the verdict, the table with its bounds, and the sentences to listen to, in one offline file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.eval.score import OTHER_SPEAKER, REAL
from pipelines.eval.settings import System
from pipelines.page import audio_source, template

TEMPLATE = Path(__file__).parent / "report.html.j2"

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
    return template(TEMPLATE).render(
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
        "source": audio_source(Path(row["audio"])) if row["audio"] else "",
    }
