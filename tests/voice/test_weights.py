import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from voice import checkpoint
from voice.errors import InputError


def edited(folder: Path, part: str, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / part / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


NORM, CONV = "talker.model.layers.1.input_layernorm.weight", "decoder.pre_conv.conv.weight"
ENCODER = "encoder.encoder.layers.0.conv.weight"


@pytest.mark.parametrize(
    ("part", "change", "says"),
    [
        ("", lambda w: w.pop(NORM), NORM),
        ("", lambda w: w.update({NORM: torch.ones(3)}), r"shape \[3\], its config says \[64\]"),
        ("speech_tokenizer", lambda w: w.pop(CONV), CONV),
        ("speech_tokenizer", lambda w: w.update({CONV: torch.ones(2, 2, 2)}), "shape"),
        ("speech_tokenizer", lambda w: w.pop(ENCODER), ENCODER),
    ],
)
def test_a_missing_or_misshapen_tensor_is_named(
    tiny_folder: Path, tmp_path: Path, part: str, change: Callable[[dict[str, Any]], None], says: str
):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    edited(folder, part, change)
    with pytest.raises(InputError, match=says):
        checkpoint.load(folder, device="cpu", dtype=torch.float32)


def test_a_file_that_was_cut_short_is_named(tiny_folder: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(InputError, match=r"model\.safetensors: is damaged"):
        checkpoint.load(folder, device="cpu", dtype=torch.float32)


def test_a_config_of_something_else_is_named(tiny_folder: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["talker_config"]["num_attention_heads"] = "many"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="describes no model"):
        checkpoint.load(folder, device="cpu", dtype=torch.float32)
