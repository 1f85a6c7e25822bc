"""synthesize: one system speaks the evaluation's texts.

python -m pipelines.eval.synthesize voice=demo system=zero_shot eval=quick
"""

import csv
import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipelines.eval.settings import Eval, MoreSystem, System, system_names
from pipelines.eval.texts import Sentence, read_sentences
from pipelines.model import Model
from voice import checkpoint
from voice.audio import encode, seconds
from voice.errors import InputError
from voice.pack import Kind, Reference, VoiceCard
from voice.publish import publish
from voice.remote import RemoteTTS
from voice.stage import output_root, stage
from voice.table import write_records
from voice.tts import TTS, Qwen3TTS, Request, Speech

log = logging.getLogger(__name__)

UTTERANCES = "utterances.csv"
_FAILURES = (RuntimeError, ValueError)
MOST_FAILURES = 0.5  # of the takes: more is no bad voice but a broken set-up, against which any other would win


@dataclass
class Synthesize:  # conf/synthesize.yaml
    """Settings of the stage."""

    voice: str
    language: str
    system: str  # a value of `System`, or a name in conf/systems.yaml
    model: Model
    eval: Eval
    systems: dict[str, MoreSystem]


@dataclass(frozen=True, slots=True)
class Take:
    """One line of utterances.csv. A failure keeps its line: it will count as not understood."""

    sentence: str
    origin: str
    kind: str
    text: str
    spoken: str
    take: int
    seed: int
    audio: str = ""  # file name; empty where synthesis failed
    seconds: float = 0.0
    synthesis_seconds: float = 0.0  # its share, by length, of the time of its batch
    first_audio_seconds: float | None = None  # spoken once more as a stream, alone
    runaway: bool = False
    error: str = ""


def read_takes(folder: Path) -> list[Take]:
    """Read a system's utterances.csv. Raises InputError if it is missing."""
    path = folder / UTTERANCES
    if not path.is_file():
        raise InputError(f"{path} is missing. Run `dvc repro synthesize@{folder.name}`.")
    with path.open(newline="", encoding="utf-8") as file:
        return [_take(row) for row in csv.DictReader(file)]


def _take(row: dict[str, str]) -> Take:
    first = row["first_audio_seconds"]
    return Take(
        row["sentence"], row["origin"], row["kind"], row["text"], row["spoken"], int(row["take"]), int(row["seed"]),
        row["audio"], float(row["seconds"]), float(row["synthesis_seconds"]), float(first) if first else None,
        row["runaway"] == "True", row["error"],
    )  # fmt: skip


def write_takes(folder: Path, takes: Sequence[Take]) -> None:
    """Write utterances.csv."""
    write_records(folder / UTTERANCES, Take, takes)


def seed_of(seed: int, sentence: str, take: int) -> int:
    """The seed of a take: the same in every system, whatever other sentences there are."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{sentence}|{take}".encode()).digest()[:4], "big") >> 1


def require_known(config: Synthesize) -> None:
    """Raise InputError for a system that there is not."""
    known = system_names(config.systems, config.eval.floors)
    if config.system not in known:
        raise InputError(f"system={config.system} is not a system. Use one of {', '.join(known)}.")


def load_system(config: Synthesize, processed: Path, finetuned: Path) -> TTS:
    """Load one of the systems."""
    name = config.system
    if name in config.systems:
        return load_more(config.systems[name])
    system = System(name)
    if system in (System.FINETUNED, System.FINETUNED_IN_CONTEXT):
        in_context = system is System.FINETUNED_IN_CONTEXT
        return load_pack(finetuned, in_context=in_context, reference=Reference.read(processed))
    base = checkpoint.resolve(config.model.source, config.model.revision)
    return _clone(base.path, Reference.read(processed), config.voice, in_context=system is System.ZERO_SHOT)


def load_more(system: MoreSystem) -> TTS:
    """A voice pack, or the server that a file describes."""
    place = Path(system.checkpoint)
    return RemoteTTS.from_file(place) if place.is_file() else load_pack(place, in_context=system.in_context)


def load_pack(folder: Path, *, in_context: bool, reference: Reference | None = None) -> TTS:
    """A voice pack as it speaks by itself, or, `in_context`, its weights imitating a reference; by default its own."""
    card = VoiceCard.read(folder)
    if not in_context or card.kind is Kind.ZERO_SHOT:
        return Qwen3TTS.from_pack(folder)
    return _clone(folder, reference or Reference.read(folder), card.name, in_context=True)


def _clone(folder: Path, reference: Reference, voice: str, *, in_context: bool) -> TTS:
    device = checkpoint.default_device()
    model = checkpoint.load(folder, device=device, dtype=checkpoint.inference_dtype(device), cloning=True)
    return Qwen3TTS.zero_shot(model, reference, voice=voice, in_context=in_context)


def synthesize(
    tts: TTS, sentences: Sequence[Sentence], out: Path, *, language: str, takes: int, seed: int, batch: int
) -> Iterator[Take]:
    """Speak every sentence `takes` times, `batch` requests at once."""
    tasks = [
        Take(s.id, s.origin, s.kind, s.text, s.spoken, take, seed_of(seed, s.id, take))
        for s in sentences
        for take in range(takes)
    ]
    with tqdm(total=len(tasks), desc="synthesize", unit="take") as progress:
        for start in range(0, len(tasks), batch):
            for take in _speak(tts, tasks[start : start + batch], out, language=language):
                progress.update()
                yield take


def _speak(tts: TTS, tasks: Sequence[Take], out: Path, *, language: str) -> Iterator[Take]:
    requests = [Request(task.text, tts.voice, language=language, seed=task.seed) for task in tasks]
    started = time.perf_counter()
    try:
        spoken = tts.batch(requests)
    except InputError:
        raise  # of the set-up, not of a sentence
    except _FAILURES as error:
        if len(tasks) > 1:  # one of them: find out which, and keep the others
            for task in tasks:
                yield from _speak(tts, [task], out, language=language)
            return
        log.warning("%s failed: %s", tasks[0].sentence, error)
        yield replace(tasks[0], error=str(error) or type(error).__name__)
        return
    elapsed = time.perf_counter() - started
    total = sum(seconds(speech.waveform) for speech in spoken)
    for task, speech in zip(tasks, spoken, strict=True):
        yield _keep(task, speech, out, elapsed / max(total, 1e-9))


def _keep(task: Take, speech: Speech, out: Path, seconds_per_second: float) -> Take:
    if not len(speech.waveform) or not np.isfinite(speech.waveform).all():
        wrong = "samples that are not numbers" if len(speech.waveform) else "no audio"
        log.warning("%s failed: %s", task.sentence, wrong)
        return replace(task, error=wrong)
    name = f"{task.sentence}_{task.take}.flac"
    (out / name).write_bytes(encode(speech.waveform, container="flac"))
    length = seconds(speech.waveform)
    return replace(
        task, audio=name, seconds=length, synthesis_seconds=length * seconds_per_second, runaway=speech.runaway
    )


def time_first_audio(tts: TTS, takes: Sequence[Take], *, language: str, sentences: int) -> list[Take]:
    """Stream the first take of the first few sentences again, one at a time, and note when audio arrives."""
    chosen = [take for take in takes if take.take == 0 and not take.error][:sentences]
    timed = {}
    for take in chosen:
        try:
            timed[take.sentence] = _first_audio(tts, take, language)
        except _FAILURES as error:  # it has been spoken: its time is not worth losing that
            log.warning("%s could not be timed: %s", take.sentence, error)
    return [
        replace(take, first_audio_seconds=timed[take.sentence]) if take.take == 0 and take.sentence in timed else take
        for take in takes
    ]


def _first_audio(tts: TTS, take: Take, language: str) -> float:
    started = time.perf_counter()
    stream = tts.stream(Request(take.text, tts.voice, language=language, seed=take.seed))
    next(stream)
    elapsed = time.perf_counter() - started
    for _ in stream:  # to its end: nothing of it must run beside the next one
        pass
    return elapsed


def require_speech(takes: list[Take], system: str) -> list[Take]:
    """Return the takes. Raises InputError where most of them failed."""
    failed = [take.error for take in takes if take.error]
    if len(failed) > MOST_FAILURES * len(takes):
        raise InputError(
            f"{system}: {len(failed)} of {len(takes)} takes failed, the first with: {failed[0]}. Lower batch in "
            "conf/eval/ if memory ran out; otherwise train or fetch the checkpoint again."
        )
    return takes


@stage(Synthesize)
def main(config: Synthesize) -> None:
    """Speak as one system of one voice."""
    require_known(config)
    reports, settings = Path("reports") / config.voice, config.eval
    sentences = read_sentences(reports / "sentences.csv")
    tts = load_system(config, Path("data/processed") / config.voice, Path("models") / config.voice / "finetuned")
    with publish(output_root() / reports / "audio" / config.system) as draft:
        draft.mkdir()
        spoken = synthesize(
            tts, sentences, draft, language=config.language, takes=settings.takes, seed=settings.seed,
            batch=settings.batch,
        )  # fmt: skip
        takes = require_speech(list(spoken), config.system)
        takes = time_first_audio(tts, takes, language=config.language, sentences=settings.first_audio)
        write_takes(draft, takes)
    log.info(
        "%d takes, %d runaways, %d failed", len(takes), sum(t.runaway for t in takes), sum(bool(t.error) for t in takes)
    )


if __name__ == "__main__":
    main()
