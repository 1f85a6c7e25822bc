"""Pauses, and how long sound stays in the room."""

import numpy as np

from pipelines.data.quality.frames import HOP_SECONDS, Levels, runs

_PAUSE_BELOW_DB = 35.0  # below the loud frames
# A decay: 8 dB in 60 ms at least, of levels smoothed over 50 ms. Chosen on 80 clean clips with artificial rooms of 0,
# 0.2, 0.4, 0.8 and 1.2 s, which then measure 0.24, 0.34, 0.49, 0.71 and 0.74 s (medians).
_SMOOTH, _SHORTEST_DECAY, _SHORTEST_FALL_DB, _RIPPLE_DB = 5, 6, 8.0, 0.5


def longest_pause(levels: Levels) -> float:
    """Seconds of the longest stretch between the first and the last sound in which nothing is said."""
    if not len(levels):
        return 0.0
    silent = levels < np.percentile(levels, 95) - _PAUSE_BELOW_DB
    inner = [end - start for start, end in runs(silent) if start > 0 and end < len(levels)]
    return max(inner, default=0) * HOP_SECONDS


def decay_time(levels: Levels) -> float | None:
    """Seconds in which sound falls by 60 dB, from the fastest tenth of the clip's decays; None where it has none.

    A voice may fall slowly in any room, but nothing falls faster than the room lets it (Ratnam et al. 2003).
    """
    if len(levels) <= _SMOOTH:
        return None
    smooth = np.convolve(levels, np.ones(_SMOOTH) / _SMOOTH, mode="valid")
    slopes = []
    for start, end in runs(np.diff(smooth) < _RIPPLE_DB):
        fall = smooth[start] - smooth[end]
        if end - start >= _SHORTEST_DECAY and fall >= _SHORTEST_FALL_DB:
            slopes.append(fall / ((end - start) * HOP_SECONDS))
    return float(60.0 / np.percentile(slopes, 90)) if slopes else None
