"""Frame levels of a waveform, from which pauses, noise and decays are read."""

import numpy as np
from jaxtyping import Float

from pipelines.data.quality.level import FLOOR_DB
from voice.audio import SAMPLE_RATE, Waveform

HOP_SECONDS = 0.01
_HOP = round(HOP_SECONDS * SAMPLE_RATE)

Levels = Float[np.ndarray, " frames"]  # dBFS, every 10 ms


def frame_levels(waveform: Waveform) -> Levels:
    """RMS of each 10 ms in dBFS; a rest that fills no frame is left out."""
    count = len(waveform) // _HOP
    power = np.square(waveform[: count * _HOP].reshape(count, _HOP), dtype=np.float64).mean(axis=1)
    return 10.0 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Start and end (exclusive) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
