"""conf/model/: which Qwen3-TTS the stages work on."""

from dataclasses import dataclass

from voice.bounds import within


@dataclass(kw_only=True)
class Model:
    """A base checkpoint."""

    source: str  # `tiny`, a hub id, or a folder
    revision: str | None  # commit on the hub, or content hash of a folder; null takes what is there and records it
    stock: bool  # published weights: the first batch's loss must then lie between 2.5 and 3.0
    lr_scale: float = within(above=0)  # of conf/train/, whose rates are for the published widths
    epochs_scale: int = within(low=1)  # of them: a small model has more of a voice to learn
    own_history: float = within(low=0, high=1)  # share of clips told what it says itself (train/history.py)
