"""Instant checks of a take: what is wrong with it, in one sentence with the remedy. Levels in dB of full scale."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float

from pipelines.data.quality.level import clipped_share, decibels
from pipelines.data.record.settings import Recording
from pipelines.data.record.take import Take
from voice.audio import SAMPLE_RATE, Waveform

FRAME_SECONDS = 0.01
_FLOOR_DB = -120.0
_WINDOW = 7  # frames: the median of them passes a syllable, but not the click of a key (up to 30 ms)

Levels = Float[np.ndarray, " frames"]  # RMS of each 10 ms


class Severity(StrEnum):
    """What a finding means for the take."""

    WARN = "warn"  # the speaker may keep it all the same
    REFUSE = "refuse"  # nothing in it can be used


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a take, and what to do."""

    kind: str
    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What a take measures."""

    seconds: float  # silence included
    speech_seconds: float  # from the first to the last sound of speech
    peak_dbfs: float
    clipped_share: float
    noise_floor_dbfs: float  # level of the quietest tenth
    snr_db: float  # loud frames (90th percentile) over quiet ones (10th)
    longest_pause_seconds: float
    starts_in_speech: bool
    ends_in_speech: bool
    dropouts: int  # places where samples are missing


def measure(take: Take, limits: Recording) -> Measured:
    """Measure a take at its own rate."""
    levels = _levels(take)
    noise, loud = (float(level) for level in np.percentile(levels, [10, 90]))
    speech = _speech(levels, limits.pause_below_db)
    where = np.flatnonzero(speech)
    edge = round(limits.edge_seconds / FRAME_SECONDS)
    # the median over the edge, so that the click of the key that started or stopped the take is not taken for a voice
    heard = max(float(np.percentile(levels, 95)) - limits.edge_below_db, noise + limits.edge_above_noise_db)
    return Measured(
        seconds=take.seconds,
        speech_seconds=float(where[-1] - where[0] + 1) * FRAME_SECONDS if len(where) else 0.0,
        peak_dbfs=decibels(float(np.abs(take.samples).max())),
        clipped_share=clipped_share(take.samples),
        noise_floor_dbfs=noise,
        snr_db=loud - noise,
        longest_pause_seconds=_longest_gap(where) * FRAME_SECONDS,
        starts_in_speech=bool(np.median(levels[:edge]) > heard),
        ends_in_speech=bool(np.median(levels[-edge:]) > heard),
        dropouts=_count_dropouts(take, limits.dropout_seconds, sound=10 ** (heard / 20)),
    )


def _levels(take: Take) -> Levels:
    frame = max(1, round(FRAME_SECONDS * take.rate))
    samples = np.pad(take.samples, (0, max(0, frame - len(take.samples))))
    count = len(samples) // frame
    power = np.square(samples[: count * frame].reshape(count, frame), dtype=np.float64).mean(axis=1)
    return 10.0 * np.log10(np.maximum(power, 10 ** (_FLOOR_DB / 10)))


def _speech(levels: Levels, pause_below_db: float) -> Bool[np.ndarray, " frames"]:
    padded = np.pad(levels, _WINDOW // 2, constant_values=_FLOOR_DB)
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, _WINDOW), axis=1)
    noise, loud = np.percentile(smooth, [10, 95])
    # in a noisy room pauses are no quieter than the noise: 10 dB above it counts, unless hardly anything is louder
    return smooth > min(max(loud - pause_below_db, noise + 10.0), loud - 10.0)


def _longest_gap(where: np.ndarray) -> int:
    return int(np.diff(where).max()) - 1 if len(where) > 1 else 0


def _count_dropouts(take: Take, shortest_seconds: float, *, sound: float) -> int:
    # a browser that cannot keep up writes zeros; in a pause they would do no harm, and cannot be told from a quiet room
    zero = np.concatenate([[0], take.samples == 0, [0]]).astype(np.int8)
    starts, ends = np.flatnonzero(np.diff(zero) == 1), np.flatnonzero(np.diff(zero) == -1)
    around = round(FRAME_SECONDS * take.rate)
    long = ends - starts >= shortest_seconds * take.rate
    return sum(
        min(_rms(take.samples[max(0, start - around) : start]), _rms(take.samples[end : end + around])) > sound
        for start, end in zip(starts[long], ends[long], strict=True)
    )


def _rms(samples: Waveform) -> float:
    return float(np.sqrt(np.square(samples, dtype=np.float64).mean())) if len(samples) else 0.0


def check(measured: Measured, rate: int, limits: Recording) -> list[Finding]:
    """Say what is wrong with a take that was recorded at `rate` Hz; the worst comes first, and silence alone."""
    if measured.peak_dbfs < limits.silence_dbfs or measured.snr_db < limits.silence_range_db:
        message = "No voice was heard above the room. Check that the right microphone is chosen, and not muted."
        return [Finding("silence", Severity.REFUSE, message)]
    return [Finding(k, Severity.WARN, m) for k, m in (*_of_level(measured, limits), *_of_time(measured, rate, limits))]


def _of_level(measured: Measured, limits: Recording) -> Iterator[tuple[str, str]]:
    if measured.clipped_share > limits.max_clipped_share:
        yield "clipped", "Too loud: the sound is clipped. Lower the microphone's gain or move back a little."
    if measured.peak_dbfs < limits.min_peak_dbfs:
        peak = f"{measured.peak_dbfs:.0f} dBFS"
        yield "quiet", f"Too quiet: it peaks at {peak}. Raise the microphone's gain or move closer."
    if measured.snr_db < limits.min_snr_db:
        above = f"{measured.snr_db:.0f} dB"
        yield "noisy", f"Too noisy: your voice is only {above} above the room. Turn off fans, or move closer."


def _of_time(measured: Measured, rate: int, limits: Recording) -> Iterator[tuple[str, str]]:
    if measured.starts_in_speech:
        yield "cut_start", "The beginning may be cut off. Wait a moment after the recording starts, then speak."
    if measured.ends_in_speech:
        yield "cut_end", "The end may be cut off. Finish the last word, wait a moment, then stop."
    if measured.speech_seconds < limits.min_seconds:
        spoken = f"{measured.speech_seconds:.1f} s"
        yield "short", f"Short: {spoken} of speech, {limits.min_seconds:g} s or more teach better. Read it calmly."
    if measured.speech_seconds > limits.max_seconds:
        spoken = f"{measured.speech_seconds:.1f} s"
        yield "long", f"Long: {spoken} of speech, {limits.max_seconds:g} s is the most. Read it a little faster."
    if measured.longest_pause_seconds > limits.max_pause_seconds:
        pause = f"{measured.longest_pause_seconds:.1f} s"
        yield "pause", f"A pause of {pause}. Read it in one go, with pauses under {limits.max_pause_seconds:g} s."
    if measured.dropouts:
        yield "dropout", "Bits of sound are missing: the computer was too busy. Close other programs and record again."
    if rate < SAMPLE_RATE:
        yield "rate", f"The microphone gives {rate / 1000:g} kHz, the voice needs 24. Use a wired one, not a headset's."
