"""score: what was synthesised, and real speech as bounds, judged by one recogniser and one speaker encoder.

python -m pipelines.eval.score voice=demo eval.asr=whisper eval.speaker=ecapa
"""

import csv
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipelines.data.clips import find_recordings
from pipelines.eval.metrics import character_error_rate, word_error_rate
from pipelines.eval.settings import Eval, System
from pipelines.hearing import hear
from voice import checkpoint
from voice.asr import ASR, load_asr
from voice.audio import Waveform, read_waveform, seconds
from voice.errors import InputError
from voice.manifest import read_metadata
from voice.publish import publish
from voice.speaker import Embedding, SpeakerEncoder, load_speaker_encoder, similarity
from voice.stage import output_root, stage
from voice.table import write_records

log = logging.getLogger(__name__)

REAL, OTHER_SPEAKER = "real", "other_speaker"


@dataclass
class Score:  # conf/score.yaml
    """Settings of the stage."""

    voice: str
    language: str
    eval: Eval


@dataclass(frozen=True, slots=True)
class Row:
    """One line of scores/<system>.csv."""

    sentence: str
    origin: str
    take: int
    text: str
    transcript: str
    wer: float
    cer: float
    sim: float
    seconds: float
    characters_per_second: float
    runaway: bool
    rtf: float | None  # synthesis time over duration; empty for recordings
    audio: str  # path from the project's folder
    error: str


class Judges:
    """One recogniser and one speaker encoder with the owner's held-out voice prints."""

    def __init__(self, asr: ASR, encoder: SpeakerEncoder, held_out: dict[str, Embedding]) -> None:
        self._asr, self._encoder, self._held_out = asr, encoder, held_out

    def hear(self, paths: Sequence[Path]) -> Iterator[str]:
        """The transcripts of files, in order."""
        return hear(self._asr, paths)

    def judge(
        self, waveform: Waveform, text: str, transcript: str, *, but: str | None = None
    ) -> tuple[str, float, float, float]:
        """Transcript, WER, CER, and mean similarity to the held-out clips, leaving out the clip `but` itself."""
        embedding = self._encoder.embed(waveform)
        sims = [similarity(embedding, other) for name, other in self._held_out.items() if name != but]
        wer, cer = word_error_rate(text, transcript), character_error_rate(text, transcript)
        return transcript, wer, cer, float(np.mean(sims))


def score_system(folder: Path, judges: Judges) -> Iterator[Row]:
    """Judge the takes of one system. What could not be synthesised counts as not understood: WER 1, similarity 0."""
    with (folder / "utterances.csv").open(newline="", encoding="utf-8") as file:
        takes = list(csv.DictReader(file))
    transcripts = judges.hear([folder / take["audio"] for take in takes if not take["error"]])
    for take in tqdm(takes, f"score {folder.name}", unit="take"):
        head = (take["sentence"], take["origin"], int(take["take"]), take["text"])
        if take["error"]:
            yield Row(*head, "", 1.0, 1.0, 0.0, 0.0, 0.0, False, None, "", take["error"])
            continue
        path = folder / take["audio"]
        waveform = read_waveform(path)
        verdict = judges.judge(waveform, take["text"], next(transcripts))
        length = seconds(waveform)
        rtf = float(take["synthesis_seconds"]) / length
        runaway = take["runaway"] == "True"
        yield Row(*head, *verdict, length, len(take["text"]) / length, runaway, rtf, path.as_posix(), "")


def score_recordings(clips: Sequence[tuple[str, str, Path]], judges: Judges, *, origin: str) -> Iterator[Row]:
    """Judge real clips (id, text, path). A held-out clip is never compared with itself."""
    for (name, text, path), transcript in zip(clips, judges.hear([path for *_, path in clips]), strict=True):
        waveform = read_waveform(path)
        verdict = judges.judge(waveform, text, transcript, but=name)
        length = seconds(waveform)
        yield Row(name, origin, 0, text, *verdict, length, len(text) / length, False, None, path.as_posix(), "")


def held_out_clips(processed: Path) -> list[tuple[str, str, Path]]:
    """The owner's held-out clips. Raises InputError if there are fewer than two: no ceiling could be measured."""
    clips = [(u.id, u.text, processed / "wavs" / f"{u.id}.wav") for u in read_metadata(processed / "metadata_eval.csv")]
    if len(clips) < 2:
        raise InputError(f"{processed}: fewer than two held-out clips. Raise eval_share in conf/data/split.yaml.")
    return clips


def other_speaker_clips(folder: Path) -> list[tuple[str, str, Path]]:
    """Another person's clips, the floor of similarity."""
    found = find_recordings(folder / "wavs" if (folder / "wavs").is_dir() else folder)
    texts = [u for u in read_metadata(folder / "metadata.csv") if u.id in found]
    if not texts:
        raise InputError(
            f"{folder}: no clip of another speaker. Set other_speaker in conf/eval/ to a folder with some."
        )
    # ids of their own: an equal name must not leave out one of the owner's clips
    return [(f"other/{u.id}", u.text, found[u.id]) for u in texts]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write one system's scores."""
    write_records(path, Row, rows)


def load_judges(settings: Eval, held_out: Sequence[tuple[str, str, Path]], *, language: str) -> Judges:
    """Load both judges and embed the held-out clips."""
    device = checkpoint.default_device()
    asr = load_asr(settings.asr, model=settings.asr_model, language=language, device=device, url=settings.asr_url)
    encoder = load_speaker_encoder(settings.speaker, model=settings.speaker_model, device=device)
    return Judges(asr, encoder, {name: encoder.embed(read_waveform(path)) for name, _, path in held_out})


@stage(Score)
def main(config: Score) -> None:
    """Judge every system of one voice and its bounds, in one process."""
    held_out = held_out_clips(Path("data/processed") / config.voice)
    other = other_speaker_clips(Path(config.eval.other_speaker))
    judges = load_judges(config.eval, held_out, language=config.language)
    report = Path("reports") / config.voice
    # generators: each is judged while it is written
    sources = {system.value: score_system(report / "audio" / system, judges) for system in System}
    sources[REAL] = score_recordings(held_out, judges, origin=REAL)
    sources[OTHER_SPEAKER] = score_recordings(other, judges, origin=OTHER_SPEAKER)
    with publish(output_root() / report / "scores") as draft:
        draft.mkdir()
        for name, rows in sources.items():
            write_rows(draft / f"{name}.csv", rows)
    log.info("scored %s", ", ".join(sources))


if __name__ == "__main__":
    main()
