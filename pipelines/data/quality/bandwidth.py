"""The bandwidth that a recording really has: an upsampled telephone call has 48 kHz on paper and 4 kHz to hear."""

import numpy as np
from scipy.fft import rfft
from scipy.signal.windows import hann

_BELOW_PEAK_DB = 62.0  # speech's sibilants reach this far up; resamplers and codecs leave less above their edge
_STEP_HZ = 100.0


def bandwidth(waveform: np.ndarray, *, rate: int) -> float:
    """The highest frequency in Hz at which the clip's loudest moments hold anything; `waveform` as recorded, mono."""
    size = 2048 if rate >= 32_000 else 1024
    count = len(waveform) // size
    if not count:
        return rate / 2
    frames = waveform[: count * size].reshape(count, size) * hann(size).astype(np.float32)
    loud = round(0.95 * (count - 1))
    level = 20 * np.log10(np.partition(np.abs(rfft(frames)), loud, axis=0)[loud] + 1e-7)
    (heard,) = np.nonzero(level > level.max() - _BELOW_PEAK_DB)
    return float(np.ceil(heard.max() * rate / size / _STEP_HZ) * _STEP_HZ)
