"""What makes a clip suspect or useless, one finding at a time. Thresholds with their sources: conf/data/curate.yaml."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from pipelines.data.clips import Clip
from pipelines.data.quality import Quality
from pipelines.data.transcripts import Origin, Transcript
from voice.bounds import within


class Severity(IntEnum):
    """What becomes of a clip with such a finding."""

    FLAG = 1  # kept, but the owner should look
    DROP = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a clip, in words."""

    severity: Severity
    reason: str


@dataclass(kw_only=True)
class Limits:  # conf/data/curate.yaml
    """Where a measurement becomes a finding."""

    min_seconds: float = within(low=0)
    max_seconds: float = within(above=0)
    min_lufs: float
    drop_clipped_share: float = within(low=0, high=1)
    flag_clipped_share: float = within(low=0, high=1)
    flag_clicks: int = within(low=1)
    flag_dc_offset: float = within(low=0)
    drop_snr_db: float
    flag_snr_db: float
    flag_hum_db: float
    drop_bandwidth_hz: float
    flag_bandwidth_hz: float
    flag_reverberation_seconds: float
    flag_pause_seconds: float
    drop_low_level_share: float
    pace_iqr: float = within(above=0)
    pace_tolerance: float = within(low=0)
    flag_disagreement: float = within(low=0)
    drop_disagreement: float = within(low=0)
    disagreement_spread: float = within(low=0)
    drop_speaker_distance: float
    flag_speaker_distance: float


def _drop(reason: str) -> Finding:
    return Finding(Severity.DROP, reason)


def _flag(reason: str) -> Finding:
    return Finding(Severity.FLAG, reason)


def about_length(q: Quality, limits: Limits) -> Iterator[Finding]:
    """Too little or too much in one clip."""
    if q.seconds < limits.min_seconds:
        yield _drop(f"shorter than {limits.min_seconds:g} s after trimming: record a longer sentence")
    if q.seconds > limits.max_seconds:
        yield _drop(f"longer than {limits.max_seconds:g} s: remove its line from metadata.csv to have it cut")
    if q.longest_pause_seconds > limits.flag_pause_seconds:
        yield _flag(f"a pause of {q.longest_pause_seconds:.1f} s: say it in one go")


def about_level(q: Quality, limits: Limits) -> Iterator[Finding]:
    """Clipping, clicks, offset, near silence."""
    if q.lufs < limits.min_lufs:
        yield _drop(f"almost silent ({q.lufs:.0f} LUFS): move closer to the microphone")
    if q.clipped_share > limits.drop_clipped_share:
        yield _drop(f"clipped in {q.clipped_share:.2%} of its samples: lower the microphone's gain")
    elif q.clipped_share > limits.flag_clipped_share:
        yield _flag(f"clipped in {q.clipped_share:.2%} of its samples")
    if q.clicks >= limits.flag_clicks:
        yield _flag(f"{q.clicks} clicks")
    if q.dc_offset > limits.flag_dc_offset:
        yield _flag(f"a DC offset of {q.dc_offset:.1%} (removed): check the microphone")


def about_surroundings(q: Quality, limits: Limits) -> Iterator[Finding]:
    """Noise, hum, room, missing treble, music."""
    if q.low_level_share < limits.drop_low_level_share:
        yield _drop("steady sound without the gaps of speech: music or noise")
    elif q.snr_db < limits.drop_snr_db:
        yield _drop(f"noisy (SNR {q.snr_db:.0f} dB): record in a quieter room")
    elif q.snr_db < limits.flag_snr_db:
        yield _flag(f"noisy (SNR {q.snr_db:.0f} dB)")
    if q.hum_db > limits.flag_hum_db:
        yield _flag(f"mains hum ({q.hum_db:.0f} dB above its surroundings): move cables and chargers away")
    if q.bandwidth_hz < limits.drop_bandwidth_hz:
        yield _drop(f"nothing above {q.bandwidth_hz / 1000:.1f} kHz: a telephone's recording, whatever its rate")
    elif q.bandwidth_hz < limits.flag_bandwidth_hz:
        yield _flag(f"nothing above {q.bandwidth_hz / 1000:.1f} kHz")
    if q.reverberation_seconds and q.reverberation_seconds > limits.flag_reverberation_seconds:
        yield _flag(f"reverberant ({q.reverberation_seconds:.1f} s): use a room with soft furniture")


def about_text(clip: Clip, transcript: Transcript, *, language: str) -> Iterator[Finding]:
    """Missing words, words in another script, words that nobody has read."""
    if not transcript.text:
        yield _drop("no text: write it into metadata.csv, or let a recogniser write it (data.asr)")
    elif (script := foreign_script(transcript.text, language)) is not None:
        yield _drop(f"its text is in {script} letters, not in those of {language!r}: correct it or the language")
    if transcript.origin is Origin.HEARD and transcript.text:
        yield _flag("its text was written by a recogniser: read it over in data/review/")
    if not clip.between_pauses:
        yield _flag("cut without a pause: its edges may be inside a word")


# Unicode names begin with the script; what a language does not list is foreign to it
_SCRIPTS = {
    "zh": {"CJK", "BOPOMOFO"},
    "ja": {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "FULLWIDTH"},
    "ko": {"HANGUL", "CJK"},
    "ru": {"CYRILLIC"},
}


def foreign_script(text: str, language: str) -> str | None:
    """The script of most letters, if it is not one that the language is written in; None also for `auto`."""
    names = [unicodedata.name(c, "UNKNOWN").split()[0] for c in text if c.isalpha()]
    if language == "auto" or not names:
        return None
    own = _SCRIPTS.get(language, {"LATIN"})
    foreign = [name for name in names if name not in own]
    return max(set(foreign), key=foreign.count).lower() if 2 * len(foreign) > len(names) else None
