"""Mono waveforms: float32 in [-1, 1] at 24 kHz, the rate Qwen3-TTS speaks and listens at."""

import io
from pathlib import Path

import librosa
import numpy as np
import soundfile
from jaxtyping import Float32, Int16

from voice.errors import InputError

SAMPLE_RATE = 24_000  # Hz
FRAME_RATE = 12.5  # codec frames per second (arXiv:2601.15621)
FRAME_SAMPLES = 1_920  # samples per codec frame: 24_000 / 12.5

Waveform = Float32[np.ndarray, " samples"]
Channels = Float32[np.ndarray, "samples channels"]

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".webm")


def read_channels(path: Path) -> tuple[Channels, int]:
    """Decode a file as recorded: (samples, channels) and its rate in Hz. Raises InputError if it cannot be read."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        samples, rate = _decode_with_ffmpeg(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}. Check the file and its permissions.") from error
    if samples.shape[0] == 0:
        raise InputError(f"{path}: holds no samples. Record it again or remove its line from metadata.csv.")
    if not np.isfinite(samples).all():
        raise InputError(f"{path}: holds NaN or infinite samples. Export it again as 16-bit or 24-bit.")
    return samples, rate


def _decode_with_ffmpeg(path: Path) -> tuple[Channels, int]:
    # PyAV's wheels carry FFmpeg: m4a, aac and webm need no system package.
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            planar = av.AudioResampler(format="fltp")
            blocks = [b.to_ndarray() for f in container.decode(stream) for b in planar.resample(f)]
            return np.ascontiguousarray(np.concatenate(blocks, axis=1).T), stream.rate
    except (av.FFmpegError, IndexError, ValueError) as error:
        remedy = "Convert it to wav or flac, or remove its line from metadata.csv."
        raise InputError(f"{path}: is not audio that can be decoded. {remedy}") from error


def to_mono(channels: Channels) -> Waveform:
    """Average the channels."""
    return np.ascontiguousarray(channels.mean(axis=1, dtype=np.float32))


def resample(waveform: Waveform, *, from_rate: int, to_rate: int = SAMPLE_RATE) -> Waveform:
    """Band-limited resampling (soxr, high quality)."""
    if from_rate == to_rate:
        return waveform
    return librosa.resample(waveform, orig_sr=from_rate, target_sr=to_rate, res_type="soxr_hq").astype(np.float32)


def read_waveform(path: Path) -> Waveform:
    """Read any audio file as a 24 kHz mono waveform."""
    channels, rate = read_channels(path)
    return resample(to_mono(channels), from_rate=rate)


def to_pcm16(waveform: Waveform) -> Int16[np.ndarray, " samples"]:
    """Round to 16-bit; what lies outside [-1, 1] is clipped."""
    return np.round(np.clip(waveform, -1.0, 1.0) * 32_767.0).astype(np.int16)


def from_pcm16(samples: Int16[np.ndarray, " samples"]) -> Waveform:
    """The inverse of `to_pcm16`, to within half a quantisation step."""
    return samples.astype(np.float32) / np.float32(32_767.0)


def write_wav(path: Path, waveform: Waveform) -> None:
    """Write 24 kHz mono 16-bit WAV."""
    soundfile.write(path, to_pcm16(waveform), SAMPLE_RATE, subtype="PCM_16", format="WAV")


def encode(waveform: Waveform, *, container: str) -> bytes:
    """Encode as a whole `wav`, `flac` or `mp3` file in memory."""
    buffer = io.BytesIO()
    soundfile.write(buffer, to_pcm16(waveform), SAMPLE_RATE, format=container.upper())
    return buffer.getvalue()


def seconds(waveform: Waveform) -> float:
    """Duration in seconds."""
    return len(waveform) / SAMPLE_RATE
