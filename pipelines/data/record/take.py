"""A take as the page sends it: mono PCM WAV at the microphone's own rate, decoded in memory."""

import io
from dataclasses import dataclass

import soundfile

from voice.audio import Waveform
from voice.errors import InputError

_RATES = range(8_000, 192_001)  # Hz: from a telephone headset to a studio interface
_REMEDY = "Reload the page and record again."
HIGHEST_BYTES_PER_SECOND = 192_000 * 3  # 24 bit at the highest rate


@dataclass(frozen=True, slots=True)
class Take:
    """What the microphone heard."""

    samples: Waveform  # at `rate`, not at the project's
    rate: int  # Hz

    @property
    def seconds(self) -> float:
        """Duration, silence included."""
        return len(self.samples) / self.rate


def decode(wav: bytes, *, max_seconds: float) -> Take:
    """Decode an uploaded take. Raises InputError for what is not a mono 16-bit or 24-bit WAV of at most that length."""
    try:
        with soundfile.SoundFile(io.BytesIO(wav)) as file:
            _require_plain_wav(file)
            if file.frames > max_seconds * file.samplerate:
                raise InputError(f"the take is longer than {max_seconds:g} s. Read one sentence at a time.")
            take = Take(file.read(dtype="float32"), file.samplerate)
    except soundfile.LibsndfileError:
        raise InputError(f"the take is not a WAV file. {_REMEDY}") from None
    if not len(take.samples):
        raise InputError(f"the take holds no samples. {_REMEDY}")
    return take


def _require_plain_wav(file: soundfile.SoundFile) -> None:
    if file.format not in ("WAV", "WAVEX") or file.subtype not in ("PCM_16", "PCM_24"):
        raise InputError(f"the take is {file.format} {file.subtype}, not 16-bit or 24-bit WAV. {_REMEDY}")
    if file.channels != 1:
        raise InputError(f"the take has {file.channels} channels, not one. {_REMEDY}")
    if file.samplerate not in _RATES:
        raise InputError(f"the take has {file.samplerate} samples a second. Choose another microphone.")
