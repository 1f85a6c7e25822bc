"""A tuned model -> a folder that stock `qwen_tts` loads and that speaks as the new voice."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from voice.errors import InputError

SPEAKER_ROW_FROM_END = 72  # row 3000 of 3072, where upstream puts a new speaker: clear of codes and control ids
_CODEC_EMBEDDING = "talker.model.codec_embedding.weight"


def speaker_name(voice: str) -> str:
    """The name a voice has in a checkpoint. `generate` looks names up in lower case (vllm-omni#2304)."""
    name = voice.lower()
    if not name.replace("_", "").replace("-", "").isalnum():
        raise InputError(f"voice {voice!r} cannot be a speaker's name. Use letters, digits, - and _.")
    return name


def free_speaker_row(config: dict[str, Any]) -> int:
    """A row of the codec embedding that no speaker, language or control id uses."""
    talker = config["talker_config"]
    used = {v for k, v in talker.items() if k.startswith("codec_") and k.endswith("_id") and isinstance(v, int)}
    used |= set((talker.get("codec_language_id") or {}).values()) | set((talker.get("spk_id") or {}).values())
    row = talker["vocab_size"] - SPEAKER_ROW_FROM_END
    while row in used:
        row += 1
    if row >= talker["vocab_size"]:
        raise InputError("the base has no free row for another speaker. Start from the published base.")
    return row


def export(
    base: Path, out: Path, talker: Any, *, speaker: str, speaker_embedding: Float[Tensor, " dimensions"]
) -> float:
    """Write the tuned checkpoint and return the share of the talker's parameters that changed.

    Everything the base has stays, the speaker encoder too: with it the checkpoint can be tuned and clone again.
    Weights are rounded to the base's dtype.
    """
    shutil.copytree(base, out, ignore=shutil.ignore_patterns("*.safetensors", "*.safetensors.index.json", ".*"))
    shutil.copytree(base / "speech_tokenizer", out / "speech_tokenizer", dirs_exist_ok=True)
    config = json.loads((base / "config.json").read_text())
    row = free_speaker_row(config)
    tuned = {f"talker.{name}": tensor.detach().cpu() for name, tensor in talker.state_dict().items()}
    tuned[_CODEC_EMBEDDING] = tuned[_CODEC_EMBEDDING].clone()
    tuned[_CODEC_EMBEDDING][row] = speaker_embedding
    weights = _read_weights(base)
    moved = _moved_share(weights, tuned)
    for name, tensor in tuned.items():
        weights[name] = tensor.to(weights[name].dtype).contiguous()
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(_with_speaker(config, speaker, row), indent=2))
    return moved


def _read_weights(folder: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= load_file(path)
    return weights


def _moved_share(before: dict[str, Tensor], after: dict[str, Tensor]) -> float:
    # counted in the base's dtype: an update that rounding undoes has not happened
    moved = sum(int(torch.count_nonzero(before[n] != t.to(before[n].dtype))) for n, t in after.items())
    return moved / sum(t.numel() for t in after.values())


def _with_speaker(config: dict[str, Any], speaker: str, row: int) -> dict[str, Any]:
    talker = config["talker_config"]
    talker["spk_id"] = {**(talker.get("spk_id") or {}), speaker: row}
    talker["spk_is_dialect"] = {**(talker.get("spk_is_dialect") or {}), speaker: False}
    return {**config, "tts_model_type": "custom_voice"}
