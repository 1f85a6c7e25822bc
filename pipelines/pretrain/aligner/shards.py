"""The bounds of a shard's clips, for processes to make: what they run cannot lie in a `__main__`."""

from pathlib import Path

import torch

from pipelines.pretrain.aligner.align import bounds_of, even_bounds, speech_span
from pipelines.pretrain.aligner.bounds import BOUNDS_FOLDER, Bounds, has_bounds, write_bounds
from pipelines.pretrain.aligner.checkpoint import load_recogniser
from pipelines.pretrain.aligner.data import Batch, Heard
from pipelines.pretrain.aligner.model import Recogniser
from pipelines.pretrain.corpus import Shard, clip_waveform


@torch.inference_mode()
def align(recogniser: Recogniser, shard: Shard) -> list[Bounds]:
    """The bounds of every clip of a shard."""
    found = []
    for clip in shard.clips:
        waveform = clip_waveform(shard, clip)
        heard = Heard.of(waveform, clip.text)
        batch = Batch.of([heard])
        bounds = bounds_of(recogniser(batch.audio, batch.real)[0], heard.symbols)
        found.append(even_bounds(*speech_span(waveform), len(heard.symbols)) if bounds is None else bounds)
    return found


def align_shard(source: Path, *, aligner: Path) -> None:
    """Write the bounds of a shard's clips, unless that has been done."""
    folder = aligner / BOUNDS_FOLDER
    if not has_bounds(folder, source.name):
        torch.set_num_threads(1)
        write_bounds(folder, source.name, align(load_recogniser(aligner), Shard.read(source)))
