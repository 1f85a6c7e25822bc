"""score: what was synthesised, and real speech as bounds, judged by one recogniser and one speaker encoder.

python -m pipelines.eval.score voice=demo judges=published judges.asr_model=openai/whisper-small
"""

import csv
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from tqdm import tqdm

from pipelines.eval.delivery import measure
from pipelines.eval.memory import FOLDER
from pipelines.eval.metrics import compare
from pipelines.eval.panel import Panel, Recording, floor_clips, held_out_clips, load_panel
from pipelines.eval.settings import CODEC, REAL, Eval, Judges, MoreSystem, system_names
from pipelines.eval.takes import Take, read_takes
from pipelines.eval.texts import HELD_OUT
from voice.audio import read_waveform, seconds
from voice.publish import publish
from voice.speaker import Embedding
from voice.stage import output_root, stage
from voice.table import write_records

log = logging.getLogger(__name__)

_LOWEST_MOS = 1.0  # of what could not be spoken, and of silence


@dataclass
class Score:  # conf/score.yaml
    """Settings of the stage."""

    voice: str
    language: str
    eval: Eval
    judges: Judges
    systems: dict[str, MoreSystem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of scores/<system>.csv: one take and what was found of it."""

    sentence: str
    origin: str
    kind: str
    take: int
    text: str
    spoken: str
    transcript: str
    wer: float
    cer: float
    errors: int
    words: int
    sim: float
    mos: float | None  # predicted opinion, 1 to 5
    seconds: float
    characters_per_second: float
    pitch_hz: float | None
    pitch_semitones: float | None
    level_dbfs: float | None
    level_db: float | None
    pause_share: float | None
    pauses_per_second: float | None
    clipped_share: float | None
    runaway: bool
    early_stop: bool
    silent: bool
    rtf: float | None  # synthesis time over duration, in batches; empty for recordings
    first_audio_seconds: float | None
    audio: str  # path from the project's folder
    error: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What the panel makes of a clip."""

    transcript: str
    embedding: Embedding
    mos: float | None


@dataclass(frozen=True, slots=True)
class Clip:
    """A file to judge: a take, or a recording as if it were one."""

    take: Take
    path: Path
    itself: str | None = None  # the held-out clip that this one is, which it must not be compared with


def takes_of(folder: Path) -> list[Clip]:
    """The takes of one system. Those of the codec are the held-out clips themselves."""
    own = folder.name == CODEC
    return [Clip(take, folder / take.audio, take.sentence if own else None) for take in read_takes(folder)]


def recorded(clips: Sequence[Recording], origin: str) -> list[Clip]:
    """Recordings as they are."""
    return [Clip(Take(c.id, origin, "", c.text, "", 0, 0, audio=c.path.name), c.path, c.id) for c in clips]


def pace(clips: Sequence[Recording]) -> float:
    """How fast somebody speaks: characters a second."""
    return fmean(len(clip.text) / seconds(read_waveform(clip.path)) for clip in clips)


def score(
    clips: Sequence[Clip], panel: Panel, *, language: str, early_stop_pace: float, name: str = ""
) -> Iterator[Row]:
    """Judge clips. What could not be synthesised counts as not understood: WER 1, similarity 0; it keeps its row."""
    spoken = [clip.path for clip in clips if not clip.take.error]
    transcripts, embeddings, opinions = panel.hear(spoken), panel.embed(spoken), panel.opine(spoken)
    for clip in tqdm(clips, f"score {name}", unit="take"):
        if clip.take.error:
            yield _failed(clip.take, language)
        else:
            judged = Judged(next(transcripts), next(embeddings), next(opinions))
            yield _row(clip, judged, panel, language, early_stop_pace)


def _failed(take: Take, language: str) -> Row:
    words = compare(take.text, "", spoken=take.spoken, language=language).length
    return Row(
        sentence=take.sentence, origin=take.origin, kind=take.kind, take=take.take, text=take.text, spoken=take.spoken,
        transcript="", wer=1.0, cer=1.0, errors=words, words=words,
        sim=0.0, mos=_LOWEST_MOS, seconds=0.0,
        characters_per_second=0.0, pitch_hz=None, pitch_semitones=None, level_dbfs=None, level_db=None,
        pause_share=None, pauses_per_second=None, clipped_share=None, runaway=False, early_stop=False, silent=False,
        rtf=None, first_audio_seconds=None, audio="", error=take.error,
    )  # fmt: skip


def _row(clip: Clip, judged: Judged, panel: Panel, language: str, early_stop_pace: float) -> Row:
    take, waveform = clip.take, read_waveform(clip.path)
    length = seconds(waveform)
    said, heard = measure(waveform), compare(take.text, judged.transcript, spoken=take.spoken, language=language)
    sim = panel.similarity(judged.embedding, but=clip.itself)
    error = "" if said.silent or math.isfinite(sim) else "the judge of speakers gave no number"
    silent = said.silent or bool(error)  # either way nobody's voice is in it
    characters = len(take.spoken or take.text) / length
    return Row(
        sentence=take.sentence, origin=take.origin, kind=take.kind, take=take.take, text=take.text, spoken=take.spoken,
        transcript=judged.transcript,
        wer=max(1.0, heard.wer) if silent else heard.wer, cer=max(1.0, heard.cer) if silent else heard.cer,
        errors=max(heard.length, heard.errors) if silent else heard.errors, words=heard.length,
        sim=0.0 if silent else sim, mos=_LOWEST_MOS if silent and judged.mos is not None else judged.mos,
        seconds=length, characters_per_second=characters,
        pitch_hz=said.pitch_hz or None, pitch_semitones=said.pitch_semitones if said.pitch_hz else None,
        level_dbfs=said.level_dbfs, level_db=said.level_db, pause_share=said.pause_share,
        pauses_per_second=said.pauses / length, clipped_share=said.clipped_share, runaway=take.runaway,
        early_stop=characters > early_stop_pace, silent=said.silent,
        rtf=take.synthesis_seconds / length if take.synthesis_seconds else None,
        first_audio_seconds=take.first_audio_seconds, audio=clip.path.as_posix(), error=error,
    )  # fmt: skip


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read one system's scores."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@stage(Score)
def main(config: Score) -> None:
    """Judge every system of one voice and its bounds, in one process."""
    reports, floors = Path("reports") / config.voice, config.eval.floors
    held_out = held_out_clips(Path("data/processed") / config.voice)
    clips = {name: takes_of(reports / "audio" / name) for name in system_names(config.systems, floors)}
    clips[REAL] = recorded(held_out, HELD_OUT)
    clips[CODEC] = takes_of(reports / "audio" / CODEC)
    clips |= {name: recorded(floor_clips(name, Path(folder)), name) for name, folder in floors.items()}
    panel = load_panel(config.judges, held_out, language=config.language, memory=FOLDER)
    fastest = config.eval.early_stop_ratio * pace(held_out)
    with publish(output_root() / reports / "scores") as draft:
        draft.mkdir()
        for name, ones in clips.items():
            rows = score(ones, panel, language=config.language, early_stop_pace=fastest, name=name)
            write_records(draft / f"{name}.csv", Row, rows)
    log.info("scored %s by %s", ", ".join(clips), " and ".join(panel.names))


if __name__ == "__main__":
    main()
