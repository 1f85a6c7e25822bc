"""What a recording measures: level, clipping, noise. dB relative to full scale unless said otherwise."""

import math
import warnings
from dataclasses import dataclass

import librosa
import numpy as np
import pyloudnorm

from voice.audio import SAMPLE_RATE, Waveform

FLOOR_DB = -120.0  # stands for silence, whose logarithm is not a number
_FRAME = 480  # 20 ms
_CLIPPED = 0.999  # of full scale; soxr and codecs round a clipped plateau down by less than this


@dataclass(frozen=True, slots=True)
class Quality:
    """Measurements of one waveform."""

    seconds: float
    lufs: float  # integrated loudness, ITU-R BS.1770
    peak_dbfs: float
    clipped_share: float  # samples at full scale
    snr_db: float  # loud frames (90th percentile) over quiet ones (10th): an estimate that needs some pause in the clip


def decibels(amplitude: float) -> float:
    """20 log10, with a floor."""
    return max(FLOOR_DB, 20.0 * math.log10(amplitude)) if amplitude > 0 else FLOOR_DB


def loudness(waveform: Waveform) -> float:
    """Integrated loudness in LUFS; short clips are repeated up to the 0.4 s block that the standard gates."""
    block = int(0.4 * SAMPLE_RATE)
    if len(waveform) <= block:
        waveform = np.tile(waveform, block // max(1, len(waveform)) + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # log of zero on silence
        lufs = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(waveform.astype(np.float64))
    return max(FLOOR_DB, float(lufs))


def clipped_share(samples: np.ndarray) -> float:
    """Share of samples at full scale, before any resampling has smoothed them."""
    return float(np.mean(np.abs(samples) >= _CLIPPED))


def signal_to_noise(waveform: Waveform) -> float:
    """Estimated SNR in dB from frame levels."""
    if len(waveform) < 2 * _FRAME:
        return 0.0
    levels = librosa.feature.rms(y=waveform, frame_length=2 * _FRAME, hop_length=_FRAME, center=False)[0]
    quiet, loud = np.percentile(levels, [10, 90])
    return decibels(float(loud)) - decibels(float(quiet))


def measure(waveform: Waveform, *, clipped: float) -> Quality:
    """Measure a 24 kHz waveform; `clipped` is the share found in the recording as it was."""
    return Quality(
        seconds=len(waveform) / SAMPLE_RATE,
        lufs=loudness(waveform),
        peak_dbfs=decibels(float(np.abs(waveform).max())),
        clipped_share=clipped,
        snr_db=signal_to_noise(waveform),
    )
