"""Decode an untrusted recording, as a process of its own: `python -m serving.uploads.decoder SECONDS CPU MEGABYTES`.

The recording comes in on standard input, mono float32 samples go out. What a recording can do to its decoder (a bomb,
a crash, a file that is never done) ends here: processor time, memory and what comes out are bounded before anything is
read, no file can be written, and FFmpeg is told which demuxer to take, so that none runs that opens further files or
addresses."""

import io
import json
import resource
import struct
import sys
from typing import Any

_DEMUXERS = ("wav", "mp3", "mov", "flac")
_MOST_RATE, _MOST_CHANNELS = 192_000, 8


class Refused(Exception):  # noqa: N818  an answer, raised
    """What is wrong with the recording, for whoever sent it."""


def demuxer_of(content: bytes) -> str:
    """Which of FFmpeg's demuxers reads it, by its first bytes; its name is of no interest."""
    if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
        return "wav"
    if content[:4] == b"fLaC":
        return "flac"
    if content[4:8] == b"ftyp":
        return "mov"
    if content[:3] == b"ID3" or (len(content) > 1 and content[0] == 0xFF and content[1] & 0xE0 == 0xE0):
        return "mp3"
    raise Refused("it is not a WAV, MP3, M4A or FLAC file. Export it as one of those.")


def decode(content: bytes, *, max_seconds: float) -> tuple[Any, int]:
    """Mono samples and their rate in Hz. Raises Refused for what cannot be decoded, or is longer."""
    import av
    import numpy as np

    blocks: list[Any] = []
    held, rate = 0, 0
    try:
        container: Any  # an input, which av.open's types do not tell
        with av.open(io.BytesIO(content), format=demuxer_of(content), options={"protocol_whitelist": ""}) as container:
            if not container.streams.audio:
                raise Refused("it holds no sound. Export the sound alone as WAV.")
            stream = container.streams.audio[0]
            rate = stream.rate or 0
            if not 0 < rate <= _MOST_RATE or not 0 < stream.channels <= _MOST_CHANNELS:
                raise Refused(
                    f"{rate} Hz with {stream.channels} channels is not a recording. Export it as 44.1 kHz mono."
                )
            planar = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
            for frame in container.decode(stream):
                for part in planar.resample(frame):
                    samples = part.to_ndarray().mean(axis=0)
                    held += len(samples)
                    if held > max_seconds * rate:
                        raise Refused(f"it is longer than {max_seconds:g} s. Cut out 10 to 30 s.")
                    blocks.append(samples.astype(np.float32))
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise Refused("it is damaged, or not what it says it is. Export it again as WAV.") from error
    if not held:
        raise Refused("it holds no samples. Export it again as WAV.")
    return np.concatenate(blocks), rate


def main() -> None:
    """Answer with a line of JSON, then the samples."""
    max_seconds, cpu_seconds, megabytes = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    import av  # noqa: F401  its libraries are mapped before memory is bounded
    import numpy  # noqa: F401

    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, megabytes * 2**20))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    head: dict[str, Any]
    try:
        samples, rate = decode(sys.stdin.buffer.read(), max_seconds=max_seconds)
    except Refused as error:
        head, body = {"refused": str(error)}, b""
    else:
        head, body = {"rate": rate}, samples.astype("<f4").tobytes()
    line = json.dumps(head).encode()
    sys.stdout.buffer.write(struct.pack("<I", len(line)) + line + body)


if __name__ == "__main__":
    main()
