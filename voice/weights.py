"""What the files of a checkpoint must hold: the library fills what is missing with noise and only warns of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.modeling_utils import no_init_weights

from voice.errors import InputError
from voice.upstream import (
    Qwen3TTSConfig,
    Qwen3TTSForConditionalGeneration,
    Qwen3TTSTokenizerV2Config,
    Qwen3TTSTokenizerV2Model,
)

AGAIN = "Download the whole folder again."


def require_tensors(folder: Path, config: Qwen3TTSConfig | None = None) -> None:
    """Raise InputError for the first tensor of model or codec that is missing or has another shape than its config."""
    try:
        config = config or Qwen3TTSConfig.from_pretrained(str(folder))
        codec = Qwen3TTSTokenizerV2Config.from_pretrained(str(folder / "speech_tokenizer"))
        with torch.device("meta"), no_init_weights():
            model = Qwen3TTSForConditionalGeneration(config)
            tokenizer = Qwen3TTSTokenizerV2Model._from_config(codec)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise InputError(f"{folder}: its config.json describes no model ({error}). {AGAIN}") from error
    _compare(folder, _shapes(model))
    _compare(folder / "speech_tokenizer", _shapes(tokenizer))


def _shapes(module: Any) -> dict[str, list[int]]:
    return {name: list(parameter.shape) for name, parameter in module.named_parameters()}


def _compare(folder: Path, expected: dict[str, list[int]]) -> None:
    found = {name: shape for path in sorted(folder.glob("*.safetensors")) for name, shape in _tensors(path)}
    for name, shape in expected.items():
        if name not in found:
            raise InputError(f"{folder}: tensor {name} is missing. {AGAIN}")
        if found[name] != shape:
            raise InputError(f"{folder}: tensor {name} has shape {found[name]}, its config says {shape}. {AGAIN}")


def _tensors(path: Path) -> Iterator[tuple[str, list[int]]]:
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  not a mapping
                yield name, file.get_slice(name).get_shape()
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: is damaged ({error}). {AGAIN}") from error
