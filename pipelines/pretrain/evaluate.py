"""What a base checkpoint does with voices and sentences that it never met, to judges that took no part in its training.

    python -m pipelines.pretrain.evaluate                      # models/nano
    python -m pipelines.pretrain.evaluate checkpoint=pretrained/nano recordings=kathleen

Every speaker is imitated from one clip, in context and by the embedding alone, and says what they say in other clips;
then ("long") from several clips as one, in context, and says several sentences at a time, as a service does. WER beside
that of those clips, and whose voice the clone is nearest to. The aligner's recogniser, which is no judge, since the
codec has learnt from it, counts letters beside them. Writes evaluation.csv and the audio.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jiwer
import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from pipelines.eval.metrics import normalise
from pipelines.hearing import hear
from pipelines.pretrain.aligner.cer import character_errors
from pipelines.pretrain.aligner.checkpoint import load_recogniser
from pipelines.pretrain.aligner.model import Recogniser
from pipelines.pretrain.corpus import clip_waveform, read_side
from voice import checkpoint
from voice.asr import ASR, load_asr
from voice.audio import SAMPLE_RATE, Waveform, from_pcm16, join, to_pcm16, write_wav
from voice.bounds import within
from voice.engine.engine import Engine
from voice.engine.voices import clone
from voice.errors import InputError
from voice.pieces import SENTENCE_PAUSE
from voice.publish import publish
from voice.request import Request, Speech
from voice.speaker import SpeakerEncoder, load_speaker_encoder
from voice.stage import stage
from voice.table import write_records
from voice.tts import Qwen3TTS

log = logging.getLogger(__name__)

WAYS = ("in_context", "embedding", "long")


@dataclass(kw_only=True)
class NanoScore:  # conf/nanoscore.yaml
    """Settings of the evaluation."""

    checkpoint: str
    corpus: str
    aligner: str
    sources: list[str]
    recordings: str | None
    out: str
    sentences: dict[str, int]
    prints: int = within(low=1)
    reference_seconds: list[float]
    min_words: int = within(low=1)
    references: int = within(low=1)  # clips to imitate as one, where it is long,
    joined: int = within(low=1)  # and sentences to say at a time
    seed: int


@dataclass(frozen=True, slots=True)
class Said:
    """A clip: what is said, and how it sounds."""

    text: str
    waveform: Waveform


@dataclass(frozen=True, slots=True)
class Speaker:
    """Somebody to imitate: clips to be imitated, clips to say again, and clips that tell whose voice it is."""

    name: str
    references: tuple[Said, ...]
    sentences: tuple[Said, ...]
    others: tuple[Said, ...]

    def briefly(self) -> "Speaker":
        """Imitated from one clip."""
        return replace(self, references=self.references[:1])

    def at_length(self, sentences: int) -> "Speaker":
        """Who says so many sentences at a time."""
        groups = [self.sentences[at : at + sentences] for at in range(0, len(self.sentences), sentences)]
        return replace(self, sentences=tuple(_join(group) for group in groups))


def _join(said: Sequence[Said]) -> Said:
    waveform = join([one.waveform for one in said], pause_seconds=SENTENCE_PAUSE)
    return Said(" ".join(one.text for one in said), waveform)


@dataclass(frozen=True, slots=True)
class Spoken:
    """A clip beside its clone."""

    speaker: str
    original: Said
    clone: Speech


@dataclass(frozen=True, slots=True)
class Score:
    """One source of speakers, imitated in one way. WER and CER over all texts together; shares of all clones."""

    source: str
    way: str
    speakers: int
    clones: int
    wer_original: float
    wer: float
    wer_rise: float
    cer_aligner_original: float  # to the aligner's recogniser, which is no judge
    cer_aligner: float
    substitutions: float  # these three are all of it
    deletions: float
    insertions: float
    nearest_own_original: float  # how often a recording is nearest to its own speaker: the most that a clone can reach
    nearest_own: float
    sim_own: float  # mean cosine to the own voice
    sim_other: float  # and to the nearest other one
    runaways: float
    rtf: float  # computing per second of audio, requests side by side


def choose_speakers(
    corpus: Path,
    side: str,
    *,
    sentences: int,
    prints: int,
    reference_seconds: Sequence[float],
    min_words: int,
    references: int,
) -> list[Speaker]:
    """The speakers of a side that have a clip to imitate, one to say again and one to be known by; in a fixed order."""
    shortest, longest = (round(seconds * SAMPLE_RATE) for seconds in reference_seconds)
    clips: dict[str, list[tuple[int, Said]]] = {}
    for shard in read_side(corpus, side):
        for clip in shard.clips:
            if len(clip.text.split()) >= min_words:
                said = Said(clip.text, clip_waveform(shard, clip))
                clips.setdefault(clip.speaker, []).append((clip.samples, said))
    found = []
    for name, own in sorted(clips.items()):
        reference = next((said for samples, said in own if shortest <= samples <= longest), None)
        rest = [said for _, said in own if said is not reference]
        if reference and len(rest) >= 2:
            known = max(1, min(prints, len(rest) - 1))
            again, unused = rest[known : known + sentences], rest[known + sentences :]
            found.append(Speaker(name, (reference, *unused[: references - 1]), tuple(again), tuple(rest[:known])))
    if not found:
        raise InputError(f"{corpus}: nobody in {side!r} can be judged. Raise the limits in conf/nanoscore.yaml.")
    return found


def imitate(engine: Engine, model: object, speaker: Speaker, *, in_context: bool, seed: int) -> list[Spoken]:
    """Say all of a speaker's sentences in their voice."""
    texts = [said.text for said in speaker.references] if in_context else None
    tts = Qwen3TTS(engine, clone(model, speaker.name, [said.waveform for said in speaker.references], texts))
    requests = [
        Request(said.text, speaker.name, language="en", seed=seed + number)
        for number, said in enumerate(speaker.sentences)
    ]
    clones = tts.batch(requests)
    return [Spoken(speaker.name, said, spoken) for said, spoken in zip(speaker.sentences, clones, strict=True)]


def voice_prints(speakers: Sequence[Speaker], encoder: SpeakerEncoder) -> dict[str, Float[np.ndarray, " dimensions"]]:
    """Each speaker's mean direction."""
    prints = {}
    for speaker in tqdm(speakers, desc="voices", unit="speaker"):
        mean = np.mean([encoder.embed(said.waveform) for said in speaker.others], axis=0)
        prints[speaker.name] = mean / np.linalg.norm(mean)
    return prints


def likeness(
    waveforms: Sequence[Waveform],
    names: Sequence[str],
    prints: Mapping[str, Float[np.ndarray, " dimensions"]],
    encoder: SpeakerEncoder,
) -> Float[np.ndarray, "waveforms 2"]:
    """Cosine of each waveform to its own speaker and to the nearest other one."""
    rows = []
    for waveform, name in zip(waveforms, names, strict=True):
        embedding = encoder.embed(waveform)
        cosines = {other: float(np.dot(embedding, direction)) for other, direction in prints.items()}
        own = cosines.pop(name)
        rows.append((own, max(cosines.values())))
    return np.array(rows)


def wer(texts: Sequence[str], waveforms: Sequence[Waveform], asr: ASR, folder: Path) -> float:
    """Errors per written word. The audio is kept in `folder`, to be listened to."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.wav" for number in range(len(waveforms))]
    for path, waveform in zip(paths, waveforms, strict=True):
        write_wav(path, waveform)
    heard = hear(asr, paths)
    return float(jiwer.wer([normalise(text) for text in texts], [normalise(text) for text in heard]))


def score(
    source: str,
    way: str,
    spoken: Sequence[Spoken],
    prints: Mapping[str, Float[np.ndarray, " dimensions"]],
    asr: ASR,
    recogniser: Recogniser,
    encoder: SpeakerEncoder,
    *,
    elapsed: float,
    audio: Path,
) -> Score:
    """Judge the clones of one source."""
    texts, names = [s.original.text for s in spoken], [s.speaker for s in spoken]
    originals = [s.original.waveform for s in spoken]
    clones = [from_pcm16(to_pcm16(s.clone.waveform)) for s in spoken]
    before = wer(texts, originals, asr, audio / source / ("original_long" if way == "long" else "original"))
    after = wer(texts, clones, asr, audio / source / way)
    errors = character_errors(texts, clones, recogniser)
    real, cloned = (likeness(waveforms, names, prints, encoder) for waveforms in (originals, clones))
    return Score(
        source=source,
        way=way,
        speakers=len(set(names)),
        clones=len(spoken),
        wer_original=before,
        wer=after,
        wer_rise=after - before,
        cer_aligner_original=character_errors(texts, originals, recogniser).rate,
        cer_aligner=errors.rate,
        substitutions=errors.substitutions,
        deletions=errors.deletions,
        insertions=errors.insertions,
        nearest_own_original=float((real[:, 0] > real[:, 1]).mean()),
        nearest_own=float((cloned[:, 0] > cloned[:, 1]).mean()),
        sim_own=float(cloned[:, 0].mean()),
        sim_other=float(cloned[:, 1].mean()),
        runaways=float(np.mean([s.clone.runaway for s in spoken])),
        rtf=elapsed / max(1e-9, sum(len(waveform) for waveform in clones) / SAMPLE_RATE),
    )


def evaluate(config: NanoScore, audio: Path) -> Iterator[Score]:
    """Judge source by source, in every way."""
    sources = {name: config.sentences[name] for name in config.sources}
    if config.recordings:
        sources[f"{config.recordings}_eval"] = config.sentences["recordings"]
    everybody = {
        source: choose_speakers(
            Path(config.corpus),
            source,
            sentences=count,
            prints=config.prints,
            reference_seconds=config.reference_seconds,
            min_words=config.min_words,
            references=config.references,
        )
        for source, count in sources.items()
    }
    asr = load_asr("pocketsphinx", model="", language="en")
    recogniser = load_recogniser(Path(config.aligner))
    encoder = load_speaker_encoder("resemblyzer", model="", device="cpu")
    prints = voice_prints([s for speakers in everybody.values() for s in speakers], encoder)
    started, device = time.perf_counter(), checkpoint.default_device()
    folder = checkpoint.require_checkpoint(Path(config.checkpoint))
    model = checkpoint.load(folder, device=device, dtype=checkpoint.inference_dtype(device), cloning=True)
    engine = Engine.of(model)
    log.info("%s loaded in %.1f s", config.checkpoint, time.perf_counter() - started)
    for source, speakers in everybody.items():
        for way in WAYS:
            spoken, started = [], time.perf_counter()
            for speaker in tqdm(speakers, desc=f"{source} {way}", unit="speaker"):
                asked = speaker.at_length(config.joined) if way == "long" else speaker.briefly()
                spoken += imitate(engine, model, asked, in_context=way != "embedding", seed=config.seed)
            elapsed = time.perf_counter() - started
            yield score(source, way, spoken, prints, asr, recogniser, encoder, elapsed=elapsed, audio=audio)


@stage(NanoScore)
def main(config: NanoScore) -> None:
    """Judge the checkpoint; evaluation.csv and audio/ replace those of the last time."""
    with publish(Path(config.out)) as draft:
        scores = []
        for measured in evaluate(config, draft / "audio"):
            scores.append(measured)
            log.info(
                "%-14s %-10s %3d clones  WER %.3f -> %.3f (%+.3f)  CER %.2f -> %.2f (%.2f deletions)"
                "  nearest to their own voice %.2f (recordings %.2f)"
                "  SIM %.3f, other %.3f  runaways %.3f  RTF %.2f",
                *(measured.source, measured.way, measured.clones, measured.wer_original, measured.wer),
                *(measured.wer_rise, measured.cer_aligner_original, measured.cer_aligner, measured.deletions),
                *(measured.nearest_own, measured.nearest_own_original),
                *(measured.sim_own, measured.sim_other, measured.runaways, measured.rtf),
            )
        write_records(draft / "evaluation.csv", Score, scores)


if __name__ == "__main__":
    main()
