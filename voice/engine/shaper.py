"""How pieces are joined: trimmed edges, pauses, one loudness."""

from collections.abc import Sequence

import numpy as np

from voice.audio import SAMPLE_RATE, Waveform

AUDIBLE = 0.005  # -46 dBFS; the first frame of Qwen3-TTS lies below it (research: about 80 ms)
ONSET_SECONDS, TAIL_SECONDS = 0.01, 0.15  # of near silence that stay: soft onsets, the room's decay
FADE_SECONDS = 0.01  # where an utterance is broken off
LOUDNESS_LIMIT = 10 ** (3 / 20)  # +-3 dB: evens out pieces of one voice, leaves expression alone
LOUDNESS_SECONDS = 0.5  # of sound before a piece's loudness is known


class Shaper:
    """Trims the edges of pieces and holds their loudness; keeps back what may turn out to be an edge."""

    def __init__(self, *, trim: bool, even_loudness: bool) -> None:
        self._trim, self._even_loudness = trim, even_loudness
        self._kept = np.zeros(0, np.float32)
        self._begun = False
        self._target: float | None = None  # RMS of the first piece
        self._energy, self._heard, self._gain = 0.0, 0, 1.0
        self._foreseen = False

    def foresee(self, chunks: Sequence[Waveform]) -> None:
        """Tell it all chunks of the piece that comes next, where they are known: one gain then holds from the first."""
        energy, heard = _energy(np.concatenate([np.zeros(0, np.float32), *chunks]))
        if self._target is not None and heard >= LOUDNESS_SECONDS * SAMPLE_RATE:
            self._gain, self._foreseen = _gain(self._target, energy, heard), True

    def push(self, chunk: Waveform) -> Waveform:
        """Take a chunk of the current piece and give what can leave."""
        chunk = self._level(chunk) if self._even_loudness else chunk
        if not self._trim:
            return chunk
        samples = np.concatenate([self._kept, chunk])
        audible = np.flatnonzero(np.abs(samples) > AUDIBLE)
        if not self._begun:
            start = max(0, (audible[0] if len(audible) else len(samples)) - round(ONSET_SECONDS * SAMPLE_RATE))
            samples, audible = samples[start:], audible - start
            self._begun = len(audible) > 0
        end = int(audible[-1]) + 1 if len(audible) else 0
        end = max(0, end - round(FADE_SECONDS * SAMPLE_RATE))
        self._kept = samples[end:]
        return samples[:end]

    def end_piece(self, *, broken: bool, pause_seconds: float) -> Waveform:
        """Give what was kept back, and the silence before the next piece."""
        kept = self._kept[: round((FADE_SECONDS + TAIL_SECONDS) * SAMPLE_RATE)].copy()
        if broken:
            fade = min(len(kept), round(FADE_SECONDS * SAMPLE_RATE))
            kept = kept[:fade] * np.linspace(1, 0, fade, dtype=np.float32)
        if self._target is None and self._heard > LOUDNESS_SECONDS * SAMPLE_RATE:
            self._target = (self._energy / self._heard) ** 0.5
        self._kept, self._begun = np.zeros(0, np.float32), False
        self._energy, self._heard, self._foreseen = 0.0, 0, False
        silence = round(max(0.0, pause_seconds - (TAIL_SECONDS if self._trim else 0.0)) * SAMPLE_RATE)
        return np.concatenate([kept, np.zeros(silence, np.float32)])

    def _level(self, chunk: Waveform) -> Waveform:
        energy, heard = _energy(chunk)
        self._energy, self._heard = self._energy + energy, self._heard + heard
        if self._target is None:
            return chunk
        gain = self._gain
        if not self._foreseen and self._heard >= LOUDNESS_SECONDS * SAMPLE_RATE:
            gain = _gain(self._target, self._energy, self._heard)
        ramp = np.linspace(self._gain, gain, len(chunk), dtype=np.float32)
        self._gain = gain
        return np.clip(chunk * ramp, -1, 1)


def _gain(target: float, energy: float, heard: int) -> float:
    return float(np.clip(target / (energy / heard) ** 0.5, 1 / LOUDNESS_LIMIT, LOUDNESS_LIMIT))


def _energy(samples: Waveform) -> tuple[float, int]:
    """Of what is audible, and how many samples of it there are."""
    sound = samples[np.abs(samples) > AUDIBLE]
    return float(np.square(sound, dtype=np.float64).sum()), len(sound)
