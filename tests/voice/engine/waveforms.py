"""Waveforms whose samples are known."""

import numpy as np

from voice.audio import SAMPLE_RATE, Waveform


def tone(length: float, level: float = 0.2) -> Waveform:
    """Seconds of a sine."""
    return (level * np.sin(np.arange(round(length * SAMPLE_RATE)) / 10)).astype(np.float32)


def silence(length: float) -> Waveform:
    """Seconds of nothing."""
    return np.zeros(round(length * SAMPLE_RATE), np.float32)
