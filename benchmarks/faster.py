"""`faster-qwen3-tts` 0.3.2 beside the engine: one stream, its frames are CUDA graphs as well.

uv pip install --no-deps faster-qwen3-tts==0.3.2      # MIT; no part of the project's own requirements
"""

import importlib
import sys
import time
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch

from voice.engine.voices import Voice
from voice.upstream import Qwen3TTSModel


class Faster:
    """A loaded model, spoken by `faster-qwen3-tts`."""

    def __init__(self, tts: Qwen3TTSModel, *, end: int, positions: int) -> None:
        """`end`: an id of the vocabulary that says so; `positions`: of prompt and frames together."""
        device, dtype = str(tts.model.device), next(tts.model.talker.parameters()).dtype
        if not device.startswith("cuda"):
            sys.exit("error: faster-qwen3-tts runs on CUDA alone. Leave out --faster.")
        self._config, self._end = tts.model.config.talker_config, end
        predictor = tts.model.talker.code_predictor
        # as its from_pretrained does, which can only read a folder
        drawing = _package("predictor_graph").PredictorGraph(
            predictor, predictor.model.config, self._config.hidden_size, device=device, dtype=dtype,
            do_sample=True, top_k=50, temperature=0.9,
        )  # fmt: skip
        reading = _package("talker_graph").TalkerGraph(
            tts.model.talker.model, self._config, device=device, dtype=dtype, max_seq_len=positions
        )
        self._model = _package("model").FasterQwen3TTS(
            tts, drawing, reading, device=device, dtype=dtype, max_seq_len=positions
        )

    def stream(self, text: str, voice: Voice, *, frames: int, chunk: int) -> Iterator[tuple[float, np.ndarray]]:
        """So many frames, `chunk` at a time; each chunk with the seconds since the start."""
        prompt: dict[str, list[Any]] = {
            "ref_code": [None], "ref_spk_embedding": [voice.embedding], "x_vector_only_mode": [True],
            "icl_mode": [False],
        }  # fmt: skip
        started = time.perf_counter()
        with mock.patch.object(self._config, "codec_eos_token_id", self._end):
            for audio, _, _ in self._model.generate_voice_clone_streaming(
                text, "English", voice_clone_prompt=prompt, chunk_size=chunk,
                max_new_tokens=frames, min_new_tokens=frames, non_streaming_mode=True,
            ):  # fmt: skip
                torch.cuda.synchronize()
                yield time.perf_counter() - started, audio


def _package(module: str) -> Any:
    try:
        return importlib.import_module(f"faster_qwen3_tts.{module}")
    except ImportError as error:
        sys.exit(
            f"error: faster-qwen3-tts cannot be imported ({error}). Install it: "
            "`uv pip install --no-deps faster-qwen3-tts==0.3.2`."
        )
