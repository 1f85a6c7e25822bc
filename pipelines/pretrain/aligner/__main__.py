"""aligner: a corpus -> when each letter of each clip is spoken.

python -m pipelines.pretrain.aligner             # goes on where it stopped
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pipelines.pretrain.aligner.bounds import BOUNDS_FOLDER
from pipelines.pretrain.aligner.data import Batch, Clips, Heard
from pipelines.pretrain.aligner.model import Shape
from pipelines.pretrain.aligner.shards import align_shard
from pipelines.pretrain.aligner.train import Schedule, Trainer
from pipelines.pretrain.corpus import clip_waveform, read_side
from pipelines.pretrain.device import Device, keep_memory
from pipelines.pretrain.run import fit, resume
from pipelines.workers import workers
from voice.bounds import within
from voice.publish import remove
from voice.stage import stage


@dataclass(kw_only=True)
class Aligner:  # conf/aligner.yaml
    """Settings of the stage."""

    corpus: str
    recordings: str | None
    out: str
    held_out_clips: int = within(low=1)
    processes: int = within(low=1)
    shape: Shape
    schedule: Schedule
    device: Device


@stage(Aligner)
def main(config: Aligner) -> None:
    """Train, or go on training, then align what codec and talker learn from and what the talker is watched on."""
    keep_memory()
    names = ["train", *([f"{config.recordings}_train"] if config.recordings else [])]
    shards = [shard for name in names for shard in read_side(Path(config.corpus), name)]
    unheard = read_side(Path(config.corpus), "eval")
    some = [(shard, clip) for shard in unheard for clip in shard.clips][: config.held_out_clips]
    held_out = Batch.of([Heard.of(clip_waveform(shard, clip), clip.text) for shard, clip in some])
    clips = Clips(shards, seed=config.schedule.seed)
    trainer = Trainer(config.shape, clips, held_out, config.schedule, config.device)
    resume(trainer, Path(config.out), device=config.device.name)
    if trainer.step < trainer.steps:
        remove(Path(config.out) / BOUNDS_FOLDER)  # they would be those of a recogniser that had learnt less
    fit(trainer, Path(config.out), config.schedule)
    if trainer.step < trainer.steps:
        return  # stopped
    work = partial(align_shard, aligner=Path(config.out))
    sources = [shard.folder for shard in (*shards, *unheard)]
    with workers(config.processes) as pool:
        for _ in tqdm(pool.map(work, sources), total=len(sources), desc="alignment", unit="shard"):
            pass


if __name__ == "__main__":
    main()
