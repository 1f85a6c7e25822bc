"""compare: scores -> intervals, a verdict in words, metrics.json and report.html.

python -m pipelines.eval.compare voice=demo eval.wer_margin=0.02
"""

import csv
import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.eval.bootstrap import Interval, mean_interval, paired_difference
from pipelines.eval.gate import Decision, decide
from pipelines.eval.report import render
from pipelines.eval.score import OTHER_SPEAKER, REAL
from pipelines.eval.settings import Eval, System
from voice.asr import metric_name
from voice.publish import publish
from voice.stage import output_root, stage

log = logging.getLogger(__name__)


@dataclass
class Compare:  # conf/compare.yaml
    """Settings of the stage."""

    voice: str
    eval: Eval


def read_scores(path: Path) -> list[dict[str, str]]:
    """Read one system's scores."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def by_sentence(rows: Sequence[dict[str, str]], column: str) -> dict[str, float]:
    """Average a measure over the takes of each sentence."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        values[row["sentence"]].append(float(row[column]))
    return {sentence: float(np.mean(v)) for sentence, v in values.items()}


def metric_names(settings: Eval) -> dict[str, str]:
    """Column of the scores -> metric name with its judge's name; the same for all voices and systems."""
    asr = settings.asr if settings.asr == "pocketsphinx" else metric_name(settings.asr_model)
    return {"wer": f"wer_{asr}", "cer": f"cer_{asr}", "sim": f"sim_{settings.speaker}"}


def summarise(rows: Sequence[dict[str, str]], names: dict[str, str], settings: Eval) -> dict[str, Any]:
    """One system's metrics: each judged measure with its interval, and what needs none."""
    metrics: dict[str, Any] = {}
    for column, name in names.items():
        interval = mean_interval(by_sentence(rows, column), resamples=settings.resamples, seed=settings.seed)
        metrics |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
    spoken = [row for row in rows if not row["error"]]
    metrics["characters_per_second"] = float(np.mean([float(r["characters_per_second"]) for r in spoken] or [0.0]))
    metrics["utterances"] = len(rows)
    if rows[0]["rtf"] or rows[0]["error"]:
        metrics["failed_share"] = 1 - len(spoken) / len(rows)
        metrics["runaway_share"] = sum(row["runaway"] == "True" for row in rows) / len(rows)
        metrics["rtf"] = float(np.mean([float(r["rtf"]) for r in spoken] or [0.0]))
    return metrics


def compare(scores: dict[str, list[dict[str, str]]], settings: Eval) -> tuple[dict[str, Any], Decision]:
    """All metrics, the paired differences to the zero-shot baseline, and the decision."""
    names = metric_names(settings)
    baseline = scores[System.ZERO_SHOT]
    systems = {name: summarise(rows, names, settings) for name, rows in scores.items()}
    for metrics in systems.values():
        metrics["speaking_rate_ratio"] = metrics["characters_per_second"] / systems[REAL]["characters_per_second"]
    differences = {
        system: {column: _difference(scores[system], baseline, column, settings) for column in names}
        for system in (System.FINETUNED, System.ZERO_SHOT_EMBEDDING)
    }
    tuned = differences[System.FINETUNED]
    sentences = len(by_sentence(baseline, "sim"))
    decision = decide(tuned["sim"], tuned["wer"], sentences=sentences, wer_margin=settings.wer_margin)
    metrics = {
        "systems": systems,
        "difference_to_zero_shot": {
            system: {names[column]: asdict(interval) for column, interval in columns.items()}
            for system, columns in differences.items()
        },
        "decision": {"outcome": decision.outcome, "reason": decision.reason, "winner": decision.winner},
    }
    return metrics, decision


def _difference(
    rows: Sequence[dict[str, str]], baseline: Sequence[dict[str, str]], column: str, settings: Eval
) -> Interval:
    return paired_difference(
        by_sentence(rows, column), by_sentence(baseline, column), resamples=settings.resamples, seed=settings.seed
    )


def _says(detectable: float | None) -> str:
    return "unknown" if detectable is None else f"{detectable:.3f}"


@stage(Compare)
def main(config: Compare) -> None:
    """Compare one voice's systems."""
    report = Path("reports") / config.voice
    scores = {name: read_scores(report / "scores" / f"{name}.csv") for name in [*System, REAL, OTHER_SPEAKER]}
    metrics, decision = compare(scores, config.eval)
    out = output_root() / report
    with publish(out / "metrics.json") as draft:
        draft.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    with publish(out / "report.html") as draft:
        page = render(config.voice, metrics, scores, names=metric_names(config.eval), players=config.eval.players)
        draft.write_text(page, encoding="utf-8")
    detectable = metrics["difference_to_zero_shot"][System.FINETUNED]
    sizes = ", ".join(f"{name} {_says(interval['detectable'])}" for name, interval in detectable.items())
    log.info("%s: %s", decision.outcome, decision.reason)
    log.info("smallest differences that this set would have shown: %s", sizes)


if __name__ == "__main__":
    main()
