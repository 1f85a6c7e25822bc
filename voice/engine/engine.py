"""A loaded checkpoint that speaks: the core in slots, run by the scheduler."""

from typing import Any

import torch

from voice.engine.core import Core
from voice.engine.linear import Precision
from voice.engine.scheduler import Scheduler
from voice.engine.voices import Voice
from voice.processor import has_bfloat16_products

POSITIONS = 2_048  # of each slot: 60 s of speech with its text, beside a reference of 15 s
SLOTS = {"cuda": 16, "cpu": 4}


def codec_dtype(precision: Precision, device: str) -> torch.dtype:
    """What the codec's products read: bfloat16 where weights are rounded and the processor multiplies it."""
    rounds = device == "cpu" and precision is not Precision.float32 and has_bfloat16_products()
    return torch.bfloat16 if rounds else torch.float32


class Engine:
    """Weights, slots and the thread that runs them."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.scheduler = Scheduler(core)

    def forget(self, voice: Voice) -> None:
        """Keep nothing of a voice that is no more."""
        self.core.forget(voice)

    @classmethod
    def of(
        cls, tts: Any, *, slots: int | None = None, positions: int = POSITIONS, precision: Precision | None = None
    ) -> "Engine":
        """Take the weights of a model that the official package has loaded. It may be dropped afterwards."""
        device = tts.model.talker.device.type
        precision = precision or (Precision.bfloat16 if device == "cuda" else Precision.float32)
        # On the CPU a frame's activations are not rounded: they are few, and float32 is what its kernels add up in.
        # What a longer prompt's products read, in PyTorch, is rounded where the processor multiplies that, and what the
        # codec's do.
        dtype = torch.bfloat16 if device == "cuda" and precision is Precision.bfloat16 else torch.float32
        core = Core(
            tts.model,
            tts.processor.tokenizer,
            slots=slots or SLOTS[device],
            positions=positions,
            precision=precision,
            dtype=dtype,
            codec=codec_dtype(precision, device),
        )
        return cls(core)
