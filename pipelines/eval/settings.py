"""conf/eval/: what is said, who judges, and what counts as better."""

from dataclasses import dataclass
from enum import StrEnum


class System(StrEnum):
    """A way to speak as the voice."""

    ZERO_SHOT = "zero_shot"  # reference audio and text in the prompt: the strongest baseline
    ZERO_SHOT_EMBEDDING = "zero_shot_embedding"  # the reference's speaker embedding only
    FINETUNED = "finetuned"


@dataclass
class Eval:
    """One evaluation."""

    text_limit: int | None  # sentences of the fixed set; null takes all
    held_out_limit: int | None  # held-out sentences that are synthesised as well
    takes: int
    seed: int
    asr: str
    asr_model: str
    speaker: str
    speaker_model: str
    other_speaker: str
    resamples: int
    wer_margin: float
    players: int
