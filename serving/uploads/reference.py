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
from jaxtyping import Float

from serving.problems import Problem
from serving.settings import ReferenceLimits, Settings
from serving.uploads.decoder import Refused
from voice.audio import SAMPLE_RATE, Waveform, join, resample, seconds

_PROJECT = Path(__file__).resolve().parents[2]
_WINDOW_SECONDS = 0.1
_PAUSE_DB = 20.0  # so far below loud speech nobody speaks


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
        joined = join(_equally_loud(waveforms, limits), pause_seconds=limits.pause_seconds)
    return Recording(joined[:most], _warnings(lasts, rates, limits))


def _name(number: int, count: int) -> str:
    return "the recording" if count == 1 else f"recording {number} of {count}"


def _equally_loud(waveforms: Sequence[Waveform], limits: ReferenceLimits) -> list[Waveform]:
    """As loud as the loudest, or as far as no more clips than may: a voice is not to change its loudness."""
    loud = np.array([_speech_rms(waveform) for waveform in waveforms])
    gains = loud.max() / loud
    # not the very highest sample: one click would make all the speech quiet
    peaks = [np.quantile(np.abs(waveform), 1 - limits.max_clipped_share) for waveform in waveforms]
    gains /= max(1.0, float((gains * peaks).max()))
    return [np.clip(gain * waveform, -1, 1).astype(np.float32) for gain, waveform in zip(gains, waveforms, strict=True)]


def _speech_rms(waveform: Waveform) -> float:
    """Of the tenths of a second in which somebody speaks; one loud noise or a long pause hardly counts."""
    power = _powers(waveform, SAMPLE_RATE)
    speech = power[power >= np.quantile(power, 0.95) * 10 ** (-_PAUSE_DB / 10)]
    return float(np.sqrt(np.median(speech)))


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
    snr = _snr_db(samples, rate)
    if snr < limits.min_snr_db:
        raise Refused(f"speech is only {snr:.0f} dB above the room. Turn off fans and music, or move closer.")


def _snr_db(samples: Waveform, rate: int) -> float:
    """Loud tenths of a second (90th percentile) over quiet ones (5th)."""
    quiet, loud = np.percentile(10 * np.log10(_powers(samples, rate)), [5, 90])
    return float(loud - quiet)


def _powers(samples: Waveform, rate: int) -> Float[np.ndarray, " tenths"]:
    size = max(1, round(_WINDOW_SECONDS * rate))
    count = len(samples) // size
    power = np.square(samples[: count * size].reshape(count, size), dtype=np.float64).mean(axis=1)
    return np.maximum(power, 1e-12)


def _warnings(lasts: float, rates: Sequence[int], limits: ReferenceLimits) -> list[str]:
    found = []
    if not 10 <= lasts <= 30:
        what = "It lasts" if len(rates) == 1 else "The recordings last"
        found.append(f"{what} {lasts:.0f} s; 10 to 30 s sound best.")
    low = [number for number, rate in enumerate(rates, 1) if rate < limits.good_rate]
    if low:
        which = "" if len(rates) == 1 else f" ({', '.join(_name(number, len(rates)) for number in low)})"
        found.append(f"{limits.good_rate} samples a second or more sound better than {min(rates)}{which}.")
    return found
