"""From uploaded files to the one waveform that a voice is made of."""

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.problems import Problem
from serving.settings import ReferenceLimits, Settings
from serving.uploads.decoder import Refused
from voice.audio import SAMPLE_RATE, Waveform, join, resample, seconds

_PROJECT = Path(__file__).resolve().parents[2]
_WINDOW_SECONDS = 0.1
_PEAK = 0.95  # that several recordings made equally loud stay below


@dataclass(frozen=True, slots=True)
class Recording:
    """A waveform at 24 kHz, and what would make it better."""

    waveform: Waveform
    warnings: list[str]


def read(contents: Sequence[bytes], settings: Settings) -> Recording:
    """Decode and check one recording or several, and join them in their order, equally loud, with pauses between.

    Raises Problem 400 that says which is wrong, with the remedy. Time and memory are bounded.
    """
    limits, until = settings.reference, time.monotonic() + 2 * settings.decode_seconds
    least = limits.min_seconds if len(contents) == 1 else limits.min_recording_seconds
    most = round(limits.max_seconds * SAMPLE_RATE)
    rates, waveforms = list[int](), list[Waveform]()
    for number, content in enumerate(contents, 1):
        try:
            samples, rate = _decode(content, settings, until)
            check(samples, rate, limits, min_seconds=least)
            waveforms.append(resample(samples, from_rate=rate))
            joined = join(waveforms, pause_seconds=limits.pause_seconds)
            # each may have become a sample longer; what comes after is not even decoded
            if len(joined) > most + number:
                raise Refused(f"with those before it, it lasts more than {limits.max_seconds:g} s. Send fewer.")
        except Refused as error:
            raise _problem(_name(number, len(contents)), error) from error
        rates.append(rate)
    if (lasts := seconds(joined)) < limits.min_seconds:
        wanted = f"{limits.min_seconds:g} s or more, 10 to 30 s are best."
        raise _problem("the recordings", Refused(f"they last {lasts:.1f} s in all. Record {wanted}"))
    if len(waveforms) > 1:
        joined = join(_equally_loud(waveforms), pause_seconds=limits.pause_seconds)
    return Recording(joined[:most], _warnings(lasts, rates, limits))


def _name(number: int, count: int) -> str:
    return "the recording" if count == 1 else f"recording {number} of {count}"


def _equally_loud(waveforms: Sequence[Waveform]) -> list[Waveform]:
    """As loud as the loudest, or as far as none clips: a voice made of them is not to change its loudness."""
    loud = np.array([10 ** (_levels_db(waveform, SAMPLE_RATE)[1] / 20) for waveform in waveforms])
    gains = loud.max() / loud
    peak = max(gain * float(np.abs(waveform).max()) for gain, waveform in zip(gains, waveforms, strict=True))
    gains *= min(1.0, _PEAK / peak)
    return [(gain * waveform).astype(np.float32) for gain, waveform in zip(gains, waveforms, strict=True)]


def _problem(which: str, error: Refused) -> Problem:
    return Problem(400, f"{which} cannot be used: {error}", "bad_recording", param="audio_sample")


def _decode(content: bytes, settings: Settings, until: float) -> tuple[Waveform, int]:
    command = [sys.executable, "-m", "serving.uploads.decoder"]
    bounds = (settings.reference.max_seconds, settings.decode_seconds, settings.decode_megabytes)
    # nothing of ours is in its environment: it needs no key, and one thread has less memory
    environment = {"PATH": os.environ.get("PATH", ""), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [*command, *map(str, bounds)],
            input=content,
            capture_output=True,
            timeout=max(0.0, until - time.monotonic()),
            cwd=_PROJECT,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Refused("it takes too long to decode. Export it again as WAV.") from None
    if done.returncode != 0 or len(done.stdout) < 4:
        raise Refused("it takes too much to decode. Export it again as WAV.")
    (length,) = struct.unpack_from("<I", done.stdout)
    head = json.loads(done.stdout[4 : 4 + length])
    if "refused" in head:
        raise Refused(head["refused"])
    return np.frombuffer(done.stdout[4 + length :], "<f4").astype(np.float32), int(head["rate"])


def check(samples: Waveform, rate: int, limits: ReferenceLimits, *, min_seconds: float) -> None:
    """Raise Refused for what no voice can be made of.

    The design note's requirements: 6 to 60 s in all, 10 to 30 s recommended, 24 kHz or more, quiet room, not clipped.
    """
    if not np.isfinite(samples).all():
        raise Refused("it holds samples that are not numbers. Export it again as 16-bit WAV.")
    if len(samples) < min_seconds * rate:
        lasts = len(samples) / rate
        raise Refused(f"it lasts {lasts:.1f} s. Record {min_seconds:g} s or more, 10 to 30 s in all are best.")
    if rate < limits.min_rate:
        raise Refused(f"it has {rate} samples a second, {limits.min_rate} are the least. Record it at 44,100.")
    peak = 20 * np.log10(max(float(np.abs(samples).max()), 1e-6))
    if peak < limits.min_peak_dbfs:
        raise Refused(f"it is too quiet: it peaks at {peak:.0f} dBFS. Raise the gain or move closer.")
    clipped = float(np.mean(np.abs(samples) >= 0.999))
    if clipped > limits.max_clipped_share:
        raise Refused(f"{100 * clipped:.1f} % of it is clipped. Lower the gain and record it again.")
    quiet, loud = _levels_db(samples, rate)
    if (snr := loud - quiet) < limits.min_snr_db:
        raise Refused(f"speech is only {snr:.0f} dB above the room. Turn off fans and music, or move closer.")


def _levels_db(samples: Waveform, rate: int) -> tuple[float, float]:
    """Of quiet tenths of a second (5th percentile), which are the room, and of loud ones (90th), which are speech."""
    size = max(1, round(_WINDOW_SECONDS * rate))
    count = len(samples) // size
    power = np.square(samples[: count * size].reshape(count, size), dtype=np.float64).mean(axis=1)
    quiet, loud = np.percentile(10 * np.log10(np.maximum(power, 1e-12)), [5, 90])
    return float(quiet), float(loud)


def _warnings(lasts: float, rates: Sequence[int], limits: ReferenceLimits) -> list[str]:
    found = []
    if not 10 <= lasts <= 30:
        which = "It lasts" if len(rates) == 1 else "They last"
        found.append(f"{which} {lasts:.0f} s; 10 to 30 s sound best.")
    for number, rate in enumerate(rates, 1):
        if rate < limits.good_rate:
            which = "It" if len(rates) == 1 else f"Recording {number} of {len(rates)}"
            found.append(f"{which} has {rate} samples a second; {limits.good_rate} or more sound better.")
    return found
