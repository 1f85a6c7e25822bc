"""report.html: the verdict, the figures between their bounds, every sentence to hear and see; one offline file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.data.report import record_next
from pipelines.eval.bootstrap import Interval
from pipelines.eval.figures import Rows, by_sentence
from pipelines.eval.metrics import Stretch, compare
from pipelines.eval.settings import CODEC, REAL, System
from pipelines.eval.texts import FIXED, HELD_OUT
from pipelines.page import audio_source, template
from voice.manifest import read_metadata

TEMPLATE = Path(__file__).parent / "report.html.j2"

LABELS = {
    REAL: "you, recorded",
    CODEC: "you, through the speech tokenizer",
    System.FINETUNED: "fine-tuned",
    System.FINETUNED_IN_CONTEXT: "fine-tuned, in context",
    System.ZERO_SHOT: "zero-shot, in context",
    System.ZERO_SHOT_EMBEDDING: "zero-shot, by embedding",
}
HEARD = (System.ZERO_SHOT, System.FINETUNED)  # beside the recording, where there is one
_HELD_OUT_SHARE = 3  # every third player row at least says what was recorded, too
_WORSE_KIND = 1.25  # times the mean word error rate: a kind of text worth recording


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the page shows."""

    players: int
    audio_megabytes: float
    next_sentences: int


def render(
    voice: str,
    language: str,
    metrics: Mapping[str, Any],
    rows: Mapping[str, Rows],
    *,
    names: Mapping[str, str],
    spoken: Path,
    limits: Limits,
) -> str:
    """Fill the template. `spoken` is the manifest of what the voice was trained on."""
    code = "en" if language == "auto" else language
    systems, bounds = metrics["systems"], metrics["bounds"]
    labels = {name: LABELS.get(name, name.replace("_", " ")) for name in (*bounds, *systems)}
    return template(TEMPLATE).render(
        voice=voice,
        language=code,
        decision=metrics["decision"],
        labels=labels,
        order=[REAL, CODEC, *sorted(systems, key=list(labels).index), *(b for b in bounds if b not in (REAL, CODEC))],
        figures={**bounds, **systems},
        floors=[name for name in bounds if name not in (REAL, CODEC)],
        differences=metrics["difference_to_zero_shot"],
        names=names,
        texts=metrics["texts"],
        votes=metrics["votes"],
        plots=[dot_plot(name, {**bounds, **systems}) for name in names.values()],
        tuned=[
            zero_plot(n, metrics["difference_to_zero_shot"][System.FINETUNED][n]) for n in (names["sim"], names["wer"])
        ],
        kinds=kinds(systems),
        sentences=list(sentence_rows(rows, limits, language=code)),
        heard=HEARD,
        recordings=[player(row, code) for row in rows[REAL][:2]],
        weak=weak_kinds(systems[System.FINETUNED]["by_kind"]),
        record=record_next([u.text for u in read_metadata(spoken)], code, count=limits.next_sentences),
    )


def dot_plot(measure: str, figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Where each system's dot and interval lie, in percent of the width, and where the owner's."""
    low = min(f[f"{measure}_low"] for f in figures.values())
    high = max(f[f"{measure}_high"] for f in figures.values())
    return {
        "measure": measure,
        "low": low,
        "high": high,
        "ceiling": _percent(figures[REAL][measure], low, high),
        "rows": {
            name: {end: _percent(f[measure + suffix], low, high) for end, suffix in _ENDS.items()}
            for name, f in figures.items()
        },
    }


_ENDS = {"low": "_low", "dot": "", "high": "_high"}


def zero_plot(measure: str, difference: Mapping[str, Any]) -> dict[str, Any]:
    """A difference with its interval about zero, in percent of the width."""
    interval = Interval(*(difference[end] for end in ("mean", "low", "high", "detectable")))
    reach = 1.1 * max(abs(interval.low), abs(interval.high), interval.detectable or 0.0, 1e-6)
    ends = {"low": interval.low, "dot": interval.mean, "high": interval.high}
    return {
        "measure": measure,
        "interval": interval,
        "better": "more" if measure.startswith("sim") else "less",
        "at": {end: _percent(value, -reach, reach) for end, value in ends.items()},
        "reach": reach,
    }


def _percent(value: float, low: float, high: float) -> float:
    return round(100 * (value - low) / (high - low), 2) if high > low else 50.0


def kinds(systems: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each kind of text with every system's word error rate and similarity."""
    found = dict.fromkeys(kind for figures in systems.values() for kind in figures["by_kind"])
    return [{"kind": kind, "systems": {s: f["by_kind"].get(kind) for s, f in systems.items()}} for kind in found]


def weak_kinds(by_kind: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Kinds of text that are understood clearly worse than the usual one, the worst first."""
    usual = sum(f["wer"] for f in by_kind.values()) / len(by_kind)
    worse = {kind: f["wer"] for kind, f in by_kind.items() if f["wer"] > max(_WORSE_KIND * usual, 0.02)}
    return sorted(worse, key=lambda kind: -worse[kind])


def sentence_rows(rows: Mapping[str, Rows], limits: Limits, *, language: str) -> Iterator[dict[str, Any]]:
    """All sentences, those first that the fine-tuned voice spoke worst; the first of them with players."""
    means = {s: {c: by_sentence(rows[s], c) for c in ("wer", "sim")} for s in HEARD}
    first = {s: {r["sentence"]: r for r in rows[s] if r["take"] == "0"} for s in HEARD}
    recorded = {row["sentence"]: row for row in rows[REAL]}
    tuned = means[System.FINETUNED]
    ranked = sorted(
        first[System.FINETUNED].values(),
        key=lambda r: (-tuned["wer"][r["sentence"]], tuned["sim"][r["sentence"]], r["sentence"]),
    )
    with_audio = set(_chosen(ranked, limits.players))
    left = limits.audio_megabytes * 1e6
    for row in ranked:
        name = row["sentence"]
        takes: dict[str, Any] = {s: player(first[s][name], language, silent=name not in with_audio) for s in HEARD}
        if name in recorded:
            takes[REAL] = player(recorded[name], language, silent=name not in with_audio)
        left -= sum(len(take["source"]) for take in takes.values()) * 3 / 4  # base64: four characters for three bytes
        if left < 0:
            takes = {key: {**take, "source": ""} for key, take in takes.items()}
        yield {
            "id": name,
            "text": row["text"],
            "kind": row["kind"] or "held out",
            "takes": takes,
            "means": {s: {c: means[s][c][name] for c in ("wer", "sim")} for s in HEARD},
        }


def _chosen(ranked: Sequence[Mapping[str, str]], players: int) -> list[str]:
    # the worst; but a third of them held-out sentences, where there is a recording to compare with
    origins = {origin: [r["sentence"] for r in ranked if r["origin"] == origin] for origin in (HELD_OUT, FIXED)}
    held_out = origins[HELD_OUT][: -(-players // _HELD_OUT_SHARE)]
    rest = [r["sentence"] for r in ranked if r["sentence"] not in held_out]
    return [*held_out, *rest][:players]


def player(row: Mapping[str, str], language: str, *, silent: bool = False) -> dict[str, Any]:
    """One take: its audio, unless it is `silent`, its figures, and what was heard beside what is written."""
    return {
        "text": row["text"],
        "wer": float(row["wer"]),
        "sim": float(row["sim"]),
        "marks": [mark for mark in ("runaway", "early_stop", "silent") if row[mark] == "True"],
        "error": row["error"],
        "source": "" if silent or not row["audio"] else audio_source(Path(row["audio"])),
        "words": words_heard(row, language),
    }


def words_heard(row: Mapping[str, str], language: str) -> list[Stretch]:
    """The text as runs that were understood and runs that were not; nothing where nothing was spoken."""
    if row["error"]:
        return []
    return compare(row["text"], row["transcript"], spoken=row["spoken"], language=language).stretches()
