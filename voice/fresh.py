"""A Qwen3-TTS that starts from nothing: the files of a checkpoint in which all weights are still random.

`tiny` (random for good) and `nano` (then trained) are made here, so that both have what stock `qwen_tts` loads.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn
from transformers import EncodecFeatureExtractor, Qwen2TokenizerFast

from voice.audio import SAMPLE_RATE
from voice.bounds import within
from voice.errors import InputError
from voice.upstream import Qwen3TTSConfig, Qwen3TTSProcessor

# generate() suppresses the last 1024 rows of the codec vocabulary, where the control ids live; a smaller vocabulary
# leaves nothing to sample from (NaN).
SPECIAL_ROWS = 1_024
LANGUAGE_ROWS = (
    "chinese",
    "english",
    "japanese",
    "korean",
    "german",
    "french",
    "russian",
    "portuguese",
    "spanish",
    "italian",
)


@dataclass(kw_only=True)
class StackShape:
    """Widths of a transformer."""

    hidden: int = within(low=1)
    intermediate: int = within(low=1)
    layers: int = within(low=1)
    heads: int = within(low=1)
    kv_heads: int = within(low=1)
    head_dim: int = within(low=8)

    def settings(self) -> dict[str, Any]:
        """Their names in a config."""
        return {
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
        }


@dataclass(kw_only=True)
class TalkerShape:
    """Widths of talker and code predictor, and the codes they speak."""

    codebooks: int = within(low=2)
    codebook_size: int = within(low=2)
    text_hidden: int = within(low=1)
    talker: StackShape
    predictor: StackShape
    rope_theta: float = 1_000_000.0  # of the talker: as published, where heads are 128 wide

    @property
    def size(self) -> str:
        """`tts_model_size` of the published model with this kind of projection; must not be empty.

        With equal hidden sizes `small_to_mtp_projection` is an identity, as at 0.6B.
        """
        return "0b6" if self.talker.hidden == self.predictor.hidden else "1b7"


def write_text_tokenizer(folder: Path, merges: Sequence[str] = ()) -> tuple[int, dict[str, int]]:
    """Write a tokenizer in the Qwen2 format: bytes, joined by `merges` (lines of a merges.txt, the first ones first).

    Returns its size and the ids of the special tokens.
    """
    # `assistant` is one token: the role prefix must be exactly three, the library slices fixed counts
    # (`input_id[:, :3]`, `[:, 3:-5]`).
    merges = [*merges, *_joining("assistant", merges)]
    vocabulary = {symbol: i for i, symbol in enumerate([*_byte_symbols(), *(m.replace(" ", "") for m in merges)])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    special = ["<|im_start|>", "<|im_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>"]
    tokenizer = Qwen2TokenizerFast(
        vocab_file=str(folder / "vocab.json"),
        merges_file=str(folder / "merges.txt"),
        additional_special_tokens=special,
    )
    Qwen3TTSProcessor(tokenizer=tokenizer).save_pretrained(folder)
    return len(tokenizer), {token: tokenizer.vocab[token] for token in special}


def _joining(word: str, merges: Sequence[str]) -> list[str]:
    """The merges that are still needed for `word` to be one token."""
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    parts = list(word)
    while found := [(ranks[f"{a} {b}"], at) for at, (a, b) in enumerate(pairwise(parts)) if f"{a} {b}" in ranks]:
        _, at = min(found)
        parts[at : at + 2] = ["".join(parts[at : at + 2])]
    starts = list(accumulate(parts))
    return [f"{start} {part}" for start, part in zip(starts, parts[1:], strict=False)]


def _byte_symbols() -> list[str]:
    # GPT-2's printable alphabet for the 256 bytes
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    symbol = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    return [symbol[b] for b in range(256)]


def base_config(
    shape: TalkerShape, speaker_encoder: dict[str, Any], *, text_vocabulary: int, ids: dict[str, int]
) -> Any:
    """The config of a base model. `ids` are those of `write_text_tokenizer`."""
    return Qwen3TTSConfig(
        talker_config=_talker_config(shape, text_vocabulary),
        speaker_encoder_config=speaker_encoder,
        tokenizer_type="qwen3_tts_tokenizer_12hz",
        tts_model_size=shape.size,
        tts_model_type="base",
        im_start_token_id=ids["<|im_start|>"],
        im_end_token_id=ids["<|im_end|>"],
        tts_pad_token_id=ids["<tts_pad>"],
        tts_bos_token_id=ids["<tts_text_bos>"],
        tts_eos_token_id=ids["<tts_text_eod>"],
        architectures=["Qwen3TTSForConditionalGeneration"],
    )


def _talker_config(shape: TalkerShape, text_vocabulary: int) -> dict[str, Any]:
    first = shape.codebook_size + 100  # the published models also leave a gap between codes and control ids
    control = ("pad", "bos", "eos", "think", "nothink", "think_bos", "think_eos")
    names = {"pad": "codec_pad_id", "bos": "codec_bos_id", "eos": "codec_eos_token_id"}
    config: dict[str, Any] = {names.get(name, f"codec_{name}_id"): first + i for i, name in enumerate(control)}
    quarter = shape.talker.head_dim // 8  # of the rotated half: the published 24, 20, 20 of 64 in all
    sections = [shape.talker.head_dim // 2 - 2 * quarter, quarter, quarter]
    return config | {
        **shape.talker.settings(),
        "vocab_size": shape.codebook_size + SPECIAL_ROWS,
        "rope_theta": shape.rope_theta,
        "rope_scaling": {"interleaved": True, "mrope_section": sections, "rope_type": "default", "type": "default"},
        "num_code_groups": shape.codebooks,
        "text_hidden_size": shape.text_hidden,
        "text_vocab_size": text_vocabulary,
        "codec_language_id": {name: first + 20 + i for i, name in enumerate(LANGUAGE_ROWS)},
        "spk_id": {},
        "spk_is_dialect": {},
        "code_predictor_config": {
            **shape.predictor.settings(),
            "vocab_size": shape.codebook_size,
            "num_code_groups": shape.codebooks,
        },
    }


def write_generation_config(folder: Path, changes: Mapping[str, Any] | None = None) -> None:
    """Write the sampling of the published checkpoints, with `changes`. Raises InputError for a key it does not have."""
    defaults = {"do_sample": True, "top_k": 50, "top_p": 1.0, "temperature": 0.9, "repetition_penalty": 1.05}
    sub = {f"subtalker_{k}": v for k, v in defaults.items() if k not in ("do_sample", "repetition_penalty")}
    generation = defaults | sub | {"subtalker_dosample": True, "max_new_tokens": 8_192}
    changes = changes or {}
    if unknown := changes.keys() - generation.keys():
        raise InputError(f"generation_config.json has no {min(unknown)!r}. It has {', '.join(generation)}.")
    generation |= changes
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2))


def write_weights(model: nn.Module, folder: Path) -> None:
    """Write model.safetensors. (`save_pretrained` of the official classes fails.)"""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def write_config(config: dict[str, Any], folder: Path) -> None:
    """Write config.json so that the official class reads it back: its speaker encoder takes no `model_type`."""
    nested = config.get("speaker_encoder_config")
    if isinstance(nested, dict):
        nested.pop("model_type", None)
    (folder / "config.json").write_text(json.dumps(config, indent=2, default=str))


def write_feature_extractor(folder: Path) -> None:
    """Write what a speech tokenizer's folder says of the audio that goes in."""
    EncodecFeatureExtractor(feature_size=1, sampling_rate=SAMPLE_RATE, padding_value=0.0).save_pretrained(folder)
