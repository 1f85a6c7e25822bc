"""Crops of known speakers as log-mel spectra. A batch is a function of the seed and its number."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipelines.pretrain.corpus import Clip, Shard, clip_waveform
from voice.audio import SAMPLE_RATE, Waveform
from voice.upstream import mel_spectrogram

LogMel = Float[Tensor, "batch time bands"]
BANDS, HOP, SIZE = 128, 256, 1_024  # as `extract_speaker_embedding` of qwen-tts 0.1.1 has them
LOWEST, HIGHEST = 0, 12_000  # Hz; the same
GAIN_NATS = 1.0  # deviation of the loudness drawn per crop
TILT_NATS = 0.8  # deviation, from the lowest band to the highest: another microphone
NOISE_SHARE = 0.5  # of the crops
NOISE_NATS = (-9.0, -5.0)  # floor of white noise, drawn; of speech one band in two lies above -6


def log_mel(audio: Float[Tensor, "batch samples"]) -> LogMel:
    """The spectra that the stock model hands to its speaker encoder."""
    return mel_spectrogram(
        audio,
        n_fft=SIZE,
        num_mels=BANDS,
        sampling_rate=SAMPLE_RATE,
        hop_size=HOP,
        win_size=SIZE,
        fmin=LOWEST,
        fmax=HIGHEST,
    ).transpose(1, 2)


class Voices:
    """Clips by speaker."""

    def __init__(self, shards: Sequence[Shard], *, seed: int) -> None:
        self._seed = seed
        self._clips: dict[str, list[tuple[Shard, Clip]]] = {}
        for shard in shards:
            for clip in shard.clips:
                self._clips.setdefault(clip.speaker, []).append((shard, clip))
        self.speakers = sorted(self._clips)

    def draw(self, number: int, *, speakers: int, each: int, seconds: float) -> Float[Tensor, "crops samples"]:
        """Batch `number`: crops of so many seconds, `each` of so many different speakers, those of one side by side."""
        rng = np.random.default_rng([self._seed, number])
        chosen = np.repeat(rng.choice(len(self.speakers), min(speakers, len(self.speakers)), replace=False), each)
        crops = [self._crop(self.speakers[who], rng, round(seconds * SAMPLE_RATE)) for who in chosen]
        return torch.from_numpy(np.stack(crops))

    def clips(self, speaker: str) -> list[tuple[Shard, Clip]]:
        """All that a speaker says."""
        return self._clips[speaker]

    def _crop(self, speaker: str, rng: np.random.Generator, length: int) -> Waveform:
        clips = self._clips[speaker]
        waveform = np.zeros(0, np.float32)
        while len(waveform) < length:  # short clips are strung together
            waveform = np.concatenate([waveform, clip_waveform(*clips[rng.integers(len(clips))])])
        start = rng.integers(len(waveform) - length + 1)
        return waveform[start : start + length]


def disguise(mel: LogMel, *, strength: float, generator: torch.Generator) -> LogMel:
    """Draw loudness, the microphone's tilt and a noise floor for each crop: what must not tell speakers apart."""
    count, _, bands = mel.shape

    def normal(deviation: float) -> Tensor:
        return strength * deviation * torch.randn(count, 1, 1, generator=generator)

    mel = mel + normal(GAIN_NATS) + normal(TILT_NATS) * torch.linspace(-0.5, 0.5, bands)
    low, high = NOISE_NATS
    floor = low + (high - low) * torch.rand(count, 1, 1, generator=generator)
    noisy = torch.rand(count, 1, 1, generator=generator) < strength * NOISE_SHARE
    return torch.where(noisy, torch.logaddexp(mel, floor), mel)
