"""aligner: material -> when each letter of each clip is spoken.

python -m pipelines.pretrain.aligner             # goes on where it stopped
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from pipelines.pretrain.aligner.align import Bounds, bounds_of, even_bounds, write_bounds
from pipelines.pretrain.aligner.data import Batch, Clips, Heard
from pipelines.pretrain.aligner.model import RATE, Shape
from pipelines.pretrain.aligner.train import Schedule, Trainer
from pipelines.pretrain.device import Device, keep_memory
from pipelines.pretrain.material import Codes, read_codes
from pipelines.pretrain.run import go_on
from pipelines.pretrain.sounds import read_sounds
from voice.bounds import within
from voice.stage import stage


@dataclass(kw_only=True)
class Aligner:  # conf/aligner.yaml
    """Settings of the stage."""

    material: str
    recordings: str | None
    out: str
    held_out_clips: int = within(low=1)
    shape: Shape
    schedule: Schedule
    device: Device


@torch.inference_mode()
def align(trainer: Trainer, shard: Codes) -> list[Bounds]:
    """The bounds of every clip of a shard."""
    found = []
    trainer.recogniser.eval()
    for line in shard.lines:
        heard = Heard.of(shard, line)
        scores = trainer.hear(Batch.of([heard]))[0, : RATE * line.frames]
        bounds = bounds_of(scores, heard.symbols)
        found.append(even_bounds(line.first, line.last, len(heard.symbols)) if bounds is None else bounds)
    return found


@stage(Aligner)
def main(config: Aligner) -> None:
    """Train, or go on training, then align what the talker learns from and what it is watched on."""
    keep_memory()
    material = Path(config.material)
    shards = read_codes(material, ["train", *([f"{config.recordings}_train"] if config.recordings else [])])
    unheard = read_codes(material, ["eval"])
    held_out = Batch.of([Heard.of(unheard[0], line) for line in unheard[0].lines[: config.held_out_clips]])
    clips = Clips(shards, seed=config.schedule.seed)
    trainer = Trainer(config.shape, read_sounds(material), clips, held_out, config.schedule, config.device)
    go_on(trainer, Path(config.out), config.schedule, device=config.device.name)
    for shard in tqdm([*shards, *unheard], desc="alignment", unit="shard"):
        write_bounds(Path(config.out) / "bounds", shard.folder.name, align(trainer, shard))


if __name__ == "__main__":
    main()
