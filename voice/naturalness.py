"""Predicted mean opinion scores: how natural listeners would find a recording, 1 (bad) to 5 (excellent)."""

from typing import Protocol

import numpy as np

from voice.audio import SAMPLE_RATE, Waveform, resample
from voice.errors import InputError
from voice.provenance import identity

JUDGE_RATE = 16_000  # Hz


class MosPredictor(Protocol):
    """Predicts an opinion from audio alone."""

    name: str
    identity: str  # all that its answers depend on besides the audio

    def predict(self, waveform: Waveform) -> float:
        """Return a score from 1 to 5."""
        ...


class DistillMos:
    """Distill-MOS of Microsoft (arXiv:2502.05356), MIT; its weights come in the wheel, so that it needs no model hub.

    Trained on the quality of transmitted and enhanced speech, not on synthesis: it hears noise, buzz and distortion,
    and says little about intonation.
    """

    name = "distillmos"

    def __init__(self) -> None:
        import contextlib
        import io

        with contextlib.redirect_stdout(io.StringIO()):  # where its weights lie
            from distillmos import ConvTransformerSQAModel

            self._model = ConvTransformerSQAModel().eval()
        self.identity = identity(self.name, code=__file__, packages=("torch", "distillmos"))

    def predict(self, waveform: Waveform) -> float:
        """Predict at 16 kHz."""
        import torch

        audio = resample(waveform, from_rate=SAMPLE_RATE, to_rate=JUDGE_RATE)
        with torch.inference_mode():
            return float(self._model(torch.from_numpy(np.ascontiguousarray(audio))[None]).squeeze())


def load_mos(judge: str) -> MosPredictor:
    """Choose a predictor: `distillmos`."""
    if judge != DistillMos.name:
        raise InputError(f"mos={judge} is not a judge. Use {DistillMos.name}, or null for none.")
    return DistillMos()
