"""Sounds that tests make: like speech in what they measure, and not like it."""

import numpy as np
from scipy.signal import lfilter

from voice.audio import SAMPLE_RATE, Waveform


def speechlike(
    seconds: float, *, rate: int = SAMPLE_RATE, level: float = 0.1, pitch: float = 120.0, treble: bool = True
) -> Waveform:
    """Harmonics that swell four times a second, with hiss up to half the rate in the quiet parts, as sibilants have."""
    t = np.arange(int(seconds * rate)) / rate
    voiced = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 20) if pitch * k < rate / 2)
    swell = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * t)
    hiss = np.random.default_rng(0).standard_normal(len(t)) * 0.1 if treble else 0.0
    return (level * (voiced * swell**2 + hiss * (1 - swell) ** 2)).astype(np.float32)


def silence(seconds: float, *, rate: int = SAMPLE_RATE) -> Waveform:
    """Digital silence."""
    return np.zeros(int(seconds * rate), np.float32)


def noise(seconds: float, *, level: float = 0.1, seed: int = 0, rate: int = SAMPLE_RATE) -> Waveform:
    """White noise."""
    return (level * np.random.default_rng(seed).standard_normal(int(seconds * rate))).astype(np.float32)


def spoken_by(formants: tuple[float, ...], *, seed: int, seconds: float = 3.0) -> Waveform:
    """Buzz through resonances that wander a little: a voice one can tell from another by its formants alone."""
    generator = np.random.default_rng(seed)
    pitch = generator.uniform(100, 140)
    source = np.diff(np.arange(int(seconds * SAMPLE_RATE) + 1) * pitch / SAMPLE_RATE % 1.0) < 0
    waveform = source.astype(np.float64) + 0.01 * generator.standard_normal(len(source))
    for formant in formants:
        angle = 2 * np.pi * formant * generator.uniform(0.97, 1.03) / SAMPLE_RATE
        radius = generator.uniform(0.96, 0.975)
        waveform = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], waveform)
    return (0.1 * waveform / np.abs(waveform).max()).astype(np.float32)


def music(seconds: float) -> Waveform:
    """Plucked chords, one after another."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    generator = np.random.default_rng(0)
    song = np.zeros_like(t)
    for start in np.arange(0, seconds, 0.25):
        tone = 220 * 2 ** (generator.integers(0, 24) / 12)
        struck = np.exp(-2 * np.maximum(t - start, 0)) * (t >= start)
        song += struck * sum(np.sin(2 * np.pi * tone * k * t) / k for k in (1, 2, 3))
    return (0.1 * song).astype(np.float32)
