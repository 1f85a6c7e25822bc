"""Scores of one system -> its figures: means with intervals, shares, and how it speaks beside the owner."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np

from pipelines.eval.bootstrap import mean_interval

Rows = Sequence[Mapping[str, str]]
_SHARES = {"runaway": "runaway_share", "early_stop": "early_stop_share", "silent": "silent_share"}
_MEANS = {
    "characters_per_second": "characters_per_second",
    "level_dbfs": "level_dbfs",
    "level_db": "level_db",
    "pause_share": "pause_share",
    "pauses_per_second": "pauses_per_second",
    "clipped_share": "clipped_share",
    "pitch_semitones": "pitch_semitones",
}


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are made."""

    resamples: int
    seed: int


def by_sentence(rows: Rows, column: str) -> dict[str, float]:
    """Average a measure over the takes of each sentence; True counts 1, False and nothing 0."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        values[row["sentence"]].append(_number(row[column]))
    return {sentence: fmean(v) for sentence, v in values.items()}


def _number(cell: str) -> float:
    return float({"True": "1", "False": "0", "": "0"}.get(cell, cell))


def known(rows: Rows, column: str) -> list[float]:
    """The values of a column that are there."""
    return [float(row[column]) for row in rows if row[column]]


def summarise(rows: Rows, names: Mapping[str, str], resampling: Resampling) -> dict[str, Any]:
    """One system's figures: each judged measure with its interval, then what needs none. Flat names, but `by_kind`."""
    figures: dict[str, Any] = {}
    for column, name in names.items():
        interval = mean_interval(by_sentence(rows, column), resamples=resampling.resamples, seed=resampling.seed)
        figures |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    wer = names["wer"]
    figures[f"{wer}_median"] = median(by_sentence(rows, "wer").values())
    figures[f"{wer}_pooled"] = sum(known(rows, "errors")) / max(1.0, sum(known(rows, "words")))
    figures |= {"utterances": len(rows), "sentences": len({row["sentence"] for row in rows})}
    figures["failed_share"] = sum(bool(row["error"]) for row in rows) / len(rows)
    figures |= {name: sum(row[column] == "True" for row in rows) / len(rows) for column, name in _SHARES.items()}
    figures |= {name: fmean(values) for column, name in _MEANS.items() if (values := _said(rows, column))}
    if tones := known(rows, "pitch_hz"):
        figures["pitch_hz"] = median(tones)
    figures |= {name: fmean(values) for name in ("rtf", "first_audio_seconds") if (values := known(rows, name))}
    figures["by_kind"] = {
        kind: {column: fmean(_number(row[column]) for row in rows if _kind(row) == kind) for column in ("wer", "sim")}
        for kind in dict.fromkeys(map(_kind, rows))
    }
    return figures


def _said(rows: Rows, column: str) -> list[float]:
    return known([row for row in rows if not row["error"] and row["silent"] != "True"], column)


def _kind(row: Mapping[str, str]) -> str:
    return row["kind"] or row["origin"]


def beside(figures: Mapping[str, Any], owner: Mapping[str, Any]) -> dict[str, float]:
    """How a system speaks beside the owner: pace as a ratio, pitch in semitones, the rest as differences."""
    found: dict[str, float] = {}
    if figures.get("characters_per_second"):
        found["speaking_rate_ratio"] = figures["characters_per_second"] / owner["characters_per_second"]
    if "pitch_hz" in figures and "pitch_hz" in owner:
        found["pitch_difference_semitones"] = float(12 * np.log2(figures["pitch_hz"] / owner["pitch_hz"]))
    for name, label in (
        ("pitch_semitones", "pitch_spread_difference_semitones"),
        ("level_dbfs", "level_difference_db"),
        ("level_db", "level_spread_difference_db"),
        ("pause_share", "pause_share_difference"),
    ):
        if name in figures and name in owner:
            found[label] = figures[name] - owner[name]
    return found
