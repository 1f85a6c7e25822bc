"""Speaker encoders that judge whose voice it is. None of them conditions the model. Their names go into the metrics."""

from typing import Protocol

import numpy as np
from jaxtyping import Float32

from voice import hub
from voice.audio import SAMPLE_RATE, Waveform, resample
from voice.errors import InputError

JUDGE_RATE = 16_000  # Hz
ECAPA_FILES = ("hyperparams.yaml", "*.ckpt", "*.txt", "*.json")

Embedding = Float32[np.ndarray, " dimensions"]  # of length 1


class SpeakerEncoder(Protocol):
    """Maps a waveform to a direction; the cosine between two says how alike the voices are."""

    name: str

    def embed(self, waveform: Waveform) -> Embedding:
        """Return an embedding of length 1."""
        ...


def similarity(one: Embedding, other: Embedding) -> float:
    """Cosine similarity, in [-1, 1]."""
    return float(np.dot(one, other))


def _unit(vector: np.ndarray) -> Embedding:
    return (vector / max(float(np.linalg.norm(vector)), 1e-9)).astype(np.float32)


class Ecapa:
    """ECAPA-TDNN of speechbrain (spkrec-ecapa-voxceleb, 192 dimensions)."""

    name = "ecapa"

    def __init__(self, model: str, *, device: str) -> None:
        from speechbrain.inference.speaker import EncoderClassifier
        from speechbrain.utils.fetching import LocalStrategy

        instead = "or use `eval.speaker=resemblyzer`."
        folder = str(hub.fetch(model, files=ECAPA_FILES, instead=instead))
        try:
            self._encoder = EncoderClassifier.from_hparams(
                source=folder,
                savedir=None,
                overrides={"pretrained_path": folder},  # hyperparams.yaml points back to the hub (speechbrain#2699)
                run_opts={"device": device},
                local_strategy=LocalStrategy.COPY,
            )
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: is not a whole ECAPA model. Download it again, {instead}") from error

    def embed(self, waveform: Waveform) -> Embedding:
        """Embed at 16 kHz."""
        import torch

        audio = resample(waveform, from_rate=SAMPLE_RATE, to_rate=JUDGE_RATE)
        with torch.inference_mode():
            return _unit(self._encoder.encode_batch(torch.from_numpy(audio)[None]).squeeze().cpu().numpy())


class Resemblyzer:
    """A d-vector (GE2E, 256 dimensions) whose weights come in the wheel, so that it needs no model hub."""

    name = "resemblyzer"

    def __init__(self) -> None:
        import warnings

        with warnings.catch_warnings():  # webrtcvad's use of pkg_resources
            warnings.simplefilter("ignore")
            from resemblyzer import VoiceEncoder, preprocess_wav
        self._preprocess = preprocess_wav
        self._encoder = VoiceEncoder("cpu", verbose=False)

    def embed(self, waveform: Waveform) -> Embedding:
        """Embed at 16 kHz after its own trimming of long silences."""
        audio = resample(waveform, from_rate=SAMPLE_RATE, to_rate=JUDGE_RATE)
        voiced = self._preprocess(audio, source_sr=JUDGE_RATE)
        # what its voice detector rejects altogether (noise) is embedded as it is
        return _unit(self._encoder.embed_utterance(voiced if len(voiced) else audio))


def load_speaker_encoder(judge: str, *, model: str, device: str) -> SpeakerEncoder:
    """Choose an encoder: `ecapa` (with its hub id or folder) or `resemblyzer`."""
    match judge:
        case "ecapa":
            return Ecapa(model, device=device)
        case "resemblyzer":
            return Resemblyzer()
        case _:
            raise InputError(f"eval.speaker={judge} is not a judge. Use ecapa or resemblyzer.")
