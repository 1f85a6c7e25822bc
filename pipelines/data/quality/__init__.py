"""What a recording measures. Thresholds are not here but in conf/data/curate.yaml."""

from dataclasses import dataclass

import numpy as np

from pipelines.data.quality.bandwidth import bandwidth
from pipelines.data.quality.frames import frame_levels
from pipelines.data.quality.level import clipped_share, count_clicks, decibels, loudness
from pipelines.data.quality.noise import low_level_share, mains_hum, signal_to_noise
from pipelines.data.quality.room import decay_time, longest_pause
from voice.audio import SAMPLE_RATE, Channels, Waveform


@dataclass(frozen=True, slots=True)
class Quality:
    """Measurements of one clip, before it is levelled."""

    seconds: float  # after trimming
    lufs: float  # integrated loudness, ITU-R BS.1770
    peak_dbfs: float
    clipped_share: float  # samples at full scale, as recorded
    dc_offset: float  # share of full scale, as recorded
    clicks: int
    snr_db: float
    snr_gain_db: float  # what the denoiser added; 0 where it is off
    hum_db: float  # prominence of 50 or 60 Hz and harmonics
    bandwidth_hz: float
    reverberation_seconds: float | None  # decay by 60 dB; None where nothing decays
    longest_pause_seconds: float
    low_level_share: float  # speech has much, music little


@dataclass(frozen=True, slots=True)
class AsRecorded:
    """What only the untouched recording shows."""

    clipped_share: float
    dc_offset: float
    bandwidth_hz: float

    @classmethod
    def of(cls, channels: Channels, mono: Waveform, rate: int) -> "AsRecorded":
        """Measure a recording at its own rate; `mono` is its mean over channels."""
        return cls(clipped_share(channels), float(np.abs(mono.mean(dtype=np.float64))), bandwidth(mono, rate=rate))


def measure(waveform: Waveform, recorded: AsRecorded, *, snr_gain_db: float = 0.0) -> Quality:
    """Measure a trimmed 24 kHz waveform."""
    levels = frame_levels(waveform)
    return Quality(
        seconds=len(waveform) / SAMPLE_RATE,
        lufs=loudness(waveform),
        peak_dbfs=decibels(float(np.abs(waveform).max())),
        clipped_share=recorded.clipped_share,
        dc_offset=recorded.dc_offset,
        clicks=count_clicks(waveform),
        snr_db=signal_to_noise(levels),
        snr_gain_db=snr_gain_db,
        hum_db=mains_hum(waveform),
        bandwidth_hz=recorded.bandwidth_hz,
        reverberation_seconds=decay_time(levels),
        longest_pause_seconds=longest_pause(levels),
        low_level_share=low_level_share(levels),
    )
