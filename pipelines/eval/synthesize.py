"""synthesize: one system speaks the evaluation's texts.

python -m pipelines.eval.synthesize voice=demo system=zero_shot eval=quick
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipelines.eval.settings import Eval, MoreSystem, System, system_names
from pipelines.eval.takes import Take, Unfinished, write_takes
from pipelines.eval.texts import Sentence, read_sentences
from pipelines.model import Model
from voice import checkpoint
from voice import tts as tts_module
from voice.audio import encode, seconds
from voice.errors import InputError
from voice.pack import Kind, Reference, VoiceCard
from voice.provenance import code_digest, versions
from voice.publish import publish
from voice.remote import RemoteTTS
from voice.stage import output_root, stage
from voice.tts import TTS, Qwen3TTS, Request, Speech

log = logging.getLogger(__name__)

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


def _identity(config: Synthesize, processed: Path, finetuned: Path) -> str:
    # all that an interrupted run has spoken depends on: weights, reference, settings, code, libraries, device
    name = config.system
    if name in config.systems:
        place = Path(config.systems[name].checkpoint)  # a folder, or a file that names a server
        weights = place.read_text(encoding="utf-8") if place.is_file() else checkpoint.content_hash(place)
    elif System(name) in (System.FINETUNED, System.FINETUNED_IN_CONTEXT):
        weights = checkpoint.content_hash(finetuned)
    else:
        weights = checkpoint.resolve(config.model.source, config.model.revision).revision
    reference = Reference.read(processed)
    heard = hashlib.sha256(reference.audio.read_bytes() + reference.text.encode()).hexdigest()
    asked = json.dumps(asdict(config), sort_keys=True, default=str)
    code = code_digest(Path(__file__), Path(tts_module.__file__).parent)
    kernels = os.environ.get("VOICE_ENGINE_NATIVE", "")
    return "|".join(
        (asked, weights, heard, code, versions("torch", "transformers"), checkpoint.default_device(), kernels)
    )


def _clone(folder: Path, reference: Reference, voice: str, *, in_context: bool) -> TTS:
    device = checkpoint.default_device()
    model = checkpoint.load(folder, device=device, dtype=checkpoint.inference_dtype(device), cloning=True)
    return Qwen3TTS.zero_shot(model, reference, voice=voice, in_context=in_context)


def synthesize(
    tts: TTS,
    sentences: Sequence[Sentence],
    out: Path,
    *,
    language: str,
    takes: int,
    seed: int,
    batch: int,
    done: Mapping[tuple[str, int], Take] | None = None,
) -> Iterator[Take]:
    """Speak every sentence `takes` times, `batch` requests at once, but for those that are `done` (sentence, take)."""
    tasks = [
        Take(s.id, s.origin, s.kind, s.text, s.spoken, take, seed_of(seed, s.id, take))
        for s in sentences
        for take in range(takes)
    ]
    known = [spoken for task in tasks if (spoken := (done or {}).get(task.key)) and spoken.asked == task.asked]
    yield from known
    keys = {take.key for take in known}
    left = [task for task in tasks if task.key not in keys]
    with tqdm(total=len(tasks), initial=len(tasks) - len(left), desc="synthesize", unit="take") as progress:
        for start in range(0, len(left), batch):
            for take in _speak(tts, left[start : start + batch], out, language=language):
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
    processed, finetuned = Path("data/processed") / config.voice, Path("models") / config.voice / "finetuned"
    tts = load_system(config, processed, finetuned)
    so_far = Unfinished.of(f"{config.voice}-{config.system}", _identity(config, processed, finetuned))
    spoken = synthesize(
        tts, sentences, so_far.folder, language=config.language, takes=settings.takes, seed=settings.seed,
        batch=settings.batch, done=so_far.takes(),
    )  # fmt: skip
    order = {sentence.id: number for number, sentence in enumerate(sentences)}
    takes = sorted((so_far.note(take) for take in spoken), key=lambda take: (order[take.sentence], take.take))
    takes = require_speech(takes, config.system)
    takes = time_first_audio(tts, takes, language=config.language, sentences=settings.first_audio)
    with publish(output_root() / reports / "audio" / config.system) as draft:
        draft.mkdir()
        for take in takes:
            if take.audio:
                shutil.copy(so_far.folder / take.audio, draft / take.audio)
        write_takes(draft, takes)
    so_far.forget()
    log.info(
        "%d takes, %d runaways, %d failed", len(takes), sum(t.runaway for t in takes), sum(bool(t.error) for t in takes)
    )


if __name__ == "__main__":
    main()
