"""codec: a corpus -> the speech tokenizer of `nano`, trained from scratch on the stock classes.

python -m pipelines.pretrain.codec               # goes on where it stopped; `kill` it at any time
python -m pipelines.pretrain.codec device=cuda
python -m pipelines.pretrain.codec.evaluate      # what it sounds like so far, to judges that took no part
"""

import ctypes
import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.pretrain.codec import layers
from pipelines.pretrain.codec.data import open_crops
from pipelines.pretrain.codec.model import Shape, TrainableCodec, parameters_by_part
from pipelines.pretrain.codec.train import Device, Line, Schedule, Trainer, fit, resume
from voice.bounds import within
from voice.stage import stage

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Codec:  # conf/codec.yaml
    """Settings of the stage."""

    corpus: str
    recordings: str | None
    recordings_share: float = within(low=0, high=1)
    out: str
    shape: Shape
    codebook_decay: float = within(low=0, high=1)
    revive_below: float = within(low=0)
    schedule: Schedule
    device: Device


def keep_memory() -> None:
    """Tell glibc to keep what is freed. Otherwise each tensor above 32 MB is fetched from the kernel page by page."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        libc.mallopt(mmap_threshold, 2**30)
        libc.mallopt(trim_threshold, 2**31 - 1)


def build(config: Codec) -> TrainableCodec:
    """The codec of a config, with the random weights of its seed."""
    torch.manual_seed(config.schedule.seed)
    return TrainableCodec(config.shape, decay=config.codebook_decay, revive_below=config.revive_below)


def report(line: Line) -> None:
    """One line of progress."""
    log.info(
        "step %6d  %.2f h  loss %.4f  envelope %.4f  mel %.4f  convergence %.4f  commitment %.3f  norm %.2f  "
        "codes %.0f (least %.0f)",
        *(
            line.step,
            line.hours,
            line.loss,
            line.envelope,
            line.mel,
            line.convergence,
            line.commitment,
            line.gradient_norm,
        ),
        *(line.used_codes, line.least_used),
    )


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
        recordings=config.recordings,
        recordings_share=config.recordings_share,
        seed=config.schedule.seed,
    )
    trainer, out = Trainer(codec, crops, config.schedule, config.device), Path(config.out)
    if resume(trainer, out):
        log.info("going on from step %d", trainer.step)
    fit(trainer, out, report=report)


if __name__ == "__main__":
    main()
