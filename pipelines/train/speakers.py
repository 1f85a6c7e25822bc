"""Speakers of a checkpoint: rows of the codec embedding, found by name."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from voice.errors import InputError

ROW_FROM_END = 72  # row 3000 of 3072, where upstream puts a new speaker: clear of codes and control ids


def speaker_name(voice: str) -> str:
    """The name a voice has in a checkpoint. `generate` looks names up in lower case (vllm-omni#2304)."""
    name = voice.lower()
    if not name.replace("_", "").replace("-", "").isalnum():
        raise InputError(f"voice {voice!r} cannot be a speaker's name. Use letters, digits, - and _.")
    return name


def free_row(talker_config: Any) -> int:
    """A row of the codec embedding that no speaker, language or control id uses."""
    values = talker_config.to_dict()
    used = {v for k, v in values.items() if k.startswith("codec_") and k.endswith("_id") and isinstance(v, int)}
    used |= set((values.get("codec_language_id") or {}).values()) | set((values.get("spk_id") or {}).values())
    for row in range(values["vocab_size"] - ROW_FROM_END, values["vocab_size"]):
        if row not in used:
            return row
    raise InputError("the base has no free row for another speaker. Start from the published base.")


def add_speaker(model: Any, name: str, embedding: Float[Tensor, " dimensions"]) -> None:
    """Give a loaded model one more speaker, beside those it has; from then on it is a custom_voice model.

    The row stands in the table, where `generate` looks it up. Training leaves it alone: the objective puts the
    embedding into its slot itself, so the row gets no gradient. Raises InputError if the name is taken.
    """
    talker = model.config.talker_config
    if name in talker.spk_id:
        known = ", ".join(sorted(talker.spk_id))
        raise InputError(f"the base has a speaker {name!r} already (of {known}). Give the voice another name.")
    row = free_row(talker)
    with torch.no_grad():
        model.talker.get_input_embeddings().weight[row] = embedding
    talker.spk_id[name] = row
    talker.spk_is_dialect[name] = False
    model.config.tts_model_type = model.tts_model_type = "custom_voice"
