"""`tiny`: a random Qwen3-TTS of the real classes and file layout, built in a second, so that every stage runs anywhere.

It speaks noise. Its sizes are chosen to be small and to differ from each other, so that a swapped dimension fails.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from voice.audio import FRAME_SAMPLES
from voice.fresh import (
    StackShape,
    TalkerShape,
    base_config,
    write_config,
    write_feature_extractor,
    write_generation_config,
    write_text_tokenizer,
    write_weights,
)
from voice.upstream import Qwen3TTSForConditionalGeneration, Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model

CODEBOOK_SIZE = 64
CODE_GROUPS = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """What differs between the published sizes."""

    talker_hidden: int = 64
    predictor_hidden: int = 32

    def talker(self) -> TalkerShape:
        """All widths."""
        return TalkerShape(
            codebooks=CODE_GROUPS,
            codebook_size=CODEBOOK_SIZE,
            text_hidden=40,
            talker=StackShape(hidden=self.talker_hidden, intermediate=96, layers=2, heads=4, kv_heads=2, head_dim=16),
            predictor=StackShape(
                hidden=self.predictor_hidden, intermediate=80, layers=2, heads=2, kv_heads=1, head_dim=16
            ),
        )


LIKE_1_7B = Shape()
LIKE_0_6B = Shape(talker_hidden=48, predictor_hidden=48)


def build_tiny(folder: Path, *, shape: Shape = LIKE_1_7B, seed: int = 0) -> None:
    """Write a base checkpoint that stock `qwen_tts` loads: model, text tokenizer, speech tokenizer."""
    folder.mkdir(parents=True)
    vocabulary_size, ids = write_text_tokenizer(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _write_model(folder, shape, vocabulary_size, ids)
        _write_speech_tokenizer(folder / "speech_tokenizer")


def _write_model(folder: Path, shape: Shape, text_vocabulary: int, ids: dict[str, int]) -> None:
    speaker_encoder = {
        "enc_dim": shape.talker_hidden,
        "enc_channels": [32, 32, 32, 32, 96],
        "enc_attention_channels": 16,
        "enc_res2net_scale": 4,
        "enc_se_channels": 16,
    }
    config = base_config(shape.talker(), speaker_encoder, text_vocabulary=text_vocabulary, ids=ids)
    model = Qwen3TTSForConditionalGeneration(config)
    _spread(model)
    write_weights(model, folder)
    write_config(config.to_dict(), folder)
    write_generation_config(folder)


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
    write_feature_extractor(folder)
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
