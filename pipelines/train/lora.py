"""LoRA on the talker: adapters beside its linear layers, merged into them for export."""

from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer

from pipelines.train.settings import Lora

# The code predictor has layers of the same names: a bare list of suffixes would hit both.
TARGETS = r"model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"


def add_adapters(talker: Any, lora: Lora) -> PeftModel:
    """Freeze the talker and put adapters into its transformer; the talker itself is changed in place."""
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=TARGETS)
    return get_peft_model(talker, config)


def set_scale(adapted: PeftModel, scale: float) -> None:
    """Multiply what the adapters add. Below 1 a voice sounds more like the base."""
    for module in adapted.modules():
        if isinstance(module, LoraLayer):
            module.set_scale("default", scale)


def merge_adapters(adapted: PeftModel) -> Any:
    """Fold the adapters into the talker's weights and return the talker as it was built."""
    return adapted.merge_and_unload()
