"""corpus: written sentences -> many hours of speech by many speakers, with speakers and sentences held out.

    python -m pipelines.pretrain.corpus hours=24

Stored as shards, each a raw file of 16-bit samples at 24 kHz and an index; a shard appears whole or not at all, so a
broken run goes on where it stopped. What is drawn for a shard depends on the seed and its number alone.
"""

import csv
import logging
import random
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Int16
from tqdm import tqdm

from pipelines.eval.texts import fixed_sentences
from pipelines.pretrain import espeak
from pipelines.pretrain.espeak import Speaker
from pipelines.pretrain.sentences import Sentences
from pipelines.workers import workers
from voice.audio import SAMPLE_RATE, from_pcm16, read_waveform, resample, to_pcm16
from voice.bounds import within
from voice.errors import InputError
from voice.manifest import Utterance, read_metadata
from voice.publish import publish
from voice.stage import stage
from voice.table import write_records
from voice.text import same_text_key

log = logging.getLogger(__name__)

CLIPS_PER_SHARD = 400
SAMPLES_FILE, INDEX_FILE = "samples.s16", "index.csv"


@dataclass(kw_only=True)
class Corpus:  # conf/corpus.yaml
    """Settings of the stage."""

    out: str
    hours: float = within(above=0)
    speakers: int = within(low=1)
    held_out_speakers: int = within(low=1)
    held_out_clips: int = within(low=1)
    recordings: str | None
    recordings_name: str
    recordings_held_out: float = within(low=0, high=1)
    recordings_rates: list[float]
    processes: int = within(low=1)
    seed: int


@dataclass(frozen=True, slots=True)
class Clip:
    """One utterance of a shard: who says what, and where its samples lie."""

    id: str
    speaker: str
    start: int  # samples into the shard
    samples: int
    text: str


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of clips on disk; the samples are mapped, not read."""

    folder: Path
    clips: tuple[Clip, ...]

    @classmethod
    def read(cls, folder: Path) -> "Shard":
        """Read the index."""
        with (folder / INDEX_FILE).open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            clips = (Clip(r["id"], r["speaker"], int(r["start"]), int(r["samples"]), r["text"]) for r in rows)
            return cls(folder, tuple(clips))

    def samples(self) -> Int16[np.ndarray, " samples"]:
        """All samples of the shard, mapped into memory."""
        return np.memmap(self.folder / SAMPLES_FILE, np.int16, mode="r")

    def write(self, samples: Int16[np.ndarray, " samples"]) -> None:
        """Write samples and index; the folder appears when both are complete."""
        with publish(self.folder) as draft:
            draft.mkdir()
            samples.tofile(draft / SAMPLES_FILE)
            write_records(draft / INDEX_FILE, Clip, self.clips)


def read_side(corpus: Path, side: str) -> list[Shard]:
    """The shards of one side: `train`, `eval` (speakers and sentences held out), `judged`, or of recordings.

    Raises InputError if there are none.
    """
    folders = sorted(p.parent for p in corpus.glob(f"{side}-*/{INDEX_FILE}") if not p.parent.name.startswith("."))
    if not folders:
        raise InputError(f"{corpus} holds no shard of {side!r}. Run `python -m pipelines.pretrain.corpus` first.")
    return [Shard.read(folder) for folder in folders]


def draw_speakers(count: int, *, seed: int, held_out: bool) -> list[Speaker]:
    """Draw speakers. Held-out ones have variants, named or drawn, that no speaker of the other side has."""
    prefix, variants = ("h", espeak.HELD_OUT_VARIANTS) if held_out else ("s", espeak.VARIANTS)
    rng = random.Random(f"{seed}-{prefix}")
    return [espeak.draw_speaker(f"{prefix}{number:03d}", rng, variants=variants) for number in range(count)]


def make_shard(
    folder: Path, speakers: Sequence[Speaker], *, count: int, seed: int, held_out: bool, data: Path
) -> Shard:
    """Speak `count` sentences of one side and write them, unless that has been done."""
    if (folder / INDEX_FILE).is_file():
        return Shard.read(folder)
    rng = random.Random(f"{seed}-{folder.name}")
    sentences = Sentences(rng)
    clips, parts, start = [], [], 0
    for number in range(count):
        speaker, text = rng.choice(speakers), sentences.draw(held_out=held_out)
        part = to_pcm16(espeak.speak(text, speaker, data=data, rng=rng))
        clips.append(Clip(f"{folder.name}-{number:03d}", speaker.name, start, len(part), text))
        parts.append(part)
        start += len(part)
    shard = Shard(folder, tuple(clips))
    shard.write(np.concatenate(parts))
    return shard


def make_judged(folder: Path, *, data: Path) -> Shard:
    """The project's evaluation sentences, which make sense, by speakers that a recogniser understands, in turn."""
    if (folder / INDEX_FILE).is_file():
        return Shard.read(folder)
    texts = [sentence.text for sentence in fixed_sentences("en")]  # never trained on
    speakers, rng = espeak.judged_speakers(), random.Random(folder.name)
    clips, parts, start = [], [], 0
    for number, text in enumerate(texts):
        speaker = speakers[number % len(speakers)]
        part = to_pcm16(espeak.speak(text, speaker, data=data, rng=rng))
        clips.append(Clip(f"{folder.name}-{number:03d}", speaker.name, start, len(part), text))
        parts.append(part)
        start += len(part)
    shard = Shard(folder, tuple(clips))
    shard.write(np.concatenate(parts))
    return shard


def add_recordings(
    corpus: Path, source: Path, *, name: str, held_out_share: float, rates: Sequence[float] = ()
) -> None:
    """Take in a folder of recordings (metadata.csv, wavs/): all takes of a sentence go to one side.

    The training side is there once more, as another speaker, for each of `rates`: played so much faster, which moves
    pitch and formants as another throat would. One person is no population to learn voices from.
    """
    files = {path.stem: path for path in sorted((source / "wavs").iterdir())}
    utterances = read_metadata(source / "metadata.csv")
    for utterance in utterances:
        if utterance.id not in files:
            raise InputError(f"{source}: no recording of clip {utterance.id!r} in wavs/. Add it or remove its line.")
    sentences = sorted({same_text_key(u.text) for u in utterances}, key=lambda text: zlib.crc32(text.encode()))
    held_out = set(sentences[: round(held_out_share * len(sentences))])
    sides = {
        "train": [u for u in utterances if same_text_key(u.text) not in held_out],
        "eval": [u for u in utterances if same_text_key(u.text) in held_out],
    }
    for side, chosen in sides.items():
        _add_side(corpus / f"{name}_{side}-000", chosen, files, speaker=name, rate=1.0)
    for number, rate in enumerate(rates, start=1):
        folder = corpus / f"{name}_train-{number:03d}"
        _add_side(folder, sides["train"], files, speaker=f"{name}-{rate:g}", rate=rate)


def _add_side(
    folder: Path, utterances: Sequence[Utterance], files: Mapping[str, Path], *, speaker: str, rate: float
) -> None:
    if not utterances or (folder / INDEX_FILE).is_file():
        return
    clips, parts, start = [], [], 0
    for utterance in utterances:
        waveform = resample(read_waveform(files[utterance.id]), from_rate=round(rate * SAMPLE_RATE))
        part = to_pcm16(waveform)
        clips.append(Clip(f"{speaker}-{utterance.id}", speaker, start, len(part), utterance.text))
        parts.append(part)
        start += len(part)
    Shard(folder, tuple(clips)).write(np.concatenate(parts))


def make_corpus(config: Corpus) -> Iterator[Shard]:
    """Make shards in order until there are enough hours; yields each one."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    speakers = draw_speakers(config.speakers, seed=config.seed, held_out=False)
    others = draw_speakers(config.held_out_speakers, seed=config.seed, held_out=True)
    with tempfile.TemporaryDirectory() as scratch, workers(config.processes) as pool:
        espeak.install([*speakers, *others, *espeak.judged_speakers()], Path(scratch))
        make = partial(make_shard, seed=config.seed, data=Path(scratch))
        yield make_judged(out / "judged-0000", data=Path(scratch))
        yield make(out / "eval-0000", others, count=config.held_out_clips, held_out=True)
        seconds, number = 0.0, 0
        while seconds < config.hours * 3_600:
            # a batch of shards at a time, so that how many there are does not depend on the number of processes
            folders = [out / f"train-{number + i:04d}" for i in range(8)]
            number += len(folders)
            for shard in pool.map(partial(make, speakers=speakers, count=CLIPS_PER_SHARD, held_out=False), folders):
                seconds += sum(clip.samples for clip in shard.clips) / SAMPLE_RATE
                yield shard


@stage(Corpus)
def main(config: Corpus) -> None:
    """Speak the corpus; what is already there stays."""
    out = Path(config.out)
    if config.recordings:
        source, share = Path(config.recordings), config.recordings_held_out
        name, rates = config.recordings_name, config.recordings_rates
        add_recordings(out, source, name=name, held_out_share=share, rates=rates)
    seconds = 0.0
    with tqdm(total=round(config.hours, 2), desc="corpus", unit="h") as progress:
        for shard in make_corpus(config):
            hours = sum(clip.samples for clip in shard.clips) / SAMPLE_RATE / 3_600
            seconds += hours * 3_600
            progress.update(round(hours, 3))
    log.info("%.1f hours of speech in %s", seconds / 3_600, out)


def clip_waveform(shard: Shard, clip: Clip) -> np.ndarray:
    """One clip's waveform."""
    return from_pcm16(np.asarray(shard.samples()[clip.start : clip.start + clip.samples]))


if __name__ == "__main__":
    main()
