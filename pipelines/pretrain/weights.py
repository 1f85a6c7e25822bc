"""Weights in a checkpoint, and after how many steps: a training may go on from them (pipelines/pretrain/unpack.py)."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

WEIGHTS_FILE = "model.safetensors"
_STEP = "step"


def save_weights(tensors: Mapping[str, Tensor], folder: Path, *, step: int) -> None:
    """Write the file that stock classes load."""
    save_file(dict(tensors), folder / WEIGHTS_FILE, metadata={"format": "pt", _STEP: str(step)})


def step_of(folder: Path) -> int:
    """How many steps the weights in `folder` have been trained for; 0 if nobody wrote it down."""
    with safe_open(folder / WEIGHTS_FILE, "pt") as file:
        return int((file.metadata() or {}).get(_STEP, 0))
