"""Weights in a checkpoint, and after how many steps: a training may go on from them (pipelines/pretrain/unpack.py)."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from voice.errors import InputError

WEIGHTS_FILE = "model.safetensors"


def save_weights(tensors: Mapping[str, Tensor], folder: Path, **steps: int) -> None:
    """Write the file that stock classes load, and how many steps each part has been trained for."""
    metadata = {_key(part): str(step) for part, step in steps.items()}
    save_file(dict(tensors), folder / WEIGHTS_FILE, metadata={"format": "pt", **metadata})


def step_of(folder: Path, part: str) -> int:
    """How many steps a part was trained for. Raises InputError where nobody wrote it down."""
    with safe_open(folder / WEIGHTS_FILE, "pt") as file:
        said = (file.metadata() or {}).get(_key(part))
    if said is None:
        raise InputError(f"{folder} does not say how long its {part} was trained. Choose one that this project made.")
    return int(said)


def _key(part: str) -> str:
    return f"{part}_steps"
