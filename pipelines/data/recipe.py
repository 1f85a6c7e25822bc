"""What is done to one clip: the design note's recipe in order, and what is measured on the way."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import noisereduce
import numpy as np

from pipelines.data.quality import AsRecorded, Quality, measure
from pipelines.data.quality.frames import HOP_SECONDS, frame_levels
from pipelines.data.quality.level import FLOOR_DB, decibels
from pipelines.data.quality.noise import signal_to_noise
from pipelines.data.quality.timbre import timbres
from voice.audio import SAMPLE_RATE, Waveform, read_channels, resample, to_mono, to_pcm16
from voice.bounds import within
from voice.errors import InputError


@dataclass(kw_only=True)
class Recipe:  # conf/data/preprocess.yaml
    """What is done to every clip."""

    noise_reduction: float = within(low=0, high=1)
    noise_reduction_below_snr_db: float
    noise_reduction_min_gain_db: float = within(low=0)
    trim_below_db: float = within(above=0)
    keep_margin_seconds: float = within(low=0)
    target_lufs: float = within(low=-70, high=0)
    peak_limit_dbfs: float = within(high=0)


@dataclass(frozen=True, slots=True)
class Processed:
    """A clip after the recipe, and what it measured before it was levelled."""

    waveform: Waveform
    digest: str  # of the trimmed samples: equal for copies of one recording, at whatever level they were stored
    quality: Quality
    timbres: np.ndarray  # (windows, coefficients), row 0 the whole clip


def process(path: Path, recipe: Recipe) -> Processed:
    """Run the recipe on one recording. Raises InputError where nothing can be made of it."""
    channels, rate = read_channels(path)
    mono = to_mono(channels)
    recorded = AsRecorded.of(channels, mono, rate)
    waveform = resample(mono, from_rate=rate)
    waveform = waveform - waveform.mean(dtype=np.float64).astype(np.float32)  # a DC offset is inaudible but takes level
    if decibels(float(np.abs(waveform).max())) <= FLOOR_DB:
        raise InputError(f"{path}: is silent. Record it again, and check that the right microphone is on.")
    waveform, gain = denoise(waveform, recipe)
    waveform = trim_silence(waveform, below_db=recipe.trim_below_db, margin_seconds=recipe.keep_margin_seconds)
    quality = measure(waveform, recorded, snr_gain_db=gain)
    levelled = level(waveform, quality.lufs, target_lufs=recipe.target_lufs, peak_limit_dbfs=recipe.peak_limit_dbfs)
    digest = sha256(to_pcm16(waveform / np.abs(waveform).max()).tobytes()).hexdigest()[:16]
    return Processed(levelled, digest, quality, timbres(waveform))


def denoise(waveform: Waveform, recipe: Recipe) -> tuple[Waveform, float]:
    """Reduce noise where the recipe asks for it and the clip gains by it. Returns the waveform and the gain in SNR, dB.

    A clip that is clean already, or gains too little, keeps its samples: the gate takes breath and consonants with it.
    """
    before = signal_to_noise(frame_levels(waveform))
    if recipe.noise_reduction == 0.0 or before >= recipe.noise_reduction_below_snr_db:
        return waveform, 0.0
    reduced = reduce_noise(waveform, strength=recipe.noise_reduction)
    gain = signal_to_noise(frame_levels(reduced)) - before
    return (reduced, gain) if gain >= recipe.noise_reduction_min_gain_db else (waveform, 0.0)


def reduce_noise(waveform: Waveform, *, strength: float) -> Waveform:
    """Spectral gating by the noise in the clip's quietest fifth; `strength` 1 removes all below the gate, 0.5 half."""
    levels = frame_levels(waveform)
    hop = round(HOP_SECONDS * SAMPLE_RATE)
    quiet = np.flatnonzero(levels <= np.percentile(levels, 20))
    noise = np.concatenate([waveform[i * hop : (i + 1) * hop] for i in quiet])
    reduced = noisereduce.reduce_noise(waveform, sr=SAMPLE_RATE, y_noise=noise, stationary=True, prop_decrease=strength)
    return np.asarray(reduced, np.float32)


def trim_silence(waveform: Waveform, *, below_db: float, margin_seconds: float) -> Waveform:
    """Drop quiet edges but keep a margin, so that soft onsets and final consonants survive."""
    levels = frame_levels(waveform)
    if not len(levels):
        return waveform
    (heard,) = np.nonzero(levels >= levels.max() - below_db)
    margin, hop = round(margin_seconds * SAMPLE_RATE), round(HOP_SECONDS * SAMPLE_RATE)
    return waveform[max(0, heard[0] * hop - margin) : (heard[-1] + 1) * hop + margin]


def level(waveform: Waveform, lufs: float, *, target_lufs: float, peak_limit_dbfs: float) -> Waveform:
    """Scale from a loudness to another, but never above a peak: one gain for the clip, no compression."""
    gain = 10.0 ** ((target_lufs - lufs) / 20.0)
    ceiling = 10.0 ** (peak_limit_dbfs / 20.0) / float(np.abs(waveform).max())
    return (waveform * min(gain, ceiling)).astype(np.float32)
