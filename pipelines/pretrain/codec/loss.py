"""How far a waveform is from another to a listener: log-mel spectra at several window lengths, and periods.

At 1 to 2 kbit/s no codec keeps the waveform; what makes words intelligible is the envelope over time and frequency.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import librosa
import torch
from jaxtyping import Float
from librosa.filters import mel as mel_bands
from torch import Tensor, nn

from voice.audio import SAMPLE_RATE

Audio = Float[Tensor, "batch samples"]

FLOOR = 3e-4  # amplitude, -70 dBFS, added before the logarithm: silence must not outweigh speech
# Window (samples) -> mel bands: as many as its resolution fills. None is longer: where every harmonic is apart, one
# that is a little off costs twice what a whisper does (docs/log.md).
WINDOWS = {384: 30, 1_024: 80}
LOWEST, HIGHEST = 60.0, 11_500.0  # Hz
SPEECH_TOP = 8_000.0  # Hz; bands above count half


class SpectralLoss(NamedTuple):
    """Means over batch, time and windows."""

    mel: Tensor  # nats of amplitude
    convergence: Tensor  # relative error of the linear spectrum, which weighs loud parts


class Spectra(nn.Module):
    """Measures a rendering against its original."""

    def __init__(self, windows: Sequence[int] = tuple(WINDOWS)) -> None:
        super().__init__()
        self._windows = tuple(windows)
        for size in self._windows:
            bands, centres = _mel(size)
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)
            self.register_buffer(f"mel_{size}", bands, persistent=False)
            weight = torch.where(centres > SPEECH_TOP, 0.5, 1.0)
            self.register_buffer(f"weight_{size}", weight / weight.mean(), persistent=False)

    def forward(self, rendered: Audio, original: Audio) -> SpectralLoss:
        """Compare batches of equal length."""
        both = torch.cat([rendered, original]).float()
        mel, convergence = both.new_zeros(()), both.new_zeros(())
        for size in self._windows:
            one, other = amplitudes(both, getattr(self, f"window_{size}")).chunk(2)
            bands, weight = getattr(self, f"mel_{size}"), getattr(self, f"weight_{size}")
            log_one, log_other = ((x @ bands + FLOOR).log() for x in (one, other))
            mel = mel + ((log_one - log_other).abs() * weight).mean()
            norm = (other.square().sum((1, 2)) + 1e-6).sqrt()
            convergence = convergence + (((one - other).square().sum((1, 2)) + 1e-12).sqrt() / norm).mean()
        return SpectralLoss(mel / len(self._windows), convergence / len(self._windows))


def amplitudes(audio: Audio, window: Float[Tensor, " size"]) -> Float[Tensor, "batch time bins"]:
    """Linear spectra, four to a window. Edges are reflected, and a sine wave shows its amplitude."""
    spectrum = torch.stft(audio, len(window), hop_length=len(window) // 4, window=window, return_complex=True)
    power = torch.view_as_real(spectrum).square().sum(-1)
    return (power + 1e-12).sqrt().transpose(1, 2) * (2 / window.sum())


class _Hops(nn.Module):
    """Spectra, one for each `hop` samples, each window centred on its hop."""

    window: Tensor
    SIZE = 1_024  # samples: low harmonics apart, syllables not blurred

    def __init__(self, hop: int) -> None:
        super().__init__()
        self._hop = hop
        self.register_buffer("window", torch.hann_window(self.SIZE), persistent=False)

    def _spectrum(self, audio: Audio, points: int) -> Tensor:
        """Complex, (batch, bins, time): windows of SIZE samples, with zeros around them up to `points`."""
        edge = points - self._hop
        padded = nn.functional.pad(audio, (edge // 2, edge - edge // 2))
        return torch.stft(padded, points, self._hop, self.SIZE, window=self.window, center=False, return_complex=True)


class Envelope(_Hops):
    """Log-mel spectra, one for each `hop` samples: what the decoder's features must tell before there is a waveform.

    The decoder's last ConvNeXt features are asked for it through one linear layer that is dropped afterwards. Spectra
    have no phase to guess, so encoder, codebooks and features learn from it in minutes what takes them hours to learn
    through a waveform that cannot be rendered yet.
    """

    mel: Tensor
    weight: Tensor

    def __init__(self, hop: int) -> None:
        super().__init__(hop)
        bands, self.centres = _mel(self.SIZE)  # of the bands, Hz
        self.register_buffer("mel", bands, persistent=False)
        weight = torch.where(self.centres > SPEECH_TOP, 0.5, 1.0)
        self.register_buffer("weight", weight / weight.mean(), persistent=False)

    @property
    def bands(self) -> int:
        """How many there are."""
        return WINDOWS[self.SIZE]

    def measure(self, audio: Audio) -> Float[Tensor, "batch time bands"]:
        """In nats of amplitude."""
        magnitude = self._spectrum(audio, self.SIZE).abs() * (2 / self.window.sum())
        return (magnitude.transpose(1, 2) @ self.mel + FLOOR).log()

    def forward(self, told: Float[Tensor, "batch time bands"], measured: Float[Tensor, "batch time bands"]) -> Tensor:
        """Mean absolute distance."""
        return ((told.float() - measured).abs() * self.weight).mean()


class Periods(_Hops):
    """How alike the sound is to itself so much earlier: its autocorrelation at the lags of all pitches.

    Mel bands tell apart the harmonics of high voices only, and an average spectrum costs little where they are not hit.
    So what learns from spectra alone whispers. Here a voice of any pitch has a peak at its period, and noise has none.
    """

    cosines: Tensor
    LAGS = 64  # evenly spaced in pitch: 22 an octave
    PITCHES = (60.0, 420.0)  # Hz
    TOP = 1_200.0  # Hz: the first harmonics; above, formants would be taken for periods of their own
    QUIET = 1e-2  # amplitude: what is softer is to have none; at 3e-3 its gradients drowned all others
    POINTS = 2 * _Hops.SIZE  # an autocorrelation of as many does not meet itself from behind

    def __init__(self, hop: int) -> None:
        super().__init__(hop)
        lowest, highest = self.PITCHES
        lags = SAMPLE_RATE / torch.logspace(math.log2(highest), math.log2(lowest), self.LAGS, base=2.0)  # samples
        bins = torch.arange(1, int(self.TOP * self.POINTS / SAMPLE_RATE) + 1)
        # the autocorrelation of a window falls with the lag by itself
        power = torch.fft.rfft(self.window, self.POINTS).abs().square()
        fall = torch.fft.irfft(power)[lags.round().long()] / self.window.square().sum()
        cosines = torch.cos(2 * math.pi * bins[:, None] * lags / self.POINTS) / fall
        self.register_buffer("cosines", cosines, persistent=False)

    def measure(self, audio: Audio) -> Float[Tensor, "batch time lags"]:
        """Of 1 where it repeats itself, 0 where it does not."""
        amplitude = self._spectrum(audio, self.POINTS)[:, 1 : len(self.cosines) + 1].abs() * (2 / self.window.sum())
        power = amplitude.square().transpose(1, 2) * (self.SIZE / self.POINTS)  # each bin is there twice
        return power @ self.cosines / (power.sum(-1, keepdim=True) + self.QUIET**2)

    def forward(self, told: Float[Tensor, "batch time lags"], measured: Float[Tensor, "batch time lags"]) -> Tensor:
        """Mean squared distance."""
        return (told.float() - measured).square().mean()


def _mel(size: int) -> tuple[Float[Tensor, "bins bands"], Float[Tensor, " bands"]]:
    count = WINDOWS[size]
    bands = mel_bands(sr=SAMPLE_RATE, n_fft=size, n_mels=count, fmin=LOWEST, fmax=HIGHEST, norm=None)
    centres = librosa.mel_frequencies(n_mels=count + 2, fmin=LOWEST, fmax=HIGHEST)[1:-1]
    scaled = bands / bands.sum(axis=1, keepdims=True).clip(min=1e-6)
    return torch.from_numpy(scaled.T.copy()).float(), torch.from_numpy(centres).float()
