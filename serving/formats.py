"""Waveforms to bytes, chunk by chunk: each chunk can be heard as soon as it has left.

PyAV's wheels carry FFmpeg. Nothing here seeks, since what has been sent is gone: headers tell no length.
"""

import io
import struct
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Protocol

import av
import numpy as np
from jaxtyping import Int16

from serving.settings import Settings
from voice.audio import SAMPLE_RATE, Waveform, to_pcm16


class Format(StrEnum):
    """OpenAI's response formats."""

    MP3 = "mp3"
    OPUS = "opus"
    AAC = "aac"
    FLAC = "flac"
    WAV = "wav"
    PCM = "pcm"


MEDIA_TYPES = {
    Format.MP3: "audio/mpeg",
    Format.OPUS: "audio/ogg",
    Format.AAC: "audio/aac",
    Format.FLAC: "audio/flac",
    Format.WAV: "audio/wav",
    Format.PCM: "audio/pcm",
}
_UNKNOWN = 0xFFFFFFFF  # the length that FFmpeg writes where it cannot seek, and that readers take for "until the end"
_CONTAINERS = {Format.MP3: "mp3", Format.OPUS: "ogg", Format.AAC: "adts", Format.FLAC: "flac"}
_CODECS = {Format.MP3: "libmp3lame", Format.OPUS: "libopus", Format.AAC: "aac", Format.FLAC: "flac"}
# a seek table of MP3 would need the length; Ogg keeps a second to itself unless told; frames of 20 ms
_MUXING = {Format.MP3: {"write_xing": "0"}, Format.OPUS: {"page_duration": "20000"}}


class Encoder(Protocol):
    """Takes a waveform in chunks."""

    def push(self, waveform: Waveform) -> bytes:
        """Encode a chunk; what comes back may be empty, or hold the header, too."""
        ...

    def end(self) -> bytes:
        """What was kept back."""
        ...


def encoder(form: Format, settings: Settings) -> Encoder:
    """An encoder of one response."""
    match form:
        case Format.PCM:
            return Pcm()
        case Format.WAV:
            return Pcm(wav_header())
        case _:
            kbps = {Format.MP3: settings.mp3_kbps, Format.OPUS: settings.opus_kbps, Format.AAC: settings.aac_kbps}
            return Compressed(form, bit_rate=1_000 * kbps.get(form, 0))


def wav_header() -> bytes:
    """The 44 bytes of a mono 16-bit WAV whose length is not known yet."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", _UNKNOWN, b"WAVE") + form + struct.pack("<4sI", b"data", _UNKNOWN)


class Pcm:
    """16-bit little-endian samples, behind a header if there is one."""

    def __init__(self, header: bytes = b"") -> None:
        self._header = header

    def push(self, waveform: Waveform) -> bytes:
        """The samples."""
        header, self._header = self._header, b""
        return header + to_pcm16(waveform).astype("<i2").tobytes()

    def end(self) -> bytes:
        """Nothing is kept back."""
        header, self._header = self._header, b""
        return header


class _Sink(io.RawIOBase):
    """Bytes that FFmpeg writes, until they are taken. It cannot seek."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def _container(sink: _Sink, form: Format) -> Any:
    return av.open(sink, "w", format=_CONTAINERS[form], options={"flush_packets": "1", **_MUXING.get(form, {})})


class Compressed:
    """One of FFmpeg's encoders."""

    def __init__(self, form: Format, *, bit_rate: int) -> None:
        self._sink = _Sink()
        self._container = _container(self._sink, form)
        self._stream = self._container.add_stream(_CODECS[form], rate=SAMPLE_RATE, layout="mono")
        if bit_rate:
            self._stream.bit_rate = bit_rate
        self._resampler = av.AudioResampler(format=self._stream.format, layout="mono", rate=SAMPLE_RATE)
        self._at = 0  # samples so far

    def push(self, waveform: Waveform) -> bytes:
        """What the encoder gives for so much."""
        for frame in self._resampler.resample(self._frame(to_pcm16(waveform))):
            self._container.mux(self._stream.encode(frame))
        return self._sink.take()

    def end(self) -> bytes:
        """What the encoder and the container had kept back."""
        for frame in self._resampler.resample(None):
            self._container.mux(self._stream.encode(frame))
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.take()

    def _frame(self, samples: Int16[np.ndarray, " samples"]) -> Any:
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, self._at
        self._at += len(samples)
        return frame


class Stretch:
    """Faster or slower at the same pitch, in chunks: FFmpeg's `atempo` (WSOLA)."""

    def __init__(self, speed: float) -> None:
        self._graph = av.filter.Graph()
        source = self._graph.add_abuffer(sample_rate=SAMPLE_RATE, format="flt", layout="mono")
        parts = [source, *(self._graph.add("atempo", f"{factor:.6f}") for factor in tempo_factors(speed))]
        parts += [self._graph.add("aformat", "sample_fmts=flt"), self._graph.add("abuffersink")]
        self._graph.link_nodes(*parts).configure()
        self._at = 0

    def push(self, waveform: Waveform) -> Waveform:
        """What can leave of it."""
        if not len(waveform):
            return waveform
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(waveform[None], np.float32), format="flt", layout="mono"
        )
        frame.sample_rate, frame.pts = SAMPLE_RATE, self._at
        self._at += len(waveform)
        self._graph.push(frame)
        return self._pulled()

    def end(self) -> Waveform:
        """The rest."""
        self._graph.push(None)
        return self._pulled()

    def _pulled(self) -> Waveform:
        return np.concatenate([np.zeros(0, np.float32), *self._frames()])

    def _frames(self) -> Iterator[Waveform]:
        while True:
            try:
                frame: Any = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            yield frame.to_ndarray().reshape(-1)


def tempo_factors(speed: float) -> list[float]:
    """`atempo` goes down to 0.5: slower takes two of them."""
    return [speed] if speed >= 0.5 else [0.5, speed / 0.5]
