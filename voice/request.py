"""What is asked of a voice, and what it answers."""

from dataclasses import dataclass, field
from enum import StrEnum

from voice.audio import Waveform


class Layout(StrEnum):
    """How text and codes share positions: all text before the first frame, or one token beside each frame."""

    WHOLE = "whole"  # the library's non_streaming_mode=True
    INTERLEAVED = "interleaved"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How codes are drawn; defaults are those of the published checkpoints. Talker and code predictor share them."""

    do_sample: bool = True
    temperature: float = 0.9
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.05  # talker only


@dataclass(frozen=True, slots=True)
class Request:
    """What to say. The seed alone decides the codes, whatever else is synthesised beside it."""

    text: str
    voice: str
    language: str = "auto"  # ISO code
    instruct: str | None = None
    seed: int = 0
    layout: Layout = Layout.WHOLE
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, slots=True)
class Speech:
    """A finished utterance."""

    waveform: Waveform
    runaway: bool  # reached its frame budget without ending by itself
