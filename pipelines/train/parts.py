"""The talker's parts: what moves, and how fast."""

from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from pipelines.train.settings import Lora, Rates
from voice.errors import InputError

ADAPTERS = "adapters"
# how the parameters of each part of `Rates` begin
PREFIXES: dict[str, str | tuple[str, ...]] = {
    "text_embedding": "model.text_embedding.",
    "text_projection": "text_projection.",
    "codec_embedding": "model.codec_embedding.",
    "layers": ("model.layers.", "model.norm."),
    "codec_head": "codec_head.",
    "code_predictor": "code_predictor.",
}


def part_of(name: str) -> str:
    """The part that a parameter of the talker belongs to."""
    if ".lora_" in name:
        return ADAPTERS
    for part, prefix in PREFIXES.items():
        if name.startswith(prefix):
            return part
    raise ValueError(f"{name} belongs to no part of the talker")


def set_trainable(talker: Any, rates: Rates, lora: Lora | None, *, frozen_dtype: torch.dtype) -> None:
    """Freeze what does not move and hold it in `frozen_dtype`; what moves stays in float32.

    By default the text embedding does not: a voice's few words would only tear holes (Qwen's own tuned voices moved it
    by 0.01 % where other parts moved by percents; research by FelysNeko). Raises InputError if nothing would move.
    """
    shares: dict[str, float] = {ADAPTERS: 1.0} if lora else asdict(rates)
    for name, parameter in talker.named_parameters():
        parameter.requires_grad_(shares.get(part_of(name), 0.0) > 0)
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(frozen_dtype)
    if not any(p.requires_grad for p in talker.parameters()):
        raise InputError("train.rates freezes every part. Give one of them a rate above 0.")


def trainable(talker: Any) -> dict[str, nn.Parameter]:
    """The parameters that move, by name."""
    return {name: p for name, p in talker.named_parameters() if p.requires_grad}


def parameter_groups(talker: Any, rates: Rates, *, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """One optimiser group for each part that moves, matrices apart from the rest.

    Weight decay is for matrices that multiply. On norms and biases it only shrinks, and on tables it would shrink the
    rows that no clip uses: other languages and other speakers.
    """
    shares: dict[str, float] = {ADAPTERS: 1.0, **asdict(rates)}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in trainable(talker).items():
        decays = parameter.ndim > 1 and "embedding" not in name
        groups.setdefault((part_of(name), decays), []).append(parameter)
    return [
        {"name": part, "params": chosen, "lr": lr * shares[part], "weight_decay": weight_decay if decays else 0.0}
        for (part, decays), chosen in groups.items()
    ]
