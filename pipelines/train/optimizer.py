"""AdamW and its schedule."""

import math
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from pipelines.train import settings
from voice.errors import InputError


def build_optimizer(kind: settings.Optimizer, groups: list[dict[str, Any]]) -> Optimizer:
    """AdamW over parameter groups. Raises InputError where the 8-bit one is not installed."""
    if kind is settings.Optimizer.adamw:
        return torch.optim.AdamW(groups, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise InputError(
            "train.optimizer=adamw_8bit needs bitsandbytes, which does not load here. Use train.optimizer=adamw."
        ) from error
    return AdamW8bit(groups)


def build_schedule(optimizer: Optimizer, kind: settings.Schedule, *, warmup_share: float, steps: int) -> LRScheduler:
    """Rise to the full rate in a share of all updates, then fall along a cosine towards 0 or stay."""
    warmup = round(warmup_share * steps)

    def rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)  # not from 0, as transformers has it: the first update is an update, too
        if kind is settings.Schedule.constant:
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return LambdaLR(optimizer, rate)
