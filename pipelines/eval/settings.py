"""conf/eval/, conf/judges/, conf/systems.yaml: what is said and by whom, who judges, and what counts as better."""

from dataclasses import dataclass, field
from enum import StrEnum

from voice.bounds import within
from voice.errors import InputError


class System(StrEnum):
    """A way to speak as the voice."""

    ZERO_SHOT = "zero_shot"  # reference audio and text in the prompt: the strongest baseline
    ZERO_SHOT_EMBEDDING = "zero_shot_embedding"  # the reference's speaker embedding only
    FINETUNED = "finetuned"
    FINETUNED_IN_CONTEXT = "finetuned_in_context"  # the tuned weights, imitating the reference as zero-shot does


REAL, CODEC = "real", "codec"  # the owner's held-out clips, as recorded and after the speech tokenizer


@dataclass(kw_only=True)
class Eval:  # conf/eval/
    """One evaluation."""

    text_limit: int | None = within(low=1)  # sentences of the fixed set; null takes all
    held_out_limit: int | None = within(low=0)  # held-out sentences that are synthesised as well
    takes: int = within(low=1)
    seed: int
    batch: int = within(low=1)
    first_audio: int = within(low=0)
    early_stop_ratio: float = within(above=1)
    floors: dict[str, str] = field(default_factory=dict)  # name -> folder of another person's clips
    resamples: int = within(low=100)
    sim_margin: float = within(low=0)
    wer_margin: float = within(low=0)
    runaway_margin: float = within(low=0)
    votes: int = within(low=6)
    players: int = within(low=0)
    audio_megabytes: float = within(low=0)
    next_sentences: int = within(low=0)


@dataclass(kw_only=True)
class Judges:  # conf/judges/
    """Who judges."""

    asr: str
    asr_model: str
    asr_url: str | None
    speaker: str
    speaker_model: str
    mos: str | None


@dataclass(kw_only=True)
class MoreSystem:
    """A further voice to compare: a checkpoint that `finetune` or `package` made, of this or another run."""

    checkpoint: str  # folder of a voice pack, or a file {url, model, voice} of a server with OpenAI's route
    in_context: bool = False  # imitate the pack's reference instead of speaking as its row


def system_names(more: dict[str, MoreSystem], floors: dict[str, str]) -> list[str]:
    """All systems, the four of every evaluation first. Raises InputError for impossible names, and without floors."""
    if not floors:
        raise InputError("floors in conf/eval/ is empty: figures without another voice beside them mean nothing.")
    names = [*(system.value for system in System), *more]
    taken = [*(system.value for system in System), REAL, CODEC]
    for place, added in (("conf/systems.yaml", more), ("floors in conf/eval/", floors)):
        for name in added:
            if name in taken or not name.replace("_", "").isalnum() or name.startswith("_"):
                raise InputError(f"{place}: {name!r} is taken or not a plain name. Use letters, digits and _.")
            taken.append(name)
    return names
