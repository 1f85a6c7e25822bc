"""conf/train/: how a voice is trained."""

from dataclasses import dataclass
from enum import StrEnum

from voice.bounds import within


class Optimizer(StrEnum):
    """AdamW, with its two moments in float32 or in 8 bits (bitsandbytes): 8 or about 2 bytes a trained weight."""

    adamw = "adamw"  # lower case: Hydra reads the names
    adamw_8bit = "adamw_8bit"


class Schedule(StrEnum):
    """The learning rate after warm-up."""

    cosine = "cosine"
    constant = "constant"


class Checkpointing(StrEnum):
    """Whether activations are computed twice instead of kept; `auto` does so only where they would not fit."""

    auto = "auto"
    always = "always"  # not on and off, which YAML reads as true and false
    never = "never"


@dataclass(kw_only=True)
class Lora:
    """Adapters beside the talker's linear layers."""

    rank: int = within(low=1)
    alpha: int = within(low=1)
    dropout: float = within(low=0, high=0.9)
    scale: float = within(low=0)  # of the merged adapters, 1 being as trained


@dataclass(kw_only=True)
class Rates:
    """Each part's share of `lr`; 0 freezes it. With LoRA only the adapters move, at 1."""

    text_embedding: float = within(low=0)
    text_projection: float = within(low=0)
    codec_embedding: float = within(low=0)
    layers: float = within(low=0)
    codec_head: float = within(low=0)
    code_predictor: float = within(low=0)


@dataclass(kw_only=True)
class Listen:
    """What the model says during the training, and who listens."""

    every: int | None = within(low=1)  # updates; null: each epoch
    takes: int = within(low=1)
    asr: str
    asr_model: str
    speaker: str
    speaker_model: str
    confidence: float = within(low=0.5, high=1)  # with which an earlier checkpoint must be better than the last one
    patience: int | None = within(low=1)  # stop after so many listenings without a higher score; null never
    forgetting: bool  # speak with languages and instructions that were not trained, before and after


@dataclass(kw_only=True)
class Train:
    """One recipe."""

    lora: Lora | None  # null tunes the weights themselves
    rates: Rates
    lr: float = within(above=0)
    schedule: Schedule
    warmup_share: float = within(low=0, high=1)
    optimizer: Optimizer
    weight_decay: float = within(low=0)
    epochs: int = within(low=1)
    batch_size: int = within(low=1)  # clips of one update, over all micro-batches and processes
    max_positions: int = within(low=1)  # padded positions of one forward pass
    clip_norm: float = within(above=0)
    tag_probability: float = within(low=0, high=1)
    predictor_share: float = within(above=0, high=1)  # of each clip's frames; the code predictor is trained on these
    gradient_checkpointing: Checkpointing
    max_first_loss: float | None  # checked on stock bases only
    listen: Listen | None  # null: the last checkpoint is kept, unheard
    checkpoint_every: int = within(low=1)  # updates
    seed: int = within(low=0)
