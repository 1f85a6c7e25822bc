"""split: clips -> 90 % to train on, 10 % held out, no sentence on both sides; a reference clip; the data tier.

python -m pipelines.data.split voice=demo data.eval_share=0.2
"""

import csv
import hashlib
import json
import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from voice.audio import SAMPLE_RATE, read_waveform, write_wav
from voice.bounds import within
from voice.errors import InputError
from voice.manifest import Utterance, read_metadata, write_metadata
from voice.pack import REFERENCE_AUDIO, REFERENCE_TEXT
from voice.publish import publish
from voice.stage import output_root, stage
from voice.text import same_text_key

log = logging.getLogger(__name__)

# minutes and clips for each tier (the design note's training data requirements)
TIERS = (("excellent", 30.0, 300), ("good", 15.0, 150), ("minimum", 5.0, 50))


@dataclass(kw_only=True)
class Sides:  # conf/data/split.yaml
    """How clips are divided and a reference is found."""

    eval_share: float = within(above=0, high=0.5)
    seed: int
    reference_min_seconds: float = within(low=3)  # the model's zero-shot minimum
    reference_max_seconds: float = within(above=0, high=60)
    reference_pause_seconds: float = within(low=0)
    reference_tail_seconds: float = within(low=0)


@dataclass
class Split:  # conf/split.yaml
    """Settings of the stage."""

    voice: str
    data: Sides


@dataclass(frozen=True, slots=True)
class Clip:
    """A kept clip with what the reference is chosen by."""

    utterance: Utterance
    seconds: float
    snr_db: float


def split(utterances: Sequence[Utterance], *, eval_share: float, seed: int) -> tuple[list[Utterance], list[Utterance]]:
    """Divide into train and held-out clips. Raises InputError if there are fewer than two different sentences.

    Takes of one sentence stay together. Sentences are ranked by a seeded hash of their words, so that adding clips
    moves few of the others.
    """
    groups: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        groups[same_text_key(utterance.text)].append(utterance)
    if len(groups) < 2:
        raise InputError("fewer than two different sentences: nothing can be held out. Record more.")
    ranked = sorted(groups, key=lambda key: hashlib.sha256(f"{seed}|{key}".encode()).digest())
    held_out = set(ranked[: max(1, round(eval_share * len(groups)))])
    eval_ids = {u.id for u in chain.from_iterable(groups[key] for key in held_out)}
    return [u for u in utterances if u.id not in eval_ids], [u for u in utterances if u.id in eval_ids]


def choose_reference(clips: Sequence[Clip], *, min_seconds: float, max_seconds: float) -> list[Clip]:
    """The cleanest clip of the right length; where all are shorter, the cleanest few that reach it together."""
    right = [c for c in clips if min_seconds <= c.seconds <= max_seconds]
    if right:
        return [max(right, key=lambda c: c.snr_db)]
    chosen: list[Clip] = []
    for clip in sorted(clips, key=lambda c: c.snr_db, reverse=True):
        if sum(c.seconds for c in chosen) >= min_seconds:
            break
        if sum(c.seconds for c in chosen) + clip.seconds <= max_seconds:
            chosen.append(clip)
    if not chosen:
        raise InputError(
            f"every clip is longer than {max_seconds:g} s: none can be the reference. Cut them into sentences."
        )
    return chosen


def tier(minutes: float, clips: int) -> str:
    """Name the amount of data: `excellent`, `good`, `minimum`, or `below minimum`."""
    return next((name for name, m, n in TIERS if minutes >= m and clips >= n), "below minimum")


def read_clips(folder: Path) -> list[Clip]:
    """Read a processed voice: its manifest and the measurements in quality.csv. Raises InputError if there is none."""
    if not (folder / "quality.csv").is_file():
        raise InputError(f"{folder / 'quality.csv'} is missing. Run `dvc repro preprocess`.")
    with (folder / "quality.csv").open(newline="", encoding="utf-8") as file:
        measured = {row["id"]: row for row in csv.DictReader(file) if row["kept"] == "True"}
    return [
        Clip(u, float(measured[u.id]["seconds"]), float(measured[u.id]["snr_db"]))
        for u in read_metadata(folder / "metadata.csv")
    ]


def write_reference(
    out: Path, processed: Path, chosen: Sequence[Clip], *, pause_seconds: float, tail_seconds: float
) -> None:
    """Write reference.wav and .txt: the chosen clips with pauses between, and silence after.

    The silence keeps the reference's last phoneme from bleeding into what is cloned (faster-qwen3-tts PR 9).
    """
    pause = np.zeros(round(pause_seconds * SAMPLE_RATE), np.float32)
    tail = np.zeros(round(tail_seconds * SAMPLE_RATE), np.float32)
    spoken = [read_waveform(processed / "wavs" / f"{c.utterance.id}.wav") for c in chosen]
    pieces = [piece for waveform in spoken[:-1] for piece in (waveform, pause)]
    with publish(out / REFERENCE_AUDIO) as draft:
        write_wav(draft, np.concatenate([*pieces, spoken[-1], tail]))
    with publish(out / REFERENCE_TEXT) as draft:
        draft.write_text(" ".join(c.utterance.text for c in chosen) + "\n", encoding="utf-8")


@stage(Split)
def main(config: Split) -> None:
    """Divide one voice."""
    settings = config.data
    processed = Path("data/processed") / config.voice
    out = output_root() / processed
    clips = read_clips(processed)
    out.mkdir(parents=True, exist_ok=True)
    train, held_out = split([c.utterance for c in clips], eval_share=settings.eval_share, seed=settings.seed)
    train_ids = {u.id for u in train}
    chosen = choose_reference(
        [c for c in clips if c.utterance.id in train_ids],
        min_seconds=settings.reference_min_seconds,
        max_seconds=settings.reference_max_seconds,
    )
    write_metadata(out / "metadata_train.csv", train)
    write_metadata(out / "metadata_eval.csv", held_out)
    write_reference(
        out,
        processed,
        chosen,
        pause_seconds=settings.reference_pause_seconds,
        tail_seconds=settings.reference_tail_seconds,
    )
    minutes = math.fsum(c.seconds for c in clips) / 60
    summary = {
        "clips": len(clips),
        "minutes": round(minutes, 3),
        "tier": tier(minutes, len(clips)),
        "train_clips": len(train),
        "eval_clips": len(held_out),
        "reference_clips": [c.utterance.id for c in chosen],
    }
    with publish(out / "summary.json") as draft:
        draft.write_text(json.dumps(summary, indent=2) + "\n")
    log.info("%d clips, %.1f minutes: tier %s", len(clips), minutes, summary["tier"])


if __name__ == "__main__":
    main()
