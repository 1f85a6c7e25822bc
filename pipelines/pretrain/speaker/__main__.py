"""speaker: a corpus -> the speaker encoder of `nano`, and how well it tells unknown speakers apart.

python -m pipelines.pretrain.speaker             # goes on where it stopped
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.pretrain.corpus import Shard, read_side
from pipelines.pretrain.run import go_on
from pipelines.pretrain.speaker.data import Voices
from pipelines.pretrain.speaker.evaluate import judge
from pipelines.pretrain.speaker.train import Schedule, Shape, Trainer
from voice.bounds import within
from voice.stage import stage

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Speaker:  # conf/speaker.yaml
    """Settings of the stage."""

    corpus: str
    recordings: str | None
    out: str
    shape: Shape
    schedule: Schedule
    judged_clips: int = within(low=2)
    threads: int = within(low=1)


def open_shards(corpus: Path, *, recordings: str | None, side: str) -> list[Shard]:
    """One side of the corpus, with recordings where they are named."""
    return [*read_side(corpus, side), *(read_side(corpus, f"{recordings}_{side}") if recordings else [])]


@stage(Speaker)
def main(config: Speaker) -> None:
    """Train, or go on training, and judge what came out."""
    torch.set_num_threads(config.threads)
    corpus = Path(config.corpus)
    voices = Voices(open_shards(corpus, recordings=config.recordings, side="train"), seed=config.schedule.seed)
    trainer = Trainer(config.shape, voices, config.schedule)
    log.info("%d speakers, %d numbers", len(voices.speakers), sum(p.numel() for p in trainer.encoder.parameters()))
    go_on(trainer, Path(config.out), config.schedule, device="cpu")
    held_out = Voices(open_shards(corpus, recordings=config.recordings, side="eval"), seed=0)
    found = judge(trainer.encoder, held_out, each=config.judged_clips)
    log.info(
        "%d unknown speakers: equal error rate %.3f, nearest clip is the speaker's own %.3f, cosine %.3f against %.3f",
        *(len(held_out.speakers), found.equal_error_rate, found.nearest_is_own, found.same, found.different),
    )


if __name__ == "__main__":
    main()
