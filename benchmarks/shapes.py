"""Qwen3-TTS at its published sizes with random weights: what costs time and memory does not depend on their values."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.modeling_utils import no_init_weights

from voice import checkpoint
from voice.tiny import build_tiny
from voice.upstream import (
    Qwen3TTSModel,
    Qwen3TTSTalkerConfig,
    Qwen3TTSTalkerForConditionalGeneration,
    Qwen3TTSTokenizerV2Decoder,
    Qwen3TTSTokenizerV2DecoderConfig,
)

CODE_GROUPS, CODEBOOK_SIZE = 16, 2_048
HEADS = {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128}
PREDICTOR = {"hidden_size": 1_024, "intermediate_size": 3_072, "num_hidden_layers": 5, **HEADS}
TALKER = {"num_hidden_layers": 28, "text_vocab_size": 151_936, "text_hidden_size": 2_048, **HEADS}
# the published config.json files; `reduced` keeps the proportions of 0.6b at a thirtieth of its size
SHAPES: dict[str, dict[str, Any]] = {
    "0.6b": {**TALKER, "hidden_size": 1_024, "intermediate_size": 3_072, "code_predictor_config": PREDICTOR},
    "1.7b": {**TALKER, "hidden_size": 2_048, "intermediate_size": 6_144, "code_predictor_config": PREDICTOR},
    "reduced": {
        "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 14, "text_vocab_size": 19_000,
        "text_hidden_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        "code_predictor_config": {
            "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        },
    },
}  # fmt: skip


def talker_config(shape: str) -> Qwen3TTSTalkerConfig:
    """The config of a talker with its code predictor; control ids as published."""
    values = SHAPES[shape]
    section = [values["head_dim"] * share // 128 for share in (24, 20, 20)]
    predictor = {**values["code_predictor_config"], "vocab_size": CODEBOOK_SIZE, "num_code_groups": CODE_GROUPS}
    return Qwen3TTSTalkerConfig(
        **{**values, "code_predictor_config": predictor},
        vocab_size=3_072, num_code_groups=CODE_GROUPS, rope_theta=1_000_000,
        rope_scaling={"interleaved": True, "mrope_section": section, "rope_type": "default", "type": "default"},
        codec_pad_id=2_148, codec_bos_id=2_149, codec_eos_token_id=2_150, codec_think_id=2_154,
        codec_nothink_id=2_155, codec_think_bos_id=2_156, codec_think_eos_id=2_157,
        codec_language_id={"english": 2_050}, spk_id={}, spk_is_dialect={},
    )  # fmt: skip


def build_talker(shape: str, *, device: str, dtype: torch.dtype) -> Any:
    """A talker with random weights, made where it is to run."""
    config = talker_config(shape)
    config._attn_implementation = config.code_predictor_config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    with torch.device(device), no_init_weights():  # once, below: each of the library's layers would do so twice
        talker = Qwen3TTSTalkerForConditionalGeneration(config)
    for parameter in talker.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02)
        else:
            nn.init.ones_(parameter)
    return talker.to(dtype)


# the speech tokenizer of all published models (research: 105 million weights, 4.96 GFLOP a frame)
CODEC = {
    "codebook_dim": 512, "hidden_size": 512, "latent_dim": 1_024, "num_attention_heads": 16, "num_key_value_heads": 16,
    "head_dim": 64, "intermediate_size": 1_024, "num_hidden_layers": 8,
}  # fmt: skip


def build_model(shape: str, *, device: str, dtype: torch.dtype) -> Qwen3TTSModel:
    """A base checkpoint with random weights, as if the official package had loaded it; its encoders are tiny."""
    with tempfile.TemporaryDirectory() as folder:
        build_tiny(Path(folder) / "tiny")
        tts = checkpoint.load(Path(folder) / "tiny", device=device, dtype=dtype)
    tts.model.talker = build_talker(shape, device=device, dtype=dtype).eval()
    tts.model.config.talker_config = tts.model.talker.config
    decoder_config = Qwen3TTSTokenizerV2DecoderConfig(**CODEC)
    tokenizer = tts.model.speech_tokenizer.model
    with torch.device(device), no_init_weights():
        tokenizer.decoder = Qwen3TTSTokenizerV2Decoder._from_config(decoder_config).to(dtype).eval()
    for parameter in tokenizer.decoder.parameters():
        nn.init.normal_(parameter, std=0.02)
    tokenizer.config.decoder_config = decoder_config
    return tts
