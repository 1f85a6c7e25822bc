"""Hearing a model while it is trained: it speaks, judges listen, and what they hear chooses the checkpoint (choice).

Losses do not: the epoch with the lowest one is rarely the one that ears prefer (FelysNeko/qwen3-tts-post-training).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipelines.eval.metrics import word_error_rate
from pipelines.hearing import hear
from pipelines.train.settings import Listen
from voice.asr import ASR, load_asr
from voice.audio import Waveform, encode, read_waveform, seconds
from voice.manifest import read_metadata
from voice.speaker import Embedding, SpeakerEncoder, load_speaker_encoder, similarity
from voice.tts import TTS, Request, Speech

SENTENCES = Path(__file__).with_name("sentences.yaml")
SEED = 7_000  # not the evaluation's
OWNER_CLIPS = 8


@dataclass(frozen=True, slots=True)
class Sentence:
    """Something to say."""

    id: str
    text: str
    language: str  # ISO code
    instruct: str | None = None


@dataclass(frozen=True, slots=True)
class Take:
    """One utterance as it was heard; a line of listening.csv."""

    step: int
    sentence: str
    language: str
    take: int
    text: str
    transcript: str
    wer: float  # 1 where it ran away; nan in a language that is not listened for
    sim: float
    pace: float  # of speaking, over the owner's
    runaway: bool
    seconds: float
    audio: str  # path below the folder of what was heard

    @property
    def lost(self) -> float:
        """The word error rate, 1 at most: one take that babbles must not outweigh all others."""
        return min(self.wer, 1.0)


@dataclass(frozen=True, slots=True)
class Heard:
    """One listening."""

    step: int
    takes: tuple[Take, ...]

    @classmethod
    def of(cls, content: dict[str, Any]) -> "Heard":
        """Read what `asdict` gave and JSON kept."""
        return cls(content["step"], tuple(Take(**take) for take in content["takes"]))

    @property
    def wer(self) -> float:
        """Mean word error rate, each take counting 1 at most."""
        return float(np.mean([take.lost for take in self.takes]))

    @property
    def sim(self) -> float:
        """Mean similarity to the owner."""
        return float(np.mean([take.sim for take in self.takes]))

    @property
    def pace(self) -> float:
        """Mean pace over the owner's."""
        return float(np.mean([take.pace for take in self.takes]))

    @property
    def runaways(self) -> float:
        """Share of takes that never ended."""
        return float(np.mean([take.runaway for take in self.takes]))

    @property
    def score(self) -> float:
        """What a checkpoint is chosen by: a point of similarity weighs as much as a point of word errors."""
        return self.sim - self.wer

    @property
    def by_sentence(self) -> dict[str, float]:
        """The score of each sentence, by its id; their mean is the score, each being said equally often."""
        takes = dict[str, list[float]]()
        for take in self.takes:
            takes.setdefault(take.sentence, []).append(take.sim - take.lost)
        return {sentence: float(np.mean(scores)) for sentence, scores in takes.items()}

    def metrics(self, judges: "Judges") -> dict[str, float]:
        """By the names they have in MLflow."""
        return {
            f"heard_wer_{judges.asr.name}": self.wer,
            f"heard_sim_{judges.encoder.name}": self.sim,
            "heard_pace_ratio": self.pace,
            "heard_runaway_share": self.runaways,
        }


@dataclass(frozen=True, slots=True)
class Judges:
    """Who listens, and what the owner sounds like."""

    asr: ASR
    encoder: SpeakerEncoder
    language: str  # the recogniser's
    owner: Sequence[Embedding]  # of training clips: the held-out ones are left to the evaluation
    characters_per_second: float  # the owner's


def load_judges(settings: Listen, processed: Path, *, language: str, device: str) -> Judges:
    """Load recogniser and encoder, and hear some of the owner's training clips."""
    asr = load_asr(settings.asr, model=settings.asr_model, language=language, device=device)
    encoder = load_speaker_encoder(settings.speaker, model=settings.speaker_model, device=device)
    clips = read_metadata(processed / "metadata_train.csv")
    audio = {u.id: read_waveform(processed / "wavs" / f"{u.id}.wav") for u in clips[:: -(-len(clips) // OWNER_CLIPS)]}
    characters = sum(len(u.text) for u in clips if u.id in audio)
    pace = characters / sum(seconds(waveform) for waveform in audio.values())
    return Judges(asr, encoder, language, [encoder.embed(waveform) for waveform in audio.values()], pace)


def held_out_sentence(processed: Path, *, language: str) -> Sentence:
    """The last held-out sentence. The evaluation says it too, among many; its recording is not listened to here."""
    *_, clip = read_metadata(processed / "metadata_eval.csv")
    return Sentence("held_out", clip.text, language)


def fixed_sentences(language: str) -> list[Sentence]:
    """The three sentences of a language; English where it is `auto`."""
    code = "en" if language == "auto" else language
    texts = yaml.safe_load(SENTENCES.read_text(encoding="utf-8"))[code]
    return [Sentence(f"{code}_{number}", text, language) for number, text in enumerate(texts, start=1)]


def untrained_sentences(language: str, *, instructions: bool) -> list[Sentence]:
    """One sentence of each other language under its tag; one of the own under an instruction where they are known."""
    codes = yaml.safe_load(SENTENCES.read_text(encoding="utf-8"))
    own, *_ = fixed_sentences(language)
    others = [Sentence(f"tag_{code}", texts[0], code) for code, texts in codes.items() if code != own.language]
    if instructions:
        others.append(Sentence("instruct", own.text, own.language, "Speak slowly, in a calm and quiet voice."))
    return others


def listen(tts: TTS, sentences: Sequence[Sentence], judges: Judges, folder: Path, *, step: int, takes: int) -> Heard:
    """Let the model say each sentence `takes` times, keep the audio under `folder`, and judge it."""
    said = [(sentence, take) for sentence in sentences for take in range(takes)]
    requests = [
        Request(s.text, tts.voice, language=s.language, instruct=s.instruct, seed=SEED + take) for s, take in said
    ]
    spoken = tts.batch(requests)
    names = [f"step-{step:06}/{s.id}_{take}.flac" for s, take in said]
    (folder / f"step-{step:06}").mkdir(parents=True, exist_ok=True)
    for name, speech in zip(names, spoken, strict=True):
        (folder / name).write_bytes(encode(speech.waveform, container="flac"))
    understood = [s.language == judges.language for s, _ in said]
    heard = hear(judges.asr, [folder / name for name, known in zip(names, understood, strict=True) if known])
    transcripts = [next(heard) if known else "" for known in understood]
    return Heard(step, tuple(_take(step, *x, judges) for x in zip(said, spoken, transcripts, names, strict=True)))


def _take(step: int, said: tuple[Sentence, int], speech: Speech, transcript: str, audio: str, judges: Judges) -> Take:
    sentence, take = said
    length = seconds(speech.waveform)
    return Take(
        step, sentence.id, sentence.language, take, sentence.text, transcript,
        wer=_errors(sentence, transcript, judges) if not speech.runaway else 1.0,
        sim=_similarity(speech.waveform, judges),
        pace=len(sentence.text) / max(length, 1e-3) / judges.characters_per_second,
        runaway=speech.runaway, seconds=length, audio=audio,
    )  # fmt: skip


def _errors(sentence: Sentence, transcript: str, judges: Judges) -> float:
    return word_error_rate(sentence.text, transcript) if sentence.language == judges.language else math.nan


def _similarity(waveform: Waveform, judges: Judges) -> float:
    embedding = judges.encoder.embed(waveform)
    return float(np.mean([similarity(embedding, clip) for clip in judges.owner]))


def rows(heard: Sequence[Heard]) -> Iterator[dict[str, Any]]:
    """Lines of listening.csv."""
    return (asdict(take) for one in heard for take in one.takes)


COLUMNS = [f.name for f in fields(Take)]
