"""`faster-qwen3-tts` beside the engine: one stream, its frames are CUDA graphs as well."""

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import torch
from faster_qwen3_tts.model import FasterQwen3TTS
from faster_qwen3_tts.predictor_graph import PredictorGraph
from faster_qwen3_tts.talker_graph import TalkerGraph

from voice.engine.voices import Voice
from voice.upstream import Qwen3TTSModel


class Faster:
    """A loaded model on a CUDA device, spoken by `faster-qwen3-tts` 0.3.2; its end must be no id of the vocabulary."""

    def __init__(self, tts: Qwen3TTSModel, *, positions: int, chunk: int) -> None:
        """Records its graphs. `positions`: of prompt and frames together; `chunk`: frames that it gives at a time."""
        device, config = str(tts.model.device), tts.model.config.talker_config
        dtype, predictor = next(tts.model.talker.parameters()).dtype, tts.model.talker.code_predictor
        # as its from_pretrained does, which can only read a folder
        drawing = PredictorGraph(
            predictor, predictor.model.config, config.hidden_size, device=device, dtype=dtype,
            do_sample=True, top_k=50, temperature=0.9,
        )  # fmt: skip
        reading = TalkerGraph(tts.model.talker.model, config, device=device, dtype=dtype, max_seq_len=positions)
        self._model = FasterQwen3TTS(tts, drawing, reading, device=device, dtype=dtype, max_seq_len=positions)
        self._chunk = chunk
        with redirect_stdout(sys.stderr):  # what it prints meanwhile would stand in the table
            self._model.warmup()

    def stream(self, text: str, voice: Voice, *, frames: int) -> Iterator[np.ndarray]:
        """So many frames; a chunk is done when it comes."""
        prompt: dict[str, list[Any]] = {
            "ref_code": [None], "ref_spk_embedding": [voice.embedding], "x_vector_only_mode": [True],
            "icl_mode": [False],
        }  # fmt: skip
        for audio, _, _ in self._model.generate_voice_clone_streaming(
            text, "English", voice_clone_prompt=prompt, chunk_size=self._chunk,
            max_new_tokens=frames, min_new_tokens=0, non_streaming_mode=True,
        ):  # fmt: skip
            torch.cuda.synchronize()
            yield audio
