"""What a codec checkpoint becomes: the `speech_tokenizer` folder that stock `qwen_tts` loads."""

from pathlib import Path
from typing import Any

import torch

from pipelines.pretrain.codec.model import Shape, TrainableCodec
from voice.errors import InputError


def export(state: dict[str, Any], folder: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write the averaged weights and the codebooks. At 16 bits the codec takes half of the bytes and codes stay."""
    if not state["codec"]["quantising"]:
        raise InputError(f"step {state['step']} is still an autoencoder: no codebooks yet. Wait for its first codes.")
    codec = TrainableCodec(Shape(**state["shape"]), decay=0.0, revive_below=0.0)
    codec.restore(state["codec"])
    codec.write(folder, step=state["step"], weights=state["average"], dtype=dtype)
