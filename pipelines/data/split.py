"""split: clips -> 90 % to train on, 10 % held out, no sentence on both sides; a reference clip; the data tier.

python -m pipelines.data.split voice=demo data.eval_share=0.2
"""

import csv
import json
import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np

from pipelines.data.verdicts import Verdict
from voice.audio import SAMPLE_RATE, join, read_waveform, write_wav
from voice.bounds import within
from voice.errors import InputError
from voice.manifest import Utterance, read_metadata, write_metadata
from voice.pack import REFERENCE_AUDIO, REFERENCE_TEXT
from voice.publish import publish
from voice.stage import output_root, stage
from voice.text import same_text_key

log = logging.getLogger(__name__)

# minutes and clips for each tier (the design note's training data requirements)
_ENOUGH_GROUPS = 10  # below, one recording would be a tenth of all
TIERS = (("excellent", 30.0, 300), ("good", 15.0, 150), ("minimum", 5.0, 50))


@dataclass(kw_only=True)
class Sides:  # conf/data/split.yaml
    """How clips are divided and a reference is found."""

    eval_share: float = within(above=0, high=0.5)
    length_bands_seconds: list[float]
    seed: int
    reference_min_seconds: float = within(low=3)  # the model's zero-shot minimum
    reference_max_seconds: float = within(above=0, high=60)
    reference_max_pause_seconds: float = within(low=0)
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
    source: str  # the recording it came from
    seconds: float
    snr_db: float
    flagged: bool
    longest_pause_seconds: float


def split(
    clips: Sequence[Clip], *, eval_share: float, edges: Sequence[float], seed: int
) -> tuple[list[Clip], list[Clip]]:
    """Divide into train and held-out clips. Raises InputError if there are fewer than two groups.

    Takes of one sentence stay together, and so do the clips cut from one recording, unless that is all there is. Groups
    are ranked by a seeded hash of their words within bands of length (`edges` in seconds), so that short and long
    sentences are held out alike, and clips that are added later move few of the others.
    """
    groups = _groups(clips, by_source=True)
    if len(groups) < _ENOUGH_GROUPS:  # an hour in one file: neighbours in time on both sides are better than no split
        groups = _groups(clips, by_source=False)
    if len(groups) < 2:
        raise InputError("fewer than two different sentences: nothing can be held out. Record more.")
    held_out: set[str] = set()
    for stratum in _bands(groups, edges):
        ranked = sorted(stratum, key=lambda key: sha256(f"{seed}|{key}".encode()).digest())
        held_out |= set(ranked[: round(eval_share * len(ranked))])
    if not held_out:
        held_out = {min(groups, key=lambda key: sha256(f"{seed}|{key}".encode()).digest())}
    eval_ids = {clip.utterance.id for key in held_out for clip in groups[key]}
    train = [clip for clip in clips if clip.utterance.id not in eval_ids]
    return train, [clip for clip in clips if clip.utterance.id in eval_ids]


def _groups(clips: Sequence[Clip], *, by_source: bool) -> dict[str, list[Clip]]:
    """Clips that share a sentence, or a recording, directly or through others; named by the group's first sentence."""
    leader: dict[str, str] = {}

    def find(node: str) -> str:
        while leader.setdefault(node, node) != node:
            node = leader[node]
        return node

    for clip in clips:
        text = find(f"text {same_text_key(clip.utterance.text)}")
        if by_source:
            leader[find(f"source {clip.source}")] = text
    groups: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        groups[find(f"text {same_text_key(clip.utterance.text)}")].append(clip)
    return {min(same_text_key(c.utterance.text) for c in group): group for group in groups.values()}


def _bands(groups: dict[str, list[Clip]], edges: Sequence[float]) -> Iterator[list[str]]:
    """Names of the groups whose clips last about the same, for every band between `edges` in seconds."""
    mean = {key: math.fsum(clip.seconds for clip in group) / len(group) for key, group in groups.items()}
    for low, high in pairwise([0.0, *edges, math.inf]):
        yield [key for key in groups if low <= mean[key] < high]


def choose_reference(
    clips: Sequence[Clip], *, min_seconds: float, max_seconds: float, max_pause_seconds: float
) -> list[Clip]:
    """The cleanest clip of the right length; where all are shorter, the cleanest few that reach it together.

    Clips with findings or long pauses come last. Raises InputError if every clip is longer.
    """

    def suits(clip: Clip) -> tuple[bool, float]:
        return not clip.flagged and clip.longest_pause_seconds <= max_pause_seconds, clip.snr_db

    right = [c for c in clips if min_seconds <= c.seconds <= max_seconds]
    if right and suits(best := max(right, key=suits))[0]:
        return [best]
    chosen: list[Clip] = []
    for clip in sorted(clips, key=suits, reverse=True):
        if sum(c.seconds for c in chosen) >= min_seconds:
            break
        if sum(c.seconds for c in chosen) + clip.seconds <= max_seconds:
            chosen.append(clip)
    if not chosen:
        raise InputError(
            f"every clip is longer than {max_seconds:g} s: none can be the reference. Cut them into sentences."
        )
    return chosen


def check_reference(chosen: Sequence[Clip], sides: Sides) -> list[str]:
    """What the design note asks of a reference and this one does not have, in words."""
    total, longest = sum(c.seconds for c in chosen), max(c.seconds for c in chosen)
    return [
        complaint
        for broken, complaint in (
            (total < 6.0, f"the reference lasts {total:.1f} s, less than the 6 s it needs at least: record more"),
            (total > 60.0, f"the reference lasts {total:.1f} s, more than 60 s: lower reference_max_seconds"),
            (longest < 3.0, "the reference has no 3 s of continuous speech: record longer sentences"),
            (total < sides.reference_min_seconds, f"the reference lasts {total:.1f} s; 10 to 30 s clone best"),
            (any(c.flagged for c in chosen), "the reference contains a flagged clip: see quality.csv"),
        )
        if broken
    ]


def tier(minutes: float, clips: int) -> str:
    """Name the amount of data: `excellent`, `good`, `minimum`, or `below minimum`."""
    return next((name for name, m, n in TIERS if minutes >= m and clips >= n), "below minimum")


def read_clips(folder: Path) -> list[Clip]:
    """Read a curated voice: its manifest and quality.csv. Raises InputError if there is none."""
    if not (folder / "quality.csv").is_file():
        raise InputError(f"{folder / 'quality.csv'} is missing. Run `dvc repro curate`.")
    with (folder / "quality.csv").open(newline="", encoding="utf-8") as file:
        measured = {row["id"]: row for row in csv.DictReader(file) if row["verdict"] != Verdict.DROPPED}
    return [_clip(utterance, measured[utterance.id]) for utterance in read_metadata(folder / "metadata.csv")]


def _clip(utterance: Utterance, row: dict[str, str]) -> Clip:
    return Clip(
        utterance,
        source=row["source"],
        seconds=float(row["seconds"]),
        snr_db=float(row["snr_db"]),
        flagged=row["verdict"] == Verdict.FLAGGED,
        longest_pause_seconds=float(row["longest_pause_seconds"]),
    )


def write_reference(
    out: Path, processed: Path, chosen: Sequence[Clip], *, pause_seconds: float, tail_seconds: float
) -> None:
    """Write reference.wav and .txt: the chosen clips with pauses between, and silence after.

    The silence keeps the reference's last phoneme from bleeding into what is cloned (faster-qwen3-tts PR 9).
    """
    tail = np.zeros(round(tail_seconds * SAMPLE_RATE), np.float32)
    spoken = [read_waveform(processed / "wavs" / f"{c.utterance.id}.wav") for c in chosen]
    with publish(out / REFERENCE_AUDIO) as draft:
        write_wav(draft, np.concatenate([join(spoken, pause_seconds=pause_seconds), tail]))
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
    train, held_out = split(
        clips, eval_share=settings.eval_share, edges=settings.length_bands_seconds, seed=settings.seed
    )
    chosen = choose_reference(
        train,
        min_seconds=settings.reference_min_seconds,
        max_seconds=settings.reference_max_seconds,
        max_pause_seconds=settings.reference_max_pause_seconds,
    )
    write_metadata(out / "metadata_train.csv", (clip.utterance for clip in train))
    write_metadata(out / "metadata_eval.csv", (clip.utterance for clip in held_out))
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
        "reference_complaints": check_reference(chosen, settings),
    }
    with publish(out / "summary.json") as draft:
        draft.write_text(json.dumps(summary, indent=2) + "\n")
    for complaint in check_reference(chosen, settings):
        log.warning("%s", complaint)
    log.info("%d clips, %.1f minutes: tier %s", len(clips), minutes, summary["tier"])


if __name__ == "__main__":
    main()
