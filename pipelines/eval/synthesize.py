"""synthesize: one system speaks the evaluation's texts.

python -m pipelines.eval.synthesize voice=demo system=zero_shot eval=quick
"""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from pipelines.eval.settings import Eval, System
from pipelines.model import Model
from voice import checkpoint
from voice.audio import encode, seconds
from voice.errors import InputError
from voice.manifest import read_metadata
from voice.pack import Reference
from voice.publish import publish
from voice.stage import output_root, stage
from voice.table import write_records
from voice.text import same_text_key
from voice.tts import TTS, Qwen3TTS, Request

log = logging.getLogger(__name__)

TEXTS = Path(__file__).parent / "texts"
FIXED, HELD_OUT = "fixed", "held_out"


@dataclass
class Synthesize:  # conf/synthesize.yaml
    """Settings of the stage."""

    voice: str
    language: str
    system: str  # a value of `System`
    model: Model
    eval: Eval


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text to speak; the id is the same for all systems."""

    id: str
    origin: str  # `fixed` set or `held_out` clip
    text: str


@dataclass(frozen=True, slots=True)
class Take:
    """One line of utterances.csv. A failure keeps its line: it will count as not understood."""

    sentence: str
    origin: str
    take: int
    text: str
    seed: int
    audio: str  # file name; empty where synthesis failed
    seconds: float = 0.0
    synthesis_seconds: float = 0.0
    runaway: bool = False
    error: str = ""


def read_sentences(
    language: str, held_out: Path, *, text_limit: int | None, held_out_limit: int | None
) -> list[Sentence]:
    """The fixed set of a language and the voice's held-out sentences, each once."""
    path = TEXTS / f"{language}.txt"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in TEXTS.glob("*.txt")))
        raise InputError(f"{path.name}: no evaluation texts for language {language!r}. There are {known}; add a file.")
    fixed = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    sentences = [Sentence(f"fixed_{i:03}", FIXED, text) for i, text in enumerate(fixed[:text_limit], start=1)]
    once = {same_text_key(u.text): u for u in reversed(read_metadata(held_out))}
    unique = sorted(once.values(), key=lambda u: u.id)[:held_out_limit]
    return sentences + [Sentence(u.id, HELD_OUT, u.text) for u in unique]


def load_system(config: Synthesize, system: System, processed: Path, finetuned: Path) -> TTS:
    """Load one of the systems."""
    if system is System.FINETUNED:
        return Qwen3TTS.from_pack(finetuned)
    device = checkpoint.default_device()
    base = checkpoint.resolve(config.model.source, config.model.revision)
    model = checkpoint.load(base.path, device=device, dtype=checkpoint.inference_dtype(device), cloning=True)
    in_context = system is System.ZERO_SHOT
    return Qwen3TTS.zero_shot(model, Reference.read(processed), voice=config.voice, in_context=in_context)


def _system(name: str) -> System:
    try:
        return System(name)
    except ValueError:
        raise InputError(f"system={name} is not a system. Use one of {', '.join(System)}.") from None


def synthesize(
    tts: TTS, sentences: Sequence[Sentence], out: Path, *, language: str, takes: int, seed: int
) -> Iterator[Take]:
    """Speak every sentence `takes` times; take n of a sentence has the same seed in every system."""
    tasks = [(sentence, take) for sentence in sentences for take in range(takes)]
    for number, (sentence, take) in enumerate(tqdm(tasks, "synthesize", unit="take")):
        request = Request(sentence.text, tts.voice, language=language, seed=seed + number)
        name = f"{sentence.id}_{take}.flac"
        fixed = (sentence.id, sentence.origin, take, sentence.text, request.seed)
        started = time.perf_counter()
        try:
            [speech] = tts.batch([request])
        except (RuntimeError, ValueError, NotImplementedError) as error:
            log.warning("%s failed: %s", sentence.id, error)
            yield Take(*fixed, audio="", error=str(error))
            continue
        elapsed = time.perf_counter() - started
        (out / name).write_bytes(encode(speech.waveform, container="flac"))
        yield Take(*fixed, name, seconds(speech.waveform), elapsed, speech.runaway)


@stage(Synthesize)
def main(config: Synthesize) -> None:
    """Speak as one system of one voice."""
    system = _system(config.system)
    processed = Path("data/processed") / config.voice
    sentences = read_sentences(
        config.language,
        processed / "metadata_eval.csv",
        text_limit=config.eval.text_limit,
        held_out_limit=config.eval.held_out_limit,
    )
    tts = load_system(config, system, processed, Path("models") / config.voice / "finetuned")
    with publish(output_root() / "reports" / config.voice / "audio" / system) as draft:
        draft.mkdir()
        number, seed = config.eval.takes, config.eval.seed
        takes = list(synthesize(tts, sentences, draft, language=config.language, takes=number, seed=seed))
        write_records(draft / "utterances.csv", Take, takes)
    log.info(
        "%d takes, %d runaways, %d failed", len(takes), sum(t.runaway for t in takes), sum(bool(t.error) for t in takes)
    )


if __name__ == "__main__":
    main()
