"""What is wrong with an utterance: while it is drawn, and once it is whole."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

import numpy as np

from voice.audio import FRAME_RATE, SAMPLE_RATE, Waveform
from voice.engine.core import Utterance
from voice.engine.scheduler import Ending, Stream
from voice.engine.shaper import AUDIBLE
from voice.text import USUAL_BYTES_A_SECOND, spoken_bytes

LOOP_SECONDS, SILENCE_SECONDS = 2.0, 2.5  # said again code for code, and nothing said: longer than any pause in speech
LONGEST_LOOP = 12  # frames of a period
FEWEST_SHARE = 0.2  # of the usual pace: an utterance that is over before can't have said the text
STEADY = math.log(1.5)  # of a voice's pace, either way; of its sentences 0.12 to 0.18 is usual (docs/log.md)
TELLING_BYTES = 60  # to say in a text whose pace says something: of a shorter one the edges are too large a part


class Watchdog:
    """Sees loops and silence while an utterance is drawn."""

    def __init__(self) -> None:
        self._silent = 0  # samples

    def heard(self, samples: Waveform) -> None:
        """Listen to a chunk."""
        audible = np.flatnonzero(np.abs(samples) > AUDIBLE)
        self._silent = len(samples) - 1 - int(audible[-1]) if len(audible) else self._silent + len(samples)

    def __call__(self, utterance: Utterance) -> Ending | None:
        """What is wrong with an utterance, if anything is."""
        if self._silent > SILENCE_SECONDS * SAMPLE_RATE:
            return Ending.SILENCE
        return Ending.LOOP if self._loops(utterance) else None

    @staticmethod
    def _loops(utterance: Utterance) -> bool:
        length = round(LOOP_SECONDS * FRAME_RATE)
        if len(utterance.codes) < length + LONGEST_LOOP:
            return False
        recent = np.stack([c.numpy() for c in utterance.codes[-length - LONGEST_LOOP :]])
        return any(np.array_equal(recent[p:][-length:], recent[:-p][-length:]) for p in range(1, LONGEST_LOOP + 1))


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
        fewest = FEWEST_SHARE * FRAME_RATE * self.text_bytes / USUAL_BYTES_A_SECOND
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
