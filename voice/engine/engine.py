"""A loaded checkpoint that speaks: the core in slots, run by the scheduler."""

from functools import partial
from typing import Any

import torch

from voice import checkpoint
from voice.engine.core import Core
from voice.engine.linear import Dense
from voice.engine.scheduler import Scheduler

POSITIONS = 2_048  # of each slot: 60 s of speech with its text, beside a reference of 15 s
SLOTS = {"cuda": 16, "cpu": 4}


class Engine:
    """Weights, slots and the thread that runs them."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.scheduler = Scheduler(core)

    @classmethod
    def of(
        cls, tts: Any, *, slots: int | None = None, positions: int = POSITIONS, dtype: torch.dtype | None = None
    ) -> "Engine":
        """Take the weights of a model that the official package has loaded. It may be dropped afterwards."""
        device = tts.model.talker.device
        dtype = dtype or checkpoint.inference_dtype(str(device))
        core = Core(
            tts.model,
            tts.processor.tokenizer,
            slots=slots or SLOTS[device.type],
            positions=positions,
            make=partial(Dense, dtype=dtype),
            dtype=dtype,
        )
        return cls(core)
