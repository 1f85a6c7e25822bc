"""What is there besides speech: noise floor, mains hum, steady sound such as music."""

import numpy as np
from scipy.signal import spectrogram

from pipelines.data.quality.frames import Levels
from voice.audio import SAMPLE_RATE, Waveform, resample

_MAINS = (50.0, 60.0)  # Hz
_HARMONICS = 4
_LOW_RATE = 800  # Hz; holds the harmonics, and a thirtieth of the samples


def signal_to_noise(levels: Levels) -> float:
    """Loud frames (90th percentile) over quiet ones (10th) in dB: an estimate that needs some pause in the clip."""
    if len(levels) < 2:
        return 0.0
    quiet, loud = np.percentile(levels, [10, 90])
    return float(loud - quiet)


def mains_hum(waveform: Waveform) -> float:
    """How far 50 or 60 Hz and their harmonics stand above their surroundings in the quiet moments, in dB.

    Speech comes and goes, hum stays: each bin counts with its 10th percentile over half-second windows.
    """
    if len(waveform) < SAMPLE_RATE:
        return 0.0
    low = resample(waveform, from_rate=SAMPLE_RATE, to_rate=_LOW_RATE)
    window = _LOW_RATE // 2
    frequencies, _, power = spectrogram(low, _LOW_RATE, nperseg=window, noverlap=window * 3 // 4)
    quiet = 10 * np.log10(np.percentile(power, 10, axis=1) + 1e-16)
    return max(_prominence(quiet, frequencies, mains) for mains in _MAINS)


def _prominence(quiet: np.ndarray, frequencies: np.ndarray, mains: float) -> float:
    def stands_out(line: float) -> float:
        near = np.abs(frequencies - line)
        return float(quiet[near <= 2].max() - np.median(quiet[(near > 4) & (near < 20)]))

    # the median of the lines: one of them may hide under a pitch harmonic, or be one
    return float(np.median([stands_out(mains * k) for k in range(1, _HARMONICS + 1)]))


def low_level_share(levels: Levels) -> float:
    """Share of frames below half the mean amplitude of the second around them (Scheirer and Slaney 1997).

    Speech has many, between its words and syllables; music and other steady sounds have few.
    """
    amplitude = 10 ** (levels / 20)
    if len(amplitude) < 100:
        return 1.0
    around = np.convolve(np.pad(amplitude, 50, mode="reflect"), np.ones(101) / 101, mode="valid")
    return float(np.mean(amplitude < 0.5 * around))
