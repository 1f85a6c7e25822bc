"""Where each letter of a clip's text begins and ends."""

from itertools import pairwise

import numpy as np
import torch
import torchaudio.functional as TA
from jaxtyping import Float, Int64
from torch import Tensor

from pipelines.pretrain.aligner.bounds import Bounds
from pipelines.pretrain.aligner.model import RATE
from voice.audio import FRAME_SAMPLES, Waveform

SILENCE_DBFS = -50.0  # RMS of a frame; clips speak at -25


def speech_span(waveform: Waveform) -> tuple[int, int]:
    """The frame in which speech begins and the one after which it has ended; all frames of a silent clip."""
    frames = -(-len(waveform) // FRAME_SAMPLES)
    padded = np.pad(waveform, (0, frames * FRAME_SAMPLES - len(waveform))).reshape(frames, FRAME_SAMPLES)
    loud = np.flatnonzero(np.sqrt(np.square(padded).mean(axis=1)) > 10 ** (SILENCE_DBFS / 20))
    return (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, frames)


def even_bounds(first: float, last: float, letters: int) -> Bounds:
    """As if all letters took as long."""
    return np.linspace(first, last, letters + 1, dtype=np.float32)


def bounds_of(scores: Float[Tensor, "outputs symbols"], symbols: Int64[Tensor, " letters"]) -> Bounds | None:
    """The most probable bounds; between two letters half way. None if there are more letters than outputs."""
    repeats = int((symbols[1:] == symbols[:-1]).sum())
    if len(symbols) == 0 or len(symbols) + repeats > len(scores):
        return None
    path, certain = TA.forced_align(scores[None], symbols[None].to(torch.int32), blank=0)
    spans = TA.merge_tokens(path[0], certain[0])
    inner = [(before.end + after.start) / 2 for before, after in pairwise(spans)]
    return np.array([spans[0].start, *inner, spans[-1].end], np.float32) / RATE
