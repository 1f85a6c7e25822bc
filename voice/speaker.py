"""Speaker encoders that judge whose voice it is. None of them conditions the model. Their names go into the metrics."""

from typing import Protocol

import numpy as np
from jaxtyping import Float32

from voice import hub
from voice.audio import SAMPLE_RATE, Waveform, resample
from voice.errors import InputError
from voice.provenance import identity

JUDGE_RATE = 16_000  # Hz
ECAPA_FILES = ("hyperparams.yaml", "*.ckpt", "*.txt", "*.json")
WAVLM_FILES = ("*.json", "*.safetensors", "pytorch_model.bin")  # microsoft/wavlm-base-plus-sv has the latter only
INSTEAD = "or use the offline judges: `judges: offline` in params.yaml, `speaker: resemblyzer` elsewhere under conf/."

_WAVLM_SAMPLES = JUDGE_RATE // 2

Embedding = Float32[np.ndarray, " dimensions"]  # of length 1


class SpeakerEncoder(Protocol):
    """Maps a waveform to a direction; the cosine between two says how alike the voices are."""

    name: str
    identity: str  # all that its answers depend on besides the audio

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

        fetched = hub.fetch(model, files=ECAPA_FILES, instead=INSTEAD)
        folder, packages = str(fetched), ("torch", "torchaudio", "speechbrain")
        self.identity = identity(self.name, hub.version(fetched), code=__file__, packages=packages)
        try:
            self._encoder = EncoderClassifier.from_hparams(
                source=folder,
                savedir=None,
                overrides={"pretrained_path": folder},  # hyperparams.yaml points back to the hub (speechbrain#2699)
                run_opts={"device": device},
                local_strategy=LocalStrategy.COPY,
            )
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: is not a whole ECAPA model. Download it again, {INSTEAD}") from error

    def embed(self, waveform: Waveform) -> Embedding:
        """Embed at 16 kHz."""
        import torch

        audio = resample(waveform, from_rate=SAMPLE_RATE, to_rate=JUDGE_RATE)
        with torch.inference_mode():
            return _unit(self._encoder.encode_batch(torch.from_numpy(audio)[None]).squeeze().cpu().numpy())


class WavLM:
    """WavLM with an x-vector head, through transformers (microsoft/wavlm-base-plus-sv, 512 dimensions).

    Its cosines are crowded near 1 (same speaker .93 to .96, others .62 to .71 by its card): they compare with no other
    encoder's, and not with the WavLM-large of seed-tts-eval.
    """

    name = "wavlm"

    def __init__(self, model: str, *, device: str) -> None:
        from transformers import AutoFeatureExtractor, WavLMForXVector

        folder = hub.fetch(model, files=WAVLM_FILES, instead=INSTEAD)
        packages = ("torch", "transformers")
        self.identity = identity(self.name, hub.version(folder), code=__file__, packages=packages)
        try:
            self._features = AutoFeatureExtractor.from_pretrained(folder)
            self._model = WavLMForXVector.from_pretrained(folder).to(device).eval()
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: is not a whole WavLM x-vector model. Download it again, {INSTEAD}") from error

    def embed(self, waveform: Waveform) -> Embedding:
        """Embed at 16 kHz."""
        import torch

        audio = resample(waveform, from_rate=SAMPLE_RATE, to_rate=JUDGE_RATE)
        # too short for its five layers of context (0.3 s): repeated, as silence would be another voice
        audio = np.tile(audio, -(-_WAVLM_SAMPLES // max(1, len(audio)))) if len(audio) < _WAVLM_SAMPLES else audio
        inputs = self._features(audio, sampling_rate=JUDGE_RATE, return_tensors="pt")
        with torch.inference_mode():
            return _unit(self._model(inputs.input_values.to(self._model.device)).embeddings[0].float().cpu().numpy())


class Resemblyzer:
    """A d-vector (GE2E, 256 dimensions) whose weights come in the wheel, so that it needs no model hub."""

    name = "resemblyzer"

    def __init__(self) -> None:
        import warnings

        self.identity = identity(self.name, code=__file__, packages=("torch", "resemblyzer"))

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
    """Choose an encoder: `ecapa` or `wavlm` (with their hub ids or folders), or `resemblyzer`."""
    match judge:
        case "ecapa":
            return Ecapa(model, device=device)
        case "wavlm":
            return WavLM(model, device=device)
        case "resemblyzer":
            return Resemblyzer()
        case _:
            raise InputError(f"speaker={judge} is not a judge. Use ecapa, wavlm or resemblyzer.")
