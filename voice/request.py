"""What is asked of a voice, and what it answers."""

import math
from dataclasses import dataclass
from enum import StrEnum

from voice.audio import Waveform
from voice.errors import InputError


class Layout(StrEnum):
    """How text and codes share positions: all text before the first frame, or one token beside each frame."""

    WHOLE = "whole"  # the library's non_streaming_mode=True
    INTERLEAVED = "interleaved"


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a code is drawn; defaults are those of the published checkpoints."""

    do_sample: bool = True
    temperature: float = 0.9
    top_k: int = 50
    top_p: float = 1.0

    def __post_init__(self) -> None:
        """Raises InputError for numbers that draw nothing."""
        if not 0 < self.temperature < math.inf:
            raise InputError(
                f"temperature {self.temperature} is not above 0. For the likeliest codes: do_sample=False."
            )
        if self.top_k < 0:
            raise InputError(f"top_k {self.top_k} is below 0. 0 looks at all codes.")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p {self.top_p} is not above 0 and at most 1. 1 drops nothing.")


@dataclass(frozen=True, slots=True)
class Sampling(Drawing):
    """How the codes of a frame are drawn: codebook 0 by the talker, the others by the code predictor."""

    repetition_penalty: float = 1.05  # talker only
    predictor: Drawing | None = None  # upstream's subtalker_...; None: as the talker's

    def __post_init__(self) -> None:
        """Raises InputError for numbers that draw nothing."""
        Drawing.__post_init__(self)
        if not 0 < self.repetition_penalty < math.inf:
            raise InputError(f"repetition_penalty {self.repetition_penalty} is not above 0. 1 penalises nothing.")


@dataclass(frozen=True, slots=True)
class Request:
    """What to say. The seed alone decides the codes of each attempt, whatever else is synthesised beside it.

    How many attempts there are is delivery's affair: of a streamed text's later pieces as many as there is time for.
    """

    text: str
    voice: str
    language: str = "auto"  # ISO code
    instruct: str | None = None
    seed: int = 0
    layout: Layout = Layout.WHOLE
    sampling: Sampling | None = None  # None: as the checkpoint's generation_config.json says
    playback_speed: float = 1.0  # of who listens, times as fast; the engine's own never changes, it has less time then
    caller: str | None = None  # who asks: where many wait, requests of one caller share its turns; None: nobody else

    def __post_init__(self) -> None:
        """Raises InputError for a text that is no text, and for a speed at which nothing is heard."""
        if not 0 < self.playback_speed < math.inf:
            raise InputError(f"playback_speed {self.playback_speed} is not above 0. 1 plays as it was spoken.")
        for text in (self.text, self.instruct or ""):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InputError(
                    f"character {error.start + 1} of the text is half of one. Send whole UTF-8."
                ) from error


@dataclass(frozen=True, slots=True)
class Speech:
    """A finished utterance."""

    waveform: Waveform
    runaway: bool  # reached its frame budget without ending by itself
