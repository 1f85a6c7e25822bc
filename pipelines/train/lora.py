"""LoRA on the talker: adapters beside its linear layers, merged into them for export."""

from dataclasses import dataclass
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model

from voice.bounds import within

# The code predictor has layers of the same names: a bare list of suffixes would hit both.
TARGETS = r"model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"


@dataclass(kw_only=True)
class Lora:
    """Size of the adapters."""

    rank: int = within(low=1)
    alpha: int = within(low=1)
    dropout: float = within(low=0, high=0.9)


def add_adapters(talker: Any, lora: Lora) -> PeftModel:
    """Freeze the talker and put adapters into its transformer; the talker itself is changed in place."""
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=TARGETS)
    return get_peft_model(talker, config)


def merge_adapters(adapted: PeftModel) -> Any:
    """Fold the adapters into the talker's weights and return the talker as it was built."""
    return adapted.merge_and_unload()
