"""What is wrong with an utterance: while it is drawn, and once it is whole."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from voice.audio import FRAME_RATE, SAMPLE_RATE, Waveform
from voice.engine.core import Utterance
from voice.engine.scheduler import Ending, Stream
from voice.engine.shaper import AUDIBLE
from voice.text import said_again, spoken_bytes, usual_seconds

LOOP_SECONDS, SILENCE_SECONDS = 2.0, 2.5  # said again code for code, and nothing said: longer than any pause in speech
LONGEST_LOOP = 12  # frames of a period
# Said again with other codes, as what is drawn is: of 4 s so large a share was there at one lag of 0.16 to 4 s before.
# Of recordings it is 0.19 at most, of what nano says 0.12, of espeak's prose in ten languages 0.30 (docs/log.md).
RECENT, LAGS, SAMPLED_LOOP = 50, range(2, 51), 0.35  # frames, frames, share
RECALLED = RECENT + LAGS.stop - 1  # frames that this takes
REFRAINS = 0.3  # said_again of a text that may well sound like that: lists, "no, no, no"; of prose 0.00 to 0.02
# Prose has its "ha, ha, ha" and telephone numbers, too: what is said while the text may last is no loop.
OVERDUE = 1.5  # of that time at the usual pace; the budget is three times as much
FEWEST_SHARE = 0.2  # of the usual pace: an utterance that is over before can't have said the text
STEADY = math.log(1.5)  # of a voice's pace, either way; of its sentences 0.12 to 0.18 is usual (docs/log.md)
TELLING_BYTES = 60  # to say in a text whose pace says something: of a shorter one the edges are too large a part


class Watchdog:
    """Sees loops and silence while an utterance of this text is drawn."""

    def __init__(self, text: str) -> None:
        self._silent = 0  # samples
        self._may_repeat = said_again(text) > REFRAINS
        self._overdue = OVERDUE * FRAME_RATE * usual_seconds(spoken_bytes(text))  # frames

    def heard(self, samples: Waveform) -> None:
        """Listen to a chunk."""
        audible = np.flatnonzero(np.abs(samples) > AUDIBLE)
        self._silent = len(samples) - 1 - int(audible[-1]) if len(audible) else self._silent + len(samples)

    def __call__(self, utterance: Utterance) -> Ending | None:
        """What is wrong with an utterance, if anything is."""
        if self._silent > SILENCE_SECONDS * SAMPLE_RATE:
            return Ending.SILENCE
        return Ending.LOOP if self._loops(utterance) or self._comes_back(utterance) else None

    def _comes_back(self, utterance: Utterance) -> bool:
        if self._may_repeat or len(utterance.codes) < self._overdue:
            return False
        return recurrence([int(frame[0]) for frame in utterance.codes[-RECALLED:]]) > SAMPLED_LOOP

    @staticmethod
    def _loops(utterance: Utterance) -> bool:
        length = round(LOOP_SECONDS * FRAME_RATE)
        if len(utterance.codes) < length + LONGEST_LOOP:
            return False
        recent = np.stack([c.numpy() for c in utterance.codes[-length - LONGEST_LOOP :]])
        return any(np.array_equal(recent[p:][-length:], recent[:-p][-length:]) for p in range(1, LONGEST_LOOP + 1))


def recurrence(first_codes: Sequence[int]) -> float:
    """How much of the last 4 s was said before, at the one of all lags at which that is most.

    Frames that hold the code of the one before count for nothing: pauses and long vowels come back everywhere. 0 where
    there are too few frames to tell.
    """
    if len(first_codes) < RECENT + LAGS.start:
        return 0.0
    known = np.asarray(first_codes[-RECALLED:])
    stretches = sliding_window_view(known, RECENT)  # (lags, frames), the one that is heard now last
    moves = np.diff(known)[-RECENT:] != 0
    again = (stretches[: -LAGS.start] == stretches[-1]) & moves
    return float(again.sum(1).max() / max(moves.sum(), RECENT / 2))


@dataclass(frozen=True, slots=True)
class Drawn:
    """An utterance that has come to its end."""

    text_bytes: int  # to say, not written
    frames: int
    ending: Ending

    @classmethod
    def of(cls, text: str, stream: Stream) -> "Drawn":
        """What a stream has said of a text."""
        return cls(spoken_bytes(text), len(stream.utterance.codes), stream.ending or Ending.CANCELLED)

    @property
    def is_complete(self) -> bool:
        """Whether it ended by itself, and not before it can have said its text."""
        fewest = FEWEST_SHARE * FRAME_RATE * usual_seconds(self.text_bytes)
        return self.ending is Ending.ITSELF and self.frames >= fewest

    @property
    def pace(self) -> float | None:
        """Bytes to say a second; None where that says nothing."""
        tells = self.is_complete and self.text_bytes >= TELLING_BYTES and self.frames
        return self.text_bytes * FRAME_RATE / self.frames if tells else None

    def fault(self, others: Iterable["Drawn"]) -> float:
        """How bad it is: 0 is nothing to be put right. `others` are utterances of the same voice and language.

        Worst is what is not complete. One that is half as long again as the others lead to expect, or that much
        shorter, has said things twice or left words out: so many nats out of their pace.
        """
        if not self.is_complete:
            return math.inf
        paces = [other.pace for other in others if other.pace]
        if not paces or not self.pace:
            return 0.0
        away = abs(math.log(self.pace / median(paces)))
        return away if away > STEADY else 0.0
