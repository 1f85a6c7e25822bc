"""conf/eval/: what is said, who judges, and what counts as better."""

from dataclasses import dataclass
from enum import StrEnum

from voice.bounds import within


class System(StrEnum):
    """A way to speak as the voice."""

    ZERO_SHOT = "zero_shot"  # reference audio and text in the prompt: the strongest baseline
    ZERO_SHOT_EMBEDDING = "zero_shot_embedding"  # the reference's speaker embedding only
    FINETUNED = "finetuned"


@dataclass(kw_only=True)
class Eval:
    """One evaluation."""

    text_limit: int | None = within(low=1)  # sentences of the fixed set; null takes all
    held_out_limit: int | None = within(low=0)  # held-out sentences that are synthesised as well
    takes: int = within(low=1)
    seed: int
    asr: str
    asr_model: str
    asr_url: str | None
    speaker: str
    speaker_model: str
    other_speaker: str
    resamples: int = within(low=100)
    wer_margin: float = within(low=0)
    players: int = within(low=0)
