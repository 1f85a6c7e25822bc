"""plan: what will be said, and whether those who are to judge it can. Runs before anything is synthesised.

Its list of sentences is what `synthesize` waits for: another judge rewrites the same list, so nothing is spoken again.

python -m pipelines.eval.plan voice=demo judges=published
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from pipelines.eval.panel import floor_clips, held_out_clips, load_panel
from pipelines.eval.settings import Eval, Judges, MoreSystem, system_names
from pipelines.eval.texts import Sentence, digest, fixed_sentences, held_out_sentences, write_sentences
from voice.publish import publish
from voice.stage import output_root, stage

log = logging.getLogger(__name__)


@dataclass
class Plan:  # conf/plan.yaml
    """Settings of the stage."""

    voice: str
    language: str
    eval: Eval
    judges: Judges
    systems: dict[str, MoreSystem]


def choose(language: str, manifest: Path, *, text_limit: int | None, held_out_limit: int | None) -> list[Sentence]:
    """The fixed set of a language and the voice's held-out sentences, as many of each as asked for."""
    return fixed_sentences(language)[:text_limit] + held_out_sentences(manifest)[:held_out_limit]


@stage(Plan)
def main(config: Plan) -> None:
    """Choose the sentences of one voice, and try its judges on a clip."""
    settings = config.eval
    processed = Path("data/processed") / config.voice
    system_names(config.systems, settings.floors)
    held_out = held_out_clips(processed)
    for name, folder in settings.floors.items():
        floor_clips(name, Path(folder))
    sentences = choose(
        config.language,
        processed / "metadata_eval.csv",
        text_limit=settings.text_limit,
        held_out_limit=settings.held_out_limit,
    )
    panel = load_panel(config.judges, held_out, language=config.language, memory=None)
    panel.try_out(held_out[0])
    with publish(output_root() / "reports" / config.voice / "sentences.csv") as draft:
        write_sentences(draft, sentences)
    log.info("%d sentences, version %s; judges %s", len(sentences), digest(sentences), ", ".join(panel.names))


if __name__ == "__main__":
    main()
