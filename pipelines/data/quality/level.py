"""Level: loudness, peaks, clipping, offset, clicks. dB relative to full scale unless said otherwise."""

import math
import warnings

import numpy as np
import pyloudnorm
from scipy.ndimage import uniform_filter1d

from voice.audio import SAMPLE_RATE, Waveform

FLOOR_DB = -120.0  # stands for silence, whose logarithm is not a number
_CLIPPED = 0.999  # of full scale; soxr and codecs round a clipped plateau down by less than this
_CLICK_RISE = 20.0  # times the local median of second differences
_CLICK_FLOOR = 0.02  # of full scale; quieter ones are not heard
_CORE, _AROUND, _ALONE_SHARE = 7, 241, 0.4  # samples: a click holds this share of the bend in the 10 ms around it


def decibels(amplitude: float) -> float:
    """20 log10, with a floor."""
    return max(FLOOR_DB, 20.0 * math.log10(amplitude)) if amplitude > 0 else FLOOR_DB


def loudness(waveform: Waveform) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770); clips shorter than its 0.4 s block are repeated up to one."""
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


def count_clicks(waveform: Waveform) -> int:
    """Isolated jumps: second differences that stand alone within a millisecond and far above the 10 ms around them."""
    if len(waveform) < _AROUND:
        return 0
    bend = np.abs(np.diff(waveform, 2))
    alone = _CORE * uniform_filter1d(bend, _CORE) > _ALONE_SHARE * _AROUND * uniform_filter1d(bend, _AROUND)
    clicks = 0
    for at in np.flatnonzero(alone & (bend > _CLICK_FLOOR)):
        around = bend[max(0, at - _AROUND // 2) : at + _AROUND // 2 + 1]
        core = bend[max(0, at - _CORE // 2) : at + _CORE // 2 + 1]
        clicks += bool(bend[at] == core.max() and bend[at] > _CLICK_RISE * np.median(around))
    return clicks
