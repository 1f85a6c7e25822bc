"""talker: codes, texts and speaker embeddings -> talker and code predictor of `nano`.

python -m pipelines.pretrain.talker              # goes on where it stopped; `kill` it at any time
python -m pipelines.pretrain.talker device=cuda
"""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from pipelines.pretrain.aligner.bounds import read_bounds
from pipelines.pretrain.device import Device, keep_memory
from pipelines.pretrain.material import read_codes
from pipelines.pretrain.nano import fresh
from pipelines.pretrain.run import go_on
from pipelines.pretrain.sounds import read_sounds
from pipelines.pretrain.talker.data import Draws, Source, held_out
from pipelines.pretrain.talker.train import Schedule, Trainer, embed_as_they_sound, initialise
from voice.fresh import TalkerShape
from voice.prompt import Vocabulary
from voice.stage import stage

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Talker:  # conf/talker.yaml
    """Settings of the stage."""

    material: str
    bounds: str
    recordings: str | None
    language: str
    out: str
    shape: TalkerShape
    schedule: Schedule
    device: Device


def begin(shape: TalkerShape, *, seed: int) -> tuple[Any, Any, Vocabulary]:
    """A talker with random weights, its tokenizer and its vocabulary."""
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as scratch:
        model = fresh(Path(scratch), shape, {"enc_dim": shape.talker.hidden})
        tokenizer = AutoTokenizer.from_pretrained(scratch)
    initialise(model.talker)
    # eager tells what it looks at, for GuidedObjective; with short rows and narrow heads it is also a quarter of a step
    # faster than sdpa on a CPU
    model.talker.set_attn_implementation("eager")
    return model.talker, tokenizer, Vocabulary.of(model.config)


@stage(Talker)
def main(config: Talker) -> None:
    """Train, or go on training, until the last step of the schedule."""
    keep_memory()
    talker, tokenizer, vocabulary = begin(config.shape, seed=config.schedule.seed)
    material = Path(config.material)
    embed_as_they_sound(talker, read_sounds(material))
    log.info("%.1f million numbers", sum(p.numel() for p in talker.parameters()) / 1e6)

    def source(side: str) -> Source:
        shards = read_codes(material, [side])
        bounds = [
            read_bounds(Path(config.bounds), shard.folder.name, [line.text for line in shard.lines]) for shard in shards
        ]
        return Source(shards, bounds, tokenizer, language=config.language)

    recordings = source(f"{config.recordings}_train") if config.recordings else None
    draws = Draws(source("train"), recordings, vocabulary, config.schedule.mixture, seed=config.schedule.seed)
    schedule = config.schedule.with_larger_batches(config.device.batch_factor)
    unheard = held_out(
        source("eval"), vocabulary, positions=config.schedule.positions, candidates=config.schedule.candidates
    )
    trainer = Trainer(talker, draws, unheard, schedule, config.device)
    go_on(trainer, Path(config.out), config.schedule, device=config.device.name)


if __name__ == "__main__":
    main()
