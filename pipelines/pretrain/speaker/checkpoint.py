"""The encoder of a training run, frozen."""

from pathlib import Path
from typing import Any

import torch

from pipelines.pretrain.run import read_state
from pipelines.pretrain.speaker.train import Shape, build, encoder_settings

# Root mean square of an embedding's numbers, 1 while it learns: as large as the rows it stands among in a prompt.
LENGTH = 0.1


def read_speaker(folder: Path) -> dict[str, Any]:
    """The newest state of the training."""
    return read_state(folder, command="python -m pipelines.pretrain.speaker")


def load_encoder(folder: Path) -> Any:
    """The encoder of the newest state."""
    return encoder_of(read_speaker(folder))[0]


@torch.no_grad()
def encoder_of(state: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The encoder, and the `speaker_encoder_config` of a checkpoint that holds it."""
    shape = Shape(**state["shape"])
    encoder = build(shape)
    encoder.load_state_dict(state["encoder"])
    for parameter in encoder.fc.parameters():
        parameter.mul_(LENGTH)
    return encoder.eval().requires_grad_(False), encoder_settings(shape)
