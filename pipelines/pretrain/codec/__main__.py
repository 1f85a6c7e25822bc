"""codec: a corpus -> the speech tokenizer of `nano`, trained from scratch on the stock classes.

python -m pipelines.pretrain.codec               # goes on where it stopped; `kill` it at any time
python -m pipelines.pretrain.codec device=cuda
python -m pipelines.pretrain.codec forced=.cache/pretrain/forced  # the last phase, once the talker has spoken
python -m pipelines.pretrain.codec.evaluate      # what it sounds like so far, to judges that took no part
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.pretrain.aligner.checkpoint import load_recogniser
from pipelines.pretrain.codec import layers
from pipelines.pretrain.codec.data import open_crops
from pipelines.pretrain.codec.forced import open_forced
from pipelines.pretrain.codec.likeness import Likeness
from pipelines.pretrain.codec.listener import Listener
from pipelines.pretrain.codec.model import Shape, TrainableCodec, parameters_by_part
from pipelines.pretrain.codec.train import Schedule, Trainer
from pipelines.pretrain.device import Device, keep_memory
from pipelines.pretrain.run import go_on
from pipelines.pretrain.speaker.checkpoint import load_encoder
from voice.bounds import within
from voice.stage import stage

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Codec:  # conf/codec.yaml
    """Settings of the stage."""

    corpus: str
    aligner: str
    speaker: str
    bounds: str
    recordings: str | None
    recordings_share: float = within(low=0, high=1)
    material: str
    forced: str | None
    out: str
    shape: Shape
    codebook_decay: float = within(low=0, high=1)
    revive_below: float = within(low=0)
    schedule: Schedule
    device: Device


def build(config: Codec) -> TrainableCodec:
    """The codec of a config, with the random weights of its seed."""
    torch.manual_seed(config.schedule.seed)
    factor = config.device.batch_factor
    return TrainableCodec(config.shape, decay=config.codebook_decay**factor, revive_below=config.revive_below * factor)


@stage(Codec)
def main(config: Codec) -> None:
    """Train, or go on training, until the last step of the schedule."""
    keep_memory()
    if config.device.fuse:
        layers.fuse()
    codec = build(config)
    log.info("numbers stored: %s", parameters_by_part(codec.stock))
    crops = open_crops(
        Path(config.corpus),
        Path(config.bounds),
        recordings=config.recordings,
        recordings_share=config.recordings_share,
        seed=config.schedule.seed,
    )
    schedule = config.schedule.with_larger_batches(config.device.batch_factor)
    listener = Listener(load_recogniser(Path(config.aligner)), hop=codec.hop)
    likeness = Likeness(load_encoder(Path(config.speaker)), hop=codec.hop)
    forced = None
    if config.forced is not None:
        forced = open_forced(
            Path(config.corpus),
            Path(config.material),
            Path(config.forced),
            recordings=config.recordings,
            recordings_share=config.recordings_share,
            seed=config.schedule.seed,
        )
    trainer = Trainer(codec, crops, listener, likeness, schedule, config.device, forced)
    go_on(trainer, Path(config.out), config.schedule, device=config.device.name)
    if forced is None and trainer.step >= trainer.steps:
        log.info(
            "done but for its last phase, for which the talker must have spoken: forced=.cache/pretrain/forced then"
        )


if __name__ == "__main__":
    main()
