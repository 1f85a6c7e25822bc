"""What a codec does to held-out speech: by stock `qwen_tts` and back by the engine; judges that took no part.

    python -m pipelines.pretrain.codec.evaluate             # the newest checkpoint, also while it is being trained
    python -m pipelines.pretrain.codec.evaluate clips=100

Writes evaluation.csv beside the checkpoint, a line for each source of clips, and the decoded audio.
"""

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import jiwer
import numpy as np
import torch

from pipelines.eval.metrics import normalise
from pipelines.pretrain.codec.checkpoint import export
from pipelines.pretrain.codec.loss import Spectra
from pipelines.pretrain.codec.model import perplexity
from pipelines.pretrain.corpus import clip_waveform, read_side
from pipelines.pretrain.run import read_state
from voice.asr import ASR, load_asr
from voice.audio import Waveform, from_pcm16, to_pcm16, write_wav
from voice.bounds import within
from voice.codec import Codec, Codes
from voice.publish import publish
from voice.speaker import SpeakerEncoder, load_speaker_encoder, similarity
from voice.stage import stage

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class CodecScore:  # conf/codecscore.yaml
    """Settings of the evaluation."""

    checkpoint: str
    corpus: str
    sources: list[str]
    clips: int = within(low=1)
    min_seconds: float = within(low=0)
    max_seconds: float = within(above=0)
    threads: int = within(low=1)


@dataclass(frozen=True, slots=True)
class Score:
    """One source of clips at one step of training. WER over all words of all clips."""

    step: int
    hours: float
    source: str
    clips: int
    wer_original: float
    wer_round_trip: float
    wer_rise: float
    sim: float  # of each clip to its own round trip
    mel: float  # nats; the log-mel part of the training loss
    used_codes: float  # mean perplexity over the codebooks, on these clips alone
    least_used: float


@dataclass(frozen=True, slots=True)
class Sample:
    """A held-out clip."""

    name: str
    text: str
    waveform: Waveform


def pick(corpus: Path, source: str, *, count: int, min_seconds: float, max_seconds: float) -> list[Sample]:
    """Choose clips of a length that can be judged, evenly over those there are; always the same ones."""
    every = [(shard, clip) for shard in read_side(corpus, source) for clip in shard.clips]
    fit = [(s, c) for s, c in every if min_seconds <= c.samples / 24_000 <= max_seconds]
    chosen = np.unique(np.linspace(0, len(fit) - 1, min(count, len(fit))).round().astype(int))
    return [Sample(c.id, c.text, clip_waveform(s, c)) for s, c in (fit[i] for i in chosen)]


def wer(samples: Sequence[Sample], heard: Sequence[str]) -> float:
    """Errors per written word, over all clips together."""
    return float(jiwer.wer([normalise(s.text) for s in samples], [normalise(text) for text in heard]))


def round_trip(codec: Codec, waveform: Waveform) -> tuple[Waveform, Codes]:
    """Encode and decode; as long as the original, and as 16-bit samples would hold it."""
    codes = codec.encode([waveform])[0]
    return from_pcm16(to_pcm16(codec.decode(codes)[: len(waveform)])), codes


def judge(
    codec: Codec, samples: Sequence[Sample], asr: ASR, encoder: SpeakerEncoder, *, audio: Path
) -> dict[str, float]:
    """Measure one source."""
    spectra, decoded, codes, mels, sims = Spectra(), [], [], [], []
    audio.mkdir(parents=True, exist_ok=True)
    for sample in samples:
        rendered, chosen = round_trip(codec, sample.waveform)
        write_wav(audio / f"{sample.name}.wav", rendered)
        decoded.append(rendered)
        codes.append(chosen)
        mels.append(float(spectra(torch.from_numpy(rendered)[None], torch.from_numpy(sample.waveform)[None]).mel))
        sims.append(similarity(encoder.embed(sample.waveform), encoder.embed(rendered)))
    before = wer(samples, [asr.transcribe(s.waveform) for s in samples])
    after = wer(samples, [asr.transcribe(waveform) for waveform in decoded])
    usage = [perplexity(torch.bincount(torch.from_numpy(c).long()).float()) for c in np.concatenate(codes).T]
    return {
        "wer_original": before,
        "wer_round_trip": after,
        "wer_rise": after - before,
        "sim": float(np.mean(sims)),
        "mel": float(np.mean(mels)),
        "used_codes": float(np.mean(usage)),
        "least_used": min(usage),
    }


def evaluate(config: CodecScore, folder: Path) -> Iterator[Score]:
    """Judge the checkpoint, source by source."""
    state = read_state(folder, command="python -m pipelines.pretrain.codec")
    with publish(folder / "checkpoint") as draft:
        export(state, draft / "speech_tokenizer")
    codec = Codec(folder / "checkpoint", device="cpu")
    asr = load_asr("pocketsphinx", model="", language="en")
    encoder = load_speaker_encoder("resemblyzer", model="", device="cpu")
    for source in config.sources:
        lengths = {"min_seconds": config.min_seconds, "max_seconds": config.max_seconds}
        samples = pick(Path(config.corpus), source, count=config.clips, **lengths)
        measured = judge(codec, samples, asr, encoder, audio=folder / "audio" / source)
        yield Score(step=state["step"], hours=state["seconds"] / 3_600, source=source, clips=len(samples), **measured)


@stage(CodecScore)
def main(config: CodecScore) -> None:
    """Judge the newest checkpoint and add its scores to evaluation.csv."""
    torch.set_num_threads(config.threads)
    folder = Path(config.checkpoint)
    path = folder / "evaluation.csv"
    for score in evaluate(config, folder):
        new = not path.is_file()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Score)])
            if new:
                writer.writeheader()
            writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in asdict(score).items()})
        log.info(
            "step %d  %-14s %d clips  WER %.3f -> %.3f (%+.3f)  SIM %.3f  mel %.3f  codes %.0f (least %.0f)",
            *(score.step, score.source, score.clips, score.wer_original, score.wer_round_trip, score.wer_rise),
            *(score.sim, score.mel, score.used_codes, score.least_used),
        )


if __name__ == "__main__":
    main()
