"""preprocess: raw recordings -> 24 kHz mono 16-bit clips, trimmed and at one loudness, and quality.csv that says why.

The design note's recipe in order: decode, mono, resample, reduce noise, trim silence, level.

    python -m pipelines.data.preprocess voice=demo data.target_lufs=-20
"""

import csv
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import noisereduce
import numpy as np
from librosa.effects import trim
from tqdm import tqdm

from pipelines.data.quality import Quality, clipped_share, loudness, measure
from voice.audio import AUDIO_SUFFIXES, SAMPLE_RATE, Waveform, read_channels, resample, to_mono, write_wav
from voice.bounds import within
from voice.errors import InputError
from voice.manifest import Utterance, read_metadata, write_metadata
from voice.publish import publish
from voice.stage import output_root, stage

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Recipe:  # conf/data/preprocess.yaml
    """What is done to every clip, and what a clip must satisfy."""

    noise_reduction: float = within(low=0, high=1)
    trim_below_db: float = within(above=0)
    keep_margin_seconds: float = within(low=0)
    target_lufs: float = within(low=-70, high=0)
    peak_limit_dbfs: float = within(high=0)
    min_seconds: float = within(low=0)
    max_seconds: float = within(above=0)
    max_clipped_share: float = within(low=0, high=1)


@dataclass
class Preprocess:  # conf/preprocess.yaml
    """Settings of the stage."""

    voice: str
    data: Recipe


@dataclass(frozen=True, slots=True)
class Verdict:
    """One line of quality.csv: what became of a clip, why, and what the recording measured before levelling."""

    id: str
    kept: bool
    reason: str
    quality: Quality | None = None


def reduce_noise(waveform: Waveform, *, strength: float) -> Waveform:
    """Stationary spectral gating; `strength` 0 leaves the samples as they are, 1 removes all that is below the gate."""
    if strength == 0.0:
        return waveform
    return noisereduce.reduce_noise(waveform, sr=SAMPLE_RATE, stationary=True, prop_decrease=strength).astype(
        np.float32
    )


def trim_silence(waveform: Waveform, *, below_db: float, margin_seconds: float) -> Waveform:
    """Drop quiet edges but keep a margin, so that soft onsets and final consonants survive."""
    _, (start, end) = trim(waveform, top_db=below_db, frame_length=1024, hop_length=256)
    margin = round(margin_seconds * SAMPLE_RATE)
    return waveform[max(0, start - margin) : end + margin]


def level(waveform: Waveform, *, target_lufs: float, peak_limit_dbfs: float) -> Waveform:
    """Scale to a loudness, but never above a peak: one gain for the clip, no compression."""
    gain = 10.0 ** ((target_lufs - loudness(waveform)) / 20.0)
    ceiling = 10.0 ** (peak_limit_dbfs / 20.0) / float(np.abs(waveform).max())
    return (waveform * min(gain, ceiling)).astype(np.float32)


def process(path: Path, recipe: Recipe) -> tuple[Waveform, Quality]:
    """Run the recipe on one recording. Raises InputError where it must be dropped."""
    channels, rate = read_channels(path)
    waveform = resample(to_mono(channels), from_rate=rate)
    waveform = waveform - waveform.mean(dtype=np.float64).astype(np.float32)  # a DC offset is inaudible but takes level
    if not np.abs(waveform).max() > 0:
        raise InputError("silent. Record it again.")
    waveform = reduce_noise(waveform, strength=recipe.noise_reduction)
    waveform = trim_silence(waveform, below_db=recipe.trim_below_db, margin_seconds=recipe.keep_margin_seconds)
    quality = measure(waveform, clipped=clipped_share(channels))
    _require(quality, recipe)
    return level(waveform, target_lufs=recipe.target_lufs, peak_limit_dbfs=recipe.peak_limit_dbfs), quality


def _require(quality: Quality, recipe: Recipe) -> None:
    if quality.seconds < recipe.min_seconds:
        raise InputError(f"shorter than {recipe.min_seconds:g} s after trimming. Record a longer sentence.")
    if quality.seconds > recipe.max_seconds:
        raise InputError(f"longer than {recipe.max_seconds:g} s. Cut it into sentences.")
    if quality.clipped_share > recipe.max_clipped_share:
        raise InputError(f"clipped in {quality.clipped_share:.2%} of its samples. Lower the microphone's gain.")


def find_recordings(folder: Path) -> dict[str, Path]:
    """Clip name -> audio file, for every audio file in `folder`. Raises InputError if two files share a name."""
    if not folder.is_dir():
        raise InputError(f"{folder} is missing. Put your recordings there, beside metadata.csv (see README.md).")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in AUDIO_SUFFIXES:
            continue
        if path.stem in found:
            raise InputError(f"{path}: {found[path.stem].name} has the same name. Keep one of them.")
        found[path.stem] = path
    return found


def preprocess(raw: Path, out: Path, recipe: Recipe) -> list[Verdict]:
    """Process every clip of `raw/metadata.csv` into `out`. Raises InputError if not one is left."""
    utterances = read_metadata(raw / "metadata.csv")
    recordings = find_recordings(raw / "wavs")
    out.mkdir(parents=True, exist_ok=True)
    with publish(out / "wavs") as wavs:
        wavs.mkdir()
        verdicts = [_process_one(u, recordings, wavs, recipe) for u in tqdm(utterances, "preprocess", unit="clip")]
        kept = {v.id for v in verdicts if v.kept}
        if not kept:
            raise InputError(f"{raw}: no clip is usable; the first was dropped because: {verdicts[0].reason}")
    written = {u.id for u in utterances}
    verdicts += [Verdict(name, False, "no line in metadata.csv") for name in recordings if name not in written]
    write_metadata(out / "metadata.csv", (u for u in utterances if u.id in kept))
    write_quality(out / "quality.csv", verdicts)
    return verdicts


def _process_one(utterance: Utterance, recordings: dict[str, Path], wavs: Path, recipe: Recipe) -> Verdict:
    if utterance.id not in recordings:
        return Verdict(utterance.id, False, "no audio file in wavs/")
    try:
        waveform, quality = process(recordings[utterance.id], recipe)
    except InputError as error:
        log.warning("%s dropped: %s", utterance.id, error)
        return Verdict(utterance.id, False, str(error))
    write_wav(wavs / f"{utterance.id}.wav", waveform)
    return Verdict(utterance.id, True, "", quality)


def write_quality(path: Path, verdicts: Iterable[Verdict]) -> None:
    """Write quality.csv: every clip, kept or dropped, and why."""
    measured = [field.name for field in fields(Quality)]
    with publish(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "kept", "reason", *measured], restval="")
        writer.writeheader()
        for verdict in verdicts:
            row: dict[str, object] = {"id": verdict.id, "kept": verdict.kept, "reason": verdict.reason}
            if verdict.quality:
                row |= {name: round(value, 4) for name, value in asdict(verdict.quality).items()}
            writer.writerow(row)


@stage(Preprocess)
def main(config: Preprocess) -> None:
    """Connect the folders of one voice."""
    raw = Path("data/raw") / config.voice
    verdicts = preprocess(raw, output_root() / "data/processed" / config.voice, config.data)
    kept = [v.quality.seconds for v in verdicts if v.quality]
    log.info("%d clips kept, %d dropped, %.1f minutes", len(kept), len(verdicts) - len(kept), sum(kept) / 60)


if __name__ == "__main__":
    main()
