"""Where to cut a long recording: in its pauses, so that clips get the right length and keep their natural edges."""

import math
from dataclasses import dataclass

import numpy as np

from pipelines.data.quality.frames import HOP_SECONDS, Levels, runs
from pipelines.data.quality.level import FLOOR_DB

_SURROUNDINGS = round(30.0 / HOP_SECONDS)  # what is loud or quiet is judged within half a minute
_FLOOR_SHARE = 0.25  # of the way from the noise floor to speech: all below counts as pause, also in a noisy room
_SMOOTH = 15  # frames; a dip shorter than this is inside a word
_NO_PAUSE_COST = 20.0  # a cut without a pause is worse than any length ...
_DIP_GAIN = 0.3  # ... but the deeper its dip, the better, per dB
_SECOND = round(1.0 / HOP_SECONDS)
_SHORT_COST = 3.0  # per second that a clip is too short
_PAUSE_COST = 0.2  # divided by the pause's seconds: long pauses are between sentences


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a recording, in seconds."""

    start: float
    end: float
    between_pauses: bool


@dataclass(frozen=True, slots=True)
class _Gap:
    """A place to cut: speech before it ends at `start`, speech after it begins at `end` (frames)."""

    start: int
    end: int
    cost: float
    is_pause: bool = True


def cut(
    levels: Levels,
    *,
    min_seconds: float,
    max_seconds: float,
    pause_seconds: float,
    below_db: float,
    margin_seconds: float,
) -> list[Piece]:
    """Cut where nothing is said. No piece lasts longer than `max_seconds`; few are shorter than `min_seconds`.

    `levels` are frame levels in dBFS, 10 ms each. Where speech goes on for too long without a pause of
    `pause_seconds`, the cut falls into its deepest dip, and the pieces say so. Silence before, between and after is
    left out but for `margin_seconds`.
    """
    low, high, margin = (round(s / HOP_SECONDS) for s in (min_seconds, max_seconds, margin_seconds))
    silent = is_silent(levels, below_db=below_db)
    spoken = np.flatnonzero(~silent)
    if not len(spoken):
        return []
    inner = [
        (a, b) for a, b in runs(silent) if spoken[0] < a and b <= spoken[-1] and b - a >= pause_seconds / HOP_SECONDS
    ]
    first, last = _Gap(0, int(spoken[0]), 0.0), _Gap(int(spoken[-1]) + 1, len(levels), 0.0)
    gaps = [first, *(_Gap(a, b, _PAUSE_COST / ((b - a) * HOP_SECONDS)) for a, b in inner), last]
    gaps = _with_dips(gaps, levels, room=high - 2 * margin)
    return [_piece(a, b, margin, len(levels)) for a, b in _best_chain(gaps, low, high - 2 * margin)]


def is_silent(levels: Levels, *, below_db: float) -> np.ndarray:
    """Mask of the frames in which nothing is said: far below the speech around them, or near the noise."""
    overall = _threshold(levels, below_db)
    silent = levels <= FLOOR_DB + 1.0
    for start in range(0, len(levels), _SURROUNDINGS):
        around = levels[max(0, start - _SURROUNDINGS // 2) : start + _SURROUNDINGS * 3 // 2]
        here = slice(start, start + _SURROUNDINGS)
        # half a minute without a word has a threshold of its own inside the noise: the recording's holds there
        silent[here] |= levels[here] < max(_threshold(around, below_db), overall)
    return silent


def _threshold(levels: Levels, below_db: float) -> float:
    floor, loud = np.percentile(levels, [5, 95]) if len(levels) else (FLOOR_DB, FLOOR_DB)
    return float(max(loud - below_db, floor + _FLOOR_SHARE * (loud - floor)))


def _with_dips(gaps: list[_Gap], levels: Levels, *, room: int) -> list[_Gap]:
    # between two pauses that are too far apart: the lowest point of every second, dearer the louder it is
    smooth = np.convolve(levels, np.ones(_SMOOTH) / _SMOOTH, mode="same")
    result = [gaps[0]]
    for gap in gaps[1:]:
        start = result[-1].end
        if gap.start - start > room:
            loud = float(smooth[start : gap.start].max())
            for second in range(start + _SECOND, gap.start - _SECOND, _SECOND):
                dip = second + int(smooth[second : second + _SECOND].argmin())
                cost = _NO_PAUSE_COST - (loud - float(smooth[dip])) * _DIP_GAIN
                result.append(_Gap(dip, dip, max(1.0, cost), is_pause=False))
        result.append(gap)
    return result


def _best_chain(gaps: list[_Gap], low: int, high: int) -> list[tuple[_Gap, _Gap]]:
    """Shortest path over the gaps: lengths near the middle of what is allowed, cuts in long pauses."""
    best, before = [0.0] + [math.inf] * (len(gaps) - 1), [0] * len(gaps)
    for j in range(1, len(gaps)):
        for i in range(j - 1, -1, -1):
            length = gaps[j].start - gaps[i].end
            if length > high and i < j - 1:
                break
            cost = best[i] + gaps[j].cost + _length_cost(length, low, high)
            if cost < best[j]:
                best[j], before[j] = cost, i
    chain, j = [], len(gaps) - 1
    while j:
        chain.append((gaps[before[j]], gaps[j]))
        j = before[j]
    return [(a, b) for a, b in reversed(chain) if b.start > a.end]


def _length_cost(length: int, low: int, high: int) -> float:
    middle = (low + high) / 2
    return ((length - middle) / middle) ** 2 + _SHORT_COST * max(0, low - length) * HOP_SECONDS


def _piece(before: _Gap, after: _Gap, margin: int, frames: int) -> Piece:
    # a margin of its own for each side: both never take the same frames
    start = before.end - min(margin, (before.end - before.start) // (1 if before.start == 0 else 2))
    end = after.start + min(margin, (after.end - after.start) // (1 if after.end == frames else 2))
    return Piece(start * HOP_SECONDS, end * HOP_SECONDS, before.is_pause and after.is_pause)
