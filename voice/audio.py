"""Mono waveforms: float32 in [-1, 1] at 24 kHz, the rate Qwen3-TTS speaks and listens at."""

import io
from collections.abc import Iterator, Sequence
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


BLOCK_SECONDS = 10.0  # what streaming holds in memory


def stream_channels(path: Path) -> Iterator[tuple[Channels, int]]:
    """Decode a file as recorded, block by block: (samples, channels) and the rate in Hz; memory stays flat.

    Raises InputError where it cannot be read: missing, not audio, damaged, or with samples that are not numbers.
    """
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError(f"{path}: is empty. Record it again or remove its line from metadata.csv.")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}. Check the file and its permissions.") from error
    for samples, rate in _blocks(path):
        if not np.isfinite(samples).all():
            raise InputError(f"{path}: holds NaN or infinite samples. Export it again as 16-bit or 24-bit.")
        yield samples, rate


def _blocks(path: Path) -> Iterator[tuple[Channels, int]]:
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError:
        yield from _blocks_of_ffmpeg(path)
        return
    with file:
        try:
            for block in file.blocks(round(BLOCK_SECONDS * file.samplerate), dtype="float32", always_2d=True):
                yield block, file.samplerate
        except soundfile.LibsndfileError as error:
            raise InputError(
                f"{path}: is damaged. Copy it again from where it was recorded, or record it again."
            ) from error


def _blocks_of_ffmpeg(path: Path) -> Iterator[tuple[Channels, int]]:
    # PyAV's wheels carry FFmpeg: m4a, aac and webm need no system package.
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            planar = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                for block in planar.resample(frame):
                    yield np.ascontiguousarray(block.to_ndarray().T), stream.rate
    except (av.FFmpegError, IndexError, ValueError) as error:
        remedy = "Convert it to wav or flac, or remove its line from metadata.csv."
        raise InputError(f"{path}: is not audio that can be decoded. {remedy}") from error


def read_channels(path: Path) -> tuple[Channels, int]:
    """Decode a whole file as recorded: (samples, channels), rate in Hz. Raises InputError as `stream_channels`."""
    blocks = list(stream_channels(path))
    if not sum(len(samples) for samples, _ in blocks):
        raise InputError(f"{path}: holds no samples. Record it again or remove its line from metadata.csv.")
    return np.concatenate([samples for samples, _ in blocks]), blocks[0][1]


def is_longer(path: Path, seconds: float) -> bool:
    """Whether a file lasts longer than that. Decodes no more than needed. Raises InputError as `stream_channels`."""
    total = 0.0
    for samples, rate in stream_channels(path):
        total += len(samples) / rate
        if total > seconds:
            return True
    return False


def to_mono(channels: Channels) -> Waveform:
    """Average the channels."""
    count = channels.shape[1]
    return channels[:, 0] if count == 1 else channels @ np.full(count, 1.0 / count, np.float32)  # mean() is slow here


def resample(waveform: Waveform, *, from_rate: int, to_rate: int = SAMPLE_RATE) -> Waveform:
    """Band-limited resampling (soxr, high quality)."""
    if from_rate == to_rate:
        return waveform
    return librosa.resample(waveform, orig_sr=from_rate, target_sr=to_rate, res_type="soxr_hq").astype(np.float32)


def read_waveform(path: Path) -> Waveform:
    """Read any audio file as a 24 kHz mono waveform."""
    channels, rate = read_channels(path)
    return resample(to_mono(channels), from_rate=rate)


def join(waveforms: Sequence[Waveform], *, pause_seconds: float) -> Waveform:
    """One after another, with silence between them. There must be one at least."""
    pause = np.zeros(round(pause_seconds * SAMPLE_RATE), np.float32)
    return np.concatenate([piece for waveform in waveforms for piece in (pause, waveform)][1:])


def to_pcm16(waveform: Waveform) -> Int16[np.ndarray, " samples"]:
    """Round to 16-bit; what lies outside [-1, 1] is clipped."""
    return np.round(np.clip(waveform, -1.0, 1.0) * 32_767.0).astype(np.int16)


def from_pcm16(samples: Int16[np.ndarray, " samples"]) -> Waveform:
    """The inverse of `to_pcm16`, to within half a quantisation step."""
    return samples.astype(np.float32) / np.float32(32_767.0)


def write_wav(path: Path, waveform: Waveform) -> None:
    """Write 24 kHz mono 16-bit WAV. Raises OSError where the disk is full."""
    path.write_bytes(encode(waveform, container="wav"))  # soundfile would hide why it could not write


def encode(waveform: Waveform, *, container: str, rate: int = SAMPLE_RATE) -> bytes:
    """Encode as a whole `wav`, `flac` or `mp3` file in memory."""
    buffer = io.BytesIO()
    subtype = {"subtype": "PCM_16"} if container == "wav" else {}
    soundfile.write(buffer, to_pcm16(waveform), rate, format=container.upper(), **subtype)
    return buffer.getvalue()


def seconds(waveform: Waveform) -> float:
    """Duration in seconds."""
    return len(waveform) / SAMPLE_RATE
