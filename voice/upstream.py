"""The official `qwen_tts`, imported without what it prints: banners about SoX and flash-attn, on stdout and stderr."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _silenced() -> Iterator[None]:
    # File descriptors, not sys.stdout: one of the banners comes from a shell that the `sox` package starts.
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(fd) for fd in (1, 2)]
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        for fd in (1, 2):
            os.dup2(null, fd)
        yield
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        for fd, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, fd)
            os.close(copy)
        os.close(null)


logging.getLogger("sox").setLevel(logging.CRITICAL)
with _silenced(), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from qwen_tts import Qwen3TTSModel, Qwen3TTSTokenizer
    from qwen_tts.core.models import Qwen3TTSConfig, Qwen3TTSForConditionalGeneration, Qwen3TTSProcessor
    from qwen_tts.core.models.configuration_qwen3_tts import Qwen3TTSSpeakerEncoderConfig, Qwen3TTSTalkerConfig
    from qwen_tts.core.models.modeling_qwen3_tts import (
        Qwen3TTSSpeakerEncoder,
        Qwen3TTSTalkerForConditionalGeneration,
        mel_spectrogram,
    )
    from qwen_tts.core.tokenizer_12hz.configuration_qwen3_tts_tokenizer_v2 import (
        Qwen3TTSTokenizerV2Config,
        Qwen3TTSTokenizerV2DecoderConfig,
    )
    from qwen_tts.core.tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2 import (
        Qwen3TTSTokenizerV2Decoder,
        Qwen3TTSTokenizerV2Model,
    )
    from transformers.utils import logging as transformers_logging

# what remains below errors tells of defaults that the library itself chose ("config is None", "Setting pad_token_id")
logging.getLogger("qwen_tts").setLevel(logging.ERROR)
transformers_logging.set_verbosity_error()

__all__ = [
    "Qwen3TTSConfig",
    "Qwen3TTSForConditionalGeneration",
    "Qwen3TTSModel",
    "Qwen3TTSProcessor",
    "Qwen3TTSSpeakerEncoder",
    "Qwen3TTSSpeakerEncoderConfig",
    "Qwen3TTSTalkerConfig",
    "Qwen3TTSTalkerForConditionalGeneration",
    "Qwen3TTSTokenizer",
    "Qwen3TTSTokenizerV2Config",
    "Qwen3TTSTokenizerV2Decoder",
    "Qwen3TTSTokenizerV2DecoderConfig",
    "Qwen3TTSTokenizerV2Model",
    "mel_spectrogram",
]
