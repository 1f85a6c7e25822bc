"""A tuned model -> a folder that stock `qwen_tts` loads and that speaks as the new voice."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipelines.train.parts import part_of

# of the base's own pack, if it is one: this voice gets its own
NOT_COPIED = ("*.safetensors", "*.safetensors.index.json", ".*", "voice.json", "reference.*", "adapter")


CODEC_EMBEDDING = "talker.model.codec_embedding.weight"


@dataclass(frozen=True, slots=True)
class Change:
    """How far a part of the talker is from the base."""

    moved_share: float  # of its weights, counted in the base's dtype: what rounding undoes has not happened
    drift: float  # length of the difference over length of the base


def export(base: Path, out: Path, model: Any) -> dict[str, Change]:
    """Write a tuned model, its speakers with it, and return how far each part moved; `talker` is all of them.

    Everything the base has stays, the speaker encoder too: with it the checkpoint can be tuned and clone again.
    Weights are rounded to the base's dtype.
    """
    shutil.copytree(base, out, ignore=shutil.ignore_patterns(*NOT_COPIED), dirs_exist_ok=True)
    shutil.copytree(base / "speech_tokenizer", out / "speech_tokenizer", dirs_exist_ok=True)
    weights = _read_weights(base)
    tuned = {f"talker.{name}": tensor.detach().cpu() for name, tensor in model.talker.state_dict().items()}
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    talker = model.config.talker_config
    changes = measure_changes(weights, tuned, but_rows=_new_rows(config, talker))
    for name, tensor in tuned.items():
        weights[name] = tensor.to(weights[name].dtype).contiguous()
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    speakers = {"spk_id": dict(talker.spk_id), "spk_is_dialect": dict(talker.spk_is_dialect)}
    config["talker_config"] = {**config["talker_config"], **speakers}
    config["tts_model_type"] = "custom_voice"
    (out / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return changes


def _read_weights(folder: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= load_file(path)
    return weights


def _new_rows(config: dict[str, Any], talker: Any) -> list[int]:
    known = (config["talker_config"].get("spk_id") or {}).values()
    return [row for row in talker.spk_id.values() if row not in known]


def measure_changes(
    before: dict[str, Tensor], after: dict[str, Tensor], *, but_rows: Sequence[int] = ()
) -> dict[str, Change]:
    """Compare tensors named `talker.<parameter>` part by part, and all together as `talker`.

    `but_rows` of the codec embedding are left out: a new speaker's row is put there, not trained.
    """
    totals: dict[str, list[float]] = {}
    for name, tensor in after.items():
        old, new = before[name], tensor.to(before[name].dtype)
        if name == CODEC_EMBEDDING:
            rest = [row for row in range(len(old)) if row not in but_rows]
            old, new = old[rest], new[rest]
        moved = int(torch.count_nonzero(old != new))
        difference, length = (float(x.float().pow(2).sum()) for x in (new.float() - old.float(), old))
        for part in (part_of(name.removeprefix("talker.")), "talker"):
            sums = totals.setdefault(part, [0.0, 0.0, 0.0, 0.0])
            for i, value in enumerate((moved, old.numel(), difference, length)):
                sums[i] += value
    return {part: Change(m / n, (d / max(w, 1e-12)) ** 0.5) for part, (m, n, d, w) in totals.items()}
