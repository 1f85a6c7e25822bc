"""The demo recordings: synthetic speech of espeak-ng, recorded the way people record.

A fresh clone must be able to run the whole pipeline, and nobody's voice belongs in a public repository: espeak-ng is
nobody. Its speech is then given what preprocessing is for: other sampling rates, two channels, noise, silence at the
edges, uneven level, DC offset. Rates in Hz, levels in dBFS (RMS of the speech), durations in seconds.

A maintainer runs it once, from the project's root, and commits what it writes. The same espeak-ng (1.51 so far) and the
lock file's libraries give the same bytes:

    apt-get install espeak-ng && python -m data.make_demo
"""

import io
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from voice.audio import Channels, Waveform, resample, to_pcm16
from voice.manifest import Utterance, write_metadata
from voice.publish import publish

HERE = Path(__file__).parent
SENTENCES = HERE / "demo_sentences.txt"  # the demo speaker's; the last few are the other speaker's
OTHER_CLIPS = 6
REPEATED = 11  # this sentence (0 is the first) is spoken once more at the end: `split` must keep both takes on one side
SEED = 0

ESPEAK_RATE = 22_050
PEAK_LIMIT = 10 ** (-1 / 20)  # espeak-ng peaks some 20 dB above its RMS: without a limit the loudest takes would clip
RIGHT_GAIN = 0.82  # of the left channel: a speaker who sits a little to one side

# How many of 60 are recorded at each rate
RATES = {48_000: 5, 44_100: 14, 32_000: 6, 24_000: 5, 22_050: 20, 16_000: 10}
STEREO, NOISY, SILENT_EDGES, OFFSET = 8, 10, 44, 4  # of 60. Noise is what costs: about 6 bits of FLAC a sample
SMALLEST = 1.0  # of soundfile's compression levels

CONSENT = """\
This voice is synthetic. espeak-ng, a formant synthesiser, made every recording in this folder; no person was recorded,
imitated or copied, so there is nobody whose consent could be asked for.
"""


@dataclass(frozen=True, slots=True)
class Speaker:
    """One espeak-ng voice; pitch is espeak-ng's, 0 to 99."""

    voice: str
    pitch: int
    words_per_minute: int


@dataclass(frozen=True, slots=True)
class Setup:
    """How one clip is recorded."""

    rate: int
    stereo: bool = False
    level_dbfs: float = -24.0
    snr_db: float = np.inf
    lead_seconds: float = 0.1
    tail_seconds: float = 0.1
    offset: float = 0.0  # DC, of full scale


# A man and a woman; of two dozen voices tried, the two that pocketsphinx understands best (WER 0.5 and 0.3)
DEMO = Speaker("en-us+edward", pitch=45, words_per_minute=175)
OTHER = Speaker("en-us+f5", pitch=60, words_per_minute=175)
OTHER_SETUP = Setup(rate=16_000)


def draw_setups(count: int, rng: np.random.Generator) -> list[Setup]:
    """Draw one setup for each clip, with the shares above."""

    def some(share: int) -> np.ndarray:
        return rng.permutation(count) < round(share / 60 * count)

    rates = rng.permutation(np.resize(np.repeat(list(RATES), list(RATES.values())), count))
    edges = np.where(some(SILENT_EDGES)[:, None], rng.uniform(0.2, 1.5, (count, 2)), 0.05)
    noise = np.where(some(NOISY), rng.uniform(35, 45, count), np.inf)
    offsets = np.where(some(OFFSET), rng.uniform(-0.02, 0.02, count), 0.0)
    levels = rng.uniform(-36, -18, count)
    drawn = zip(rates, some(STEREO), levels, noise, *edges.T, offsets, strict=True)
    return [Setup(*(value.item() for value in values)) for values in drawn]


def speak(text: str, speaker: Speaker) -> Waveform:
    """Synthesise at 22.05 kHz."""
    voice = ["-v", speaker.voice, "-p", str(speaker.pitch), "-s", str(speaker.words_per_minute)]
    wav = subprocess.run(["espeak-ng", *voice, "-z", "--stdout", text], check=True, capture_output=True).stdout
    waveform: Waveform
    waveform, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    assert rate == ESPEAK_RATE, f"{speaker.voice} speaks at {rate} Hz"
    return waveform


def record(speech: Waveform, setup: Setup, rng: np.random.Generator) -> Channels:
    """Put speech through a setup: rate, level, silence, channels, noise and offset, in this order."""
    speech = resample(speech, from_rate=ESPEAK_RATE, to_rate=setup.rate)
    rms = float(np.sqrt(np.mean(speech**2)))
    gain = min(10 ** (setup.level_dbfs / 20) / rms, PEAK_LIMIT / float(np.abs(speech).max()))
    edges = [round(seconds * setup.rate) for seconds in (setup.lead_seconds, setup.tail_seconds)]
    mono = np.pad(gain * speech, edges)
    channels = np.stack([mono, RIGHT_GAIN * mono], axis=1) if setup.stereo else mono[:, None]
    noise = rng.normal(scale=gain * rms * 10 ** (-setup.snr_db / 20), size=channels.shape)
    return (channels + noise + setup.offset).astype(np.float32)


def write_voice(
    folder: Path, texts: Sequence[str], speakers: Sequence[Speaker], setups: Sequence[Setup], rng: np.random.Generator
) -> None:
    """Write wavs/ and metadata.csv; clips are numbered from 001 and bear the folder's name."""
    utterances = [Utterance(f"{folder.name}_{number:03d}", text) for number, text in enumerate(texts, start=1)]
    with publish(folder / "wavs") as wavs:
        wavs.mkdir()
        for utterance, speaker, setup in zip(utterances, speakers, setups, strict=True):
            pcm = to_pcm16(record(speak(utterance.text, speaker), setup, rng))
            soundfile.write(wavs / f"{utterance.id}.flac", pcm, setup.rate, compression_level=SMALLEST)
    write_metadata(folder / "metadata.csv", utterances)


def main() -> None:
    """Write data/raw/demo and data/other_speaker."""
    rng = np.random.default_rng(SEED)
    sentences = SENTENCES.read_text(encoding="utf-8").splitlines()
    demo, other = sentences[:-OTHER_CLIPS], sentences[-OTHER_CLIPS:]
    second_take = replace(DEMO, words_per_minute=round(0.92 * DEMO.words_per_minute))
    texts, speakers = [*demo, demo[REPEATED]], [DEMO] * len(demo) + [second_take]
    write_voice(HERE / "raw/demo", texts, speakers, draw_setups(len(texts), rng), rng)
    (HERE / "raw/demo/consent.txt").write_text(CONSENT, encoding="utf-8")
    write_voice(HERE / "other_speaker", other, [OTHER] * len(other), [OTHER_SETUP] * len(other), rng)


if __name__ == "__main__":
    main()
