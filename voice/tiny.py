"""`tiny`: a random Qwen3-TTS of the real classes and file layout, built in a second, so that every stage runs anywhere.

It speaks noise. Its sizes are chosen to be small and to differ from each other, so that a swapped dimension fails.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import EncodecFeatureExtractor, Qwen2TokenizerFast

from voice.audio import FRAME_SAMPLES, SAMPLE_RATE
from voice.upstream import (
    Qwen3TTSConfig,
    Qwen3TTSForConditionalGeneration,
    Qwen3TTSProcessor,
    Qwen3TTSTokenizerV2Config,
    Qwen3TTSTokenizerV2Model,
)

CODEBOOK_SIZE = 64
CODE_GROUPS = 4
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


@dataclass(frozen=True, slots=True)
class Shape:
    """What differs between the published sizes: with equal hidden sizes `small_to_mtp_projection` is an identity."""

    talker_hidden: int = 64
    predictor_hidden: int = 32

    @property
    def size(self) -> str:
        """`tts_model_size` of the published model with this kind of projection; must not be empty."""
        return "0b6" if self.talker_hidden == self.predictor_hidden else "1b7"


LIKE_1_7B = Shape()
LIKE_0_6B = Shape(talker_hidden=48, predictor_hidden=48)


def build_tiny(folder: Path, *, shape: Shape = LIKE_1_7B, seed: int = 0) -> None:
    """Write a base checkpoint that stock `qwen_tts` loads: model, text tokenizer, speech tokenizer."""
    folder.mkdir(parents=True)
    vocabulary_size, ids = _write_text_tokenizer(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _write_model(folder, shape, vocabulary_size, ids)
        _write_speech_tokenizer(folder / "speech_tokenizer")


def _write_text_tokenizer(folder: Path) -> tuple[int, dict[str, int]]:
    # Byte-level BPE without learned merges, but for `assistant`: the role prefix must be exactly three tokens.
    # The library slices fixed counts (`input_id[:, :3]`, `[:, 3:-5]`).
    vocabulary = {symbol: i for i, symbol in enumerate(_byte_symbols())}
    merges = []
    for end in range(2, len("assistant") + 1):
        word = "assistant"[:end]
        merges.append(f"{word[:-1]} {word[-1]}")
        vocabulary[word] = len(vocabulary)
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


def _byte_symbols() -> list[str]:
    # GPT-2's printable alphabet for the 256 bytes
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    symbol = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}
    return [symbol[b] for b in range(256)]


def _write_model(folder: Path, shape: Shape, text_vocabulary: int, ids: dict[str, int]) -> None:
    config = Qwen3TTSConfig(
        talker_config=_talker_config(shape, text_vocabulary),
        speaker_encoder_config={
            "enc_dim": shape.talker_hidden,
            "enc_channels": [32, 32, 32, 32, 96],
            "enc_attention_channels": 16,
            "enc_res2net_scale": 4,
            "enc_se_channels": 16,
        },
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
    model = Qwen3TTSForConditionalGeneration(config)
    _spread(model)
    write_weights(model, folder)
    write_config(config.to_dict(), folder)
    defaults = {"do_sample": True, "top_k": 50, "top_p": 1.0, "temperature": 0.9, "repetition_penalty": 1.05}
    sub = {f"subtalker_{k}": v for k, v in defaults.items() if k not in ("do_sample", "repetition_penalty")}
    generation = defaults | sub | {"subtalker_dosample": True, "max_new_tokens": 8_192}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2))


def _talker_config(shape: Shape, text_vocabulary: int) -> dict[str, Any]:
    first = CODEBOOK_SIZE + 100  # the published models also leave a gap between codes and control ids
    control = ("pad", "bos", "eos", "think", "nothink", "think_bos", "think_eos")
    names = {"pad": "codec_pad_id", "bos": "codec_bos_id", "eos": "codec_eos_token_id"}
    config: dict[str, Any] = {names.get(name, f"codec_{name}_id"): first + i for i, name in enumerate(control)}
    return config | {
        "vocab_size": CODEBOOK_SIZE + SPECIAL_ROWS,
        "hidden_size": shape.talker_hidden,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_theta": 1_000_000,
        "rope_scaling": {"interleaved": True, "mrope_section": [4, 2, 2], "rope_type": "default", "type": "default"},
        "num_code_groups": CODE_GROUPS,
        "text_hidden_size": 40,
        "text_vocab_size": text_vocabulary,
        "codec_language_id": {name: first + 20 + i for i, name in enumerate(LANGUAGE_ROWS)},
        "spk_id": {},
        "spk_is_dialect": {},
        "code_predictor_config": {
            "vocab_size": CODEBOOK_SIZE,
            "hidden_size": shape.predictor_hidden,
            "intermediate_size": 80,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "num_code_groups": CODE_GROUPS,
        },
    }


def _write_speech_tokenizer(folder: Path) -> None:
    folder.mkdir()
    config = Qwen3TTSTokenizerV2Config(
        encoder_config={
            "hidden_size": 32,
            "num_filters": 4,
            "codebook_size": CODEBOOK_SIZE,
            "codebook_dim": 16,
            "vector_quantization_hidden_dimension": 16,
            "num_quantizers": CODE_GROUPS,
            "upsample_groups": 32,
            "num_hidden_layers": 1,
            "intermediate_size": 48,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
        },
        decoder_config={
            "codebook_size": CODEBOOK_SIZE,
            "codebook_dim": 32,
            "hidden_size": 32,
            "latent_dim": 32,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_quantizers": CODE_GROUPS,
            "decoder_dim": 64,
        },
        encoder_valid_num_quantizers=CODE_GROUPS,
    )
    model = Qwen3TTSTokenizerV2Model(config)
    _spread(model)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith(("embedding_sum", "embed_sum")):  # zeros by default: every code would sound and look the same
            nn.init.normal_(tensor)
    _make_audible(model)
    write_weights(model, folder)
    write_config(config.to_dict(), folder)
    EncodecFeatureExtractor(feature_size=1, sampling_rate=SAMPLE_RATE, padding_value=0.0).save_pretrained(folder)
    if config.decode_upsample_rate != FRAME_SAMPLES:
        raise AssertionError("tiny must speak at the published frame rate")


@torch.no_grad()
def _make_audible(model: Any, level: float = 0.05) -> None:
    # Random convolutions fade to silence: scale the last one so that random codes sound at `level` RMS.
    last = model.decoder.decoder[-1].conv
    last.bias.zero_()
    codes = torch.randint(CODEBOOK_SIZE, (1, CODE_GROUPS, 25))
    last.weight.mul_(level / model.decoder.eval()(codes).std())


@torch.no_grad()
def _spread(model: nn.Module) -> None:
    # The library initialises linear layers to N(0, 0.02): at these widths logits would hardly differ. Widen them.
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "quantizer" not in name:
            parameter.normal_(0.0, parameter.shape[1] ** -0.5)


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
