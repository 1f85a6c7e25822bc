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

from pipelines.pretrain.device import Device, keep_memory
from pipelines.pretrain.material import CHECKPOINT_FOLDER, read_codes
from pipelines.pretrain.nano import fresh
from pipelines.pretrain.run import go_on
from pipelines.pretrain.talker.data import Draws, Source, held_out
from pipelines.pretrain.talker.train import Schedule, Trainer, embed_as_they_sound, initialise
from voice.engine.vocoder import code_tables
from voice.fresh import TalkerShape
from voice.prompt import Vocabulary
from voice.stage import stage
from voice.upstream import Qwen3TTSTokenizer

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Talker:  # conf/talker.yaml
    """Settings of the stage."""

    material: str
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
    # short rows and narrow heads: a quarter of a step faster than sdpa on a CPU
    model.talker.set_attn_implementation("eager")
    return model.talker, tokenizer, Vocabulary.of(model.config)


@stage(Talker)
def main(config: Talker) -> None:
    """Train, or go on training, until the last step of the schedule."""
    keep_memory()
    talker, tokenizer, vocabulary = begin(config.shape, seed=config.schedule.seed)
    material = Path(config.material)
    codec = Qwen3TTSTokenizer.from_pretrained(str(material / CHECKPOINT_FOLDER / "speech_tokenizer"))
    embed_as_they_sound(talker, code_tables(codec.model.decoder))
    log.info("%.1f million numbers", sum(p.numel() for p in talker.parameters()) / 1e6)
    corpus = Source(read_codes(material, ["train"]), tokenizer, language=config.language)
    recordings = None
    if config.recordings:
        shards = read_codes(material, [f"{config.recordings}_train"])
        recordings = Source(shards, tokenizer, language=config.language)
    draws = Draws(corpus, recordings, vocabulary, config.schedule.mixture, seed=config.schedule.seed)
    schedule = config.schedule.with_larger_batches(config.device.batch_factor)
    unheard = held_out(
        Source(read_codes(material, ["eval"]), tokenizer, language=config.language),
        vocabulary,
        positions=config.schedule.positions,
        candidates=config.schedule.candidates,
    )
    trainer = Trainer(talker, draws, unheard, schedule, config.device)
    go_on(trainer, Path(config.out), config.schedule, device=config.device.name)


if __name__ == "__main__":
    main()
