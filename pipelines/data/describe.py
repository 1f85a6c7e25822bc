"""describe: a processed voice -> data.html, what it holds, what to hear, what to record next; figures in data.json.

python -m pipelines.data.describe voice=demo language=en data.players=6
"""

import json
import logging
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.data.coverage import Coverage, Kind, Tone, coverage
from pipelines.data.report import Limits, Progress, render
from pipelines.data.sounds import is_pair
from pipelines.data.verdicts import MEASURES, Clip, Verdict, read_voice
from voice.bounds import within
from voice.errors import InputError
from voice.pack import Reference
from voice.publish import publish
from voice.stage import output_root, stage

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Page:  # conf/data/describe.yaml
    """What a voice should hold, and how much the page shows."""

    question_share: float = within(low=0, high=1)
    exclamation_share: float = within(low=0, high=1)
    happy_share: float = within(low=0, high=1)
    serious_share: float = within(low=0, high=1)
    next_sentences: int = within(low=0)
    players: int = within(low=0)
    audio_megabytes: float = within(low=0)
    table_rows: int = within(low=0)


@dataclass
class Describe:  # conf/describe.yaml
    """Settings of the stage."""

    voice: str
    language: str
    data: Page


def read_progress(path: Path) -> Progress:
    """Read the summary that `split` writes. Raises InputError if it is missing or holds no tier."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        return Progress(float(summary["minutes"]), int(summary["clips"]), str(summary["tier"]))
    except FileNotFoundError:
        raise InputError(f"{path} is missing. Run `dvc repro split`.") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is not a summary ({error}). Run `dvc repro -f split`.") from error


def figures(clips: Sequence[Clip], covered: Coverage, progress: Progress) -> dict[str, Any]:
    """What data.json holds: counts, shares and medians, comparable from run to run."""
    verdicts = Counter(clip.verdict for clip in clips)
    singles = [unit for unit in covered.aim if not is_pair(unit)]
    used = [clip for clip in clips if clip.is_used]
    medians = {
        measure.column: round(statistics.median(values), 4)
        for measure in MEASURES
        if (values := [clip.measures[measure.column] for clip in used if measure.column in clip.measures])
    }
    return {
        "tier": progress.tier,
        "minutes": progress.minutes,
        "clips": {verdict: verdicts[verdict] for verdict in Verdict},
        "sounds": {
            "covered_share": round(covered.share, 4),
            "single_covered_share": round(sum(unit in covered.covered for unit in singles) / len(singles), 4),
            "missing": len(covered.missing),
            "rare": len(covered.rare),
            "unknown_words": len(covered.unknown),
        },
        "kinds": {kind: covered.kinds.get(kind, 0) for kind in Kind},
        "tones": {tone: covered.tones.get(tone, 0) for tone in Tone},  # of clips that read a shipped sentence
        "median": medians,
    }


@stage(Describe)
def main(config: Describe) -> None:
    """Describe one voice."""
    processed = Path("data/processed") / config.voice
    clips, progress = read_voice(processed), read_progress(processed / "summary.json")
    covered = coverage([clip.text for clip in clips if clip.is_used], config.language)
    settings = config.data
    page = render(
        config.voice,
        config.language,
        clips,
        covered,
        progress,
        Reference.read(processed),
        aims={
            Kind.QUESTION: settings.question_share,
            Kind.EXCLAMATION: settings.exclamation_share,
            Tone.HAPPY: settings.happy_share,
            Tone.SERIOUS: settings.serious_share,
        },
        limits=Limits(settings.next_sentences, settings.players, settings.audio_megabytes, settings.table_rows),
    )
    out = output_root() / "reports" / config.voice
    with publish(out / "data.json") as draft:
        draft.write_text(json.dumps(figures(clips, covered, progress), indent=2) + "\n", encoding="utf-8")
    with publish(out / "data.html") as draft:
        draft.write_text(page, encoding="utf-8")
    log.info(
        "%d clips, %.1f minutes: tier %s; %.0f %% of the sounds that the shipped sentences hold",
        progress.clips, progress.minutes, progress.tier, 100 * covered.share,
    )  # fmt: skip
    log.info("see %s", out / "data.html")


if __name__ == "__main__":
    main()
