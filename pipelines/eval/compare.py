"""compare: scores -> intervals, a verdict in words, metrics.json and report.html.

python -m pipelines.eval.compare voice=demo eval.wer_margin=0.02
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.eval.ballot import VOTES, Poll, Vote, poll, read_votes
from pipelines.eval.bootstrap import Interval, differences, mean_interval
from pipelines.eval.figures import Resampling, Rows, beside, by_sentence, summarise
from pipelines.eval.gate import Decision, Evidence, Margins, decide
from pipelines.eval.memory import audio_digest
from pipelines.eval.panel import metric_names
from pipelines.eval.ranks import holm, opinion
from pipelines.eval.report import Limits, render
from pipelines.eval.score import read_rows
from pipelines.eval.settings import CODEC, REAL, Eval, Judges, MoreSystem, System, system_names
from pipelines.eval.texts import digest, read_sentences
from voice.publish import publish
from voice.stage import output_root, stage
from voice.table import write_table

log = logging.getLogger(__name__)

BASELINE = System.ZERO_SHOT
_JUDGED = ("sim", "wer", "cer", "mos")


@dataclass
class Compare:  # conf/compare.yaml
    """Settings of the stage."""

    voice: str
    language: str
    eval: Eval
    judges: Judges
    systems: dict[str, MoreSystem]


@dataclass(frozen=True, slots=True)
class Scored:
    """What was scored: rows by name, systems and bounds apart."""

    rows: Mapping[str, Rows]
    systems: Sequence[str]

    @property
    def bounds(self) -> list[str]:
        """The ceilings, then the floors."""
        return [name for name in self.rows if name not in self.systems]


def measured_differences(
    scored: Scored, measures: Sequence[str], resampling: Resampling
) -> dict[str, dict[str, Interval]]:
    """Each system minus zero-shot in context, sentence by sentence, by measure."""
    return {
        system: {
            measure: mean_interval(
                _paired(scored, system, measure), resamples=resampling.resamples, seed=resampling.seed
            )
            for measure in measures
        }
        for system in scored.systems
        if system != BASELINE
    }


def _paired(scored: Scored, system: str, measure: str) -> dict[str, float]:
    return differences(by_sentence(scored.rows[system], measure), by_sentence(scored.rows[BASELINE], measure))


def second_opinions(scored: Scored, measures: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Wilcoxon's p, the same adjusted over all systems, and the effect size, by system and judged measure."""
    found = {
        system: {measure: asdict(opinion(_paired(scored, system, measure))) for measure in measures}
        for system in scored.systems
        if system != BASELINE
    }
    for measure in measures:
        adjusted = holm([found[system][measure]["wilcoxon_p"] for system in found])
        for system, p in zip(found, adjusted, strict=True):
            found[system][measure]["holm_p"] = p
    return found


def compare(
    scored: Scored, settings: Eval, names: Mapping[str, str], votes: Poll
) -> tuple[dict[str, Any], dict[str, Any], Decision]:
    """All figures, the headline, and the decision."""
    resampling = Resampling(settings.resamples, settings.seed)
    figures = {name: summarise(rows, names, resampling) for name, rows in scored.rows.items()}
    for ones in figures.values():
        ones |= beside(ones, figures[REAL])
    judged = [measure for measure in _JUDGED if measure in names]
    changes = measured_differences(scored, [*judged, "runaway"], resampling)
    tuned = changes[System.FINETUNED]
    sentences = figures[BASELINE]["sentences"]
    decision = decide(
        Evidence(tuned["sim"], tuned["wer"], tuned["runaway"], sentences, votes),
        Margins(settings.sim_margin, settings.wer_margin, settings.runaway_margin, settings.votes),
    )
    labels = {**names, "runaway": "runaway_share"}
    opinions = second_opinions(scored, judged)
    metrics = {
        "systems": {name: figures[name] for name in scored.systems},
        "bounds": {name: figures[name] for name in scored.bounds},
        "difference_to_zero_shot": {
            system: {labels[m]: asdict(interval) | opinions[system].get(m, {}) for m, interval in measures.items()}
            for system, measures in changes.items()
        },
        "votes": asdict(votes),
        "decision": {"outcome": decision.outcome, "reason": decision.reason, "winner": decision.winner},
    }
    return metrics, headline(metrics, names), decision


def headline(metrics: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The few figures that `dvc metrics diff` and `dvc exp show` are to show."""
    tuned = metrics["difference_to_zero_shot"][System.FINETUNED]
    both = (names["sim"], names["wer"])
    return {
        "verdict": metrics["decision"]["outcome"],
        **{system: {name: metrics["systems"][system][name] for name in both} for system in metrics["systems"]},
        "ceiling": {name: metrics["bounds"][REAL][name] for name in both},
        "finetuned_minus_zero_shot": {
            name: {end: tuned[name][end] for end in ("mean", "low", "high", "detectable")} for name in both
        },
    }


def plot_rows(metrics: Mapping[str, Any], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """A line for each system or bound and judged measure: what `dvc plots` draws."""
    return [
        {"system": name, "measure": measure, "value": figures[measure]}
        | {end: figures[f"{measure}_{end}"] for end in ("low", "high")}
        for group in ("systems", "bounds")
        for name, figures in metrics[group].items()
        for measure in names.values()
    ]


def count_votes(votes: Sequence[Vote], voice: str, scored: Scored, *, first: int) -> Poll:
    """The owner's votes between the fine-tuned voice and zero-shot on the takes that were scored."""
    pair = (System.FINETUNED, BASELINE)
    if not any(vote.voice == voice for vote in votes):
        return Poll(0, 0, 0)
    audio = {s.value: {audio_digest(Path(r["audio"])) for r in scored.rows[s] if r["audio"]} for s in pair}
    return poll(votes, voice, *pair, audio, first=first)


def says(detectable: float | None) -> str:
    """A detectable difference, in figures."""
    return "unknown" if detectable is None else f"{detectable:.3f}"


@stage(Compare)
def main(config: Compare) -> None:
    """Compare one voice's systems."""
    reports, settings = Path("reports") / config.voice, config.eval
    systems = system_names(config.systems, settings.floors)
    everything = [*systems, REAL, CODEC, *settings.floors]
    scored = Scored({name: read_rows(reports / "scores" / f"{name}.csv") for name in everything}, systems)
    names, votes = (
        metric_names(config.judges),
        count_votes(read_votes(VOTES), config.voice, scored, first=config.eval.votes),
    )
    metrics, headlines, decision = compare(scored, settings, names, votes)
    sentences = read_sentences(reports / "sentences.csv")
    metrics["texts"] = {"language": config.language, "sentences": len(sentences), "version": digest(sentences)}
    out = output_root() / reports
    with publish(out / "metrics.json") as draft:
        draft.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    with publish(out / "headline.json") as draft:
        draft.write_text(json.dumps(headlines, indent=2) + "\n", encoding="utf-8")
    write_table(out / "figures.csv", ("system", "measure", "value", "low", "high"), plot_rows(metrics, names))
    with publish(out / "report.html") as draft:
        limits = Limits(settings.players, settings.audio_megabytes, settings.next_sentences)
        spoken = Path("data/processed") / config.voice / "metadata_train.csv"
        page = render(config.voice, config.language, metrics, scored.rows, names=names, spoken=spoken, limits=limits)
        draft.write_text(page, encoding="utf-8")
    changes = metrics["difference_to_zero_shot"][System.FINETUNED]
    sizes = ", ".join(f"{name} {says(changes[name]['detectable'])}" for name in names.values())
    log.info("%s: %s", decision.outcome, decision.reason)
    log.info("smallest differences that this set would have shown: %s", sizes)


if __name__ == "__main__":
    main()
