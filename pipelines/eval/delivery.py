"""How something was said, by signal processing alone: pitch, level, pauses, clipping."""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from pipelines.data.pauses import is_silent
from pipelines.data.quality.frames import HOP_SECONDS, frame_levels, runs
from pipelines.data.quality.level import FLOOR_DB, clipped_share
from voice.audio import SAMPLE_RATE, Waveform, resample

PITCH_RATE = 8_000  # Hz: enough for pitch, a third of the work
PITCH_HZ = (60.0, 400.0)
_WINDOW, _HOP = 400, 160  # samples at PITCH_RATE: 50 ms, three periods of the lowest pitch, every 20 ms
_VOICED = 0.5  # normalised autocorrelation at the period; noise stays below, vowels lie far above
_OCTAVE_TOLERANCE = 0.9  # the shortest period nearly as good as the best one: its multiples are as good as itself
_PAUSE_BELOW_DB = 30.0  # under speech
_PAUSE_SECONDS = 0.15  # shorter gaps are stops inside words
_SILENCE_DBFS = -60.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """Measures of one utterance. Pitch is 0 where nothing is voiced."""

    pitch_hz: float  # median over voiced frames
    pitch_semitones: float  # standard deviation around it: monotonous voices have little
    level_dbfs: float  # mean power where something is said
    level_db: float  # standard deviation of the frames' levels there
    pause_share: float  # of the time between first and last sound
    pauses: int
    clipped_share: float
    silent: bool


def measure(waveform: Waveform) -> Delivery:
    """Measure a 24 kHz waveform. A silent one measures nothing."""
    levels = frame_levels(waveform)
    clipped = clipped_share(waveform) if len(waveform) else 0.0
    if not len(levels) or levels.max() < _SILENCE_DBFS:
        return Delivery(0.0, 0.0, FLOOR_DB, 0.0, 0.0, 0, clipped, silent=True)
    quiet = is_silent(levels, below_db=_PAUSE_BELOW_DB)
    spoken = np.flatnonzero(~quiet)
    first, last = (int(spoken[0]), int(spoken[-1]) + 1) if len(spoken) else (0, len(levels))
    pauses = [b - a for a, b in runs(quiet[first:last]) if (b - a) * HOP_SECONDS >= _PAUSE_SECONDS]
    said = levels[~quiet] if len(spoken) else levels
    tones = pitches(waveform)
    median = float(np.median(tones)) if len(tones) else 0.0
    return Delivery(
        pitch_hz=median,
        pitch_semitones=float(np.std(12 * np.log2(tones / median))) if median else 0.0,
        level_dbfs=float(10 * np.log10(np.mean(10 ** (said / 10)))),
        level_db=float(said.std()),
        pause_share=sum(pauses) / (last - first),
        pauses=len(pauses),
        clipped_share=clipped,
        silent=False,
    )


def pitches(waveform: Waveform) -> np.ndarray:
    """Pitch of every voiced frame in Hz: its shortest period at which it repeats itself nearly as well as at any."""
    audio = resample(waveform, from_rate=SAMPLE_RATE, to_rate=PITCH_RATE).astype(np.float64)
    if len(audio) < _WINDOW:
        return np.zeros(0)
    frames = sliding_window_view(audio, _WINDOW)[::_HOP]  # (frames, window)
    frames = frames - frames.mean(axis=1, keepdims=True)
    low, high = round(PITCH_RATE / PITCH_HZ[1]), round(PITCH_RATE / PITCH_HZ[0])
    spectra = np.fft.rfft(frames, 2 * _WINDOW)
    correlation = np.fft.irfft(np.abs(spectra) ** 2)[:, : high + 2]  # (frames, lags)
    squares = np.cumsum(np.pad(frames**2, ((0, 0), (1, 0))), axis=1)
    lags = np.arange(high + 2)
    # power of what overlaps at each lag, or long lags would look worse than they are
    power = np.sqrt(squares[:, _WINDOW - lags] * (squares[:, -1:] - squares[:, lags]))
    strength = correlation / np.maximum(power, 1e-9)
    inner = strength[:, low : high + 1]
    peak = (inner >= strength[:, low - 1 : high]) & (inner >= strength[:, low + 1 : high + 2])
    candidates = np.where(peak, inner, 0.0)
    best = candidates.max(axis=1)
    loud = squares[:, -1] > _WINDOW * 10 ** (_SILENCE_DBFS / 10)
    voiced = (best > _VOICED) & loud
    first = (candidates >= _OCTAVE_TOLERANCE * best[:, None]).argmax(axis=1)
    return PITCH_RATE / (low + first[voiced])
