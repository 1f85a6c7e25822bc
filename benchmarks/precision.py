"""What rounding the weights costs in words and in likeness, on a model that speaks.

python -m benchmarks.precision --model pretrained/nano --voice data/raw/demo --sentences 40

A clone by the embedding of the voice's clips says the project's sentences at each precision, with the same seeds; the
offline judges compare them sentence by sentence with float32 (paired bootstrap).
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np

from pipelines.data.clips import find_recordings
from pipelines.eval.bootstrap import paired_difference
from pipelines.eval.metrics import character_error_rate, word_error_rate
from pipelines.eval.texts import Sentence, fixed_sentences
from voice import checkpoint
from voice.asr import ASR, load_asr
from voice.audio import Waveform, read_waveform
from voice.engine.engine import Engine
from voice.engine.linear import Precision
from voice.engine.voices import clone
from voice.errors import InputError
from voice.manifest import read_metadata
from voice.request import Request
from voice.speaker import Embedding, SpeakerEncoder, load_speaker_encoder, similarity
from voice.tts import Qwen3TTS

REFERENCES, PRINTS = 4, 12  # clips to imitate, and others that tell whose voice it is
MEASURES = ("wer", "cer", "sim")
RESAMPLES = 10_000


def clips_of(voice: Path) -> list[Waveform]:
    """The first clips of a voice."""
    lines = read_metadata(voice / "metadata.csv")[: REFERENCES + PRINTS]
    if len(lines) <= REFERENCES:
        raise InputError(f"{voice}: {len(lines)} clips; {REFERENCES} are imitated, others tell whose voice it is.")
    recordings = find_recordings(voice / "wavs")
    return [read_waveform(recordings[line.id]) for line in lines]


def speak(
    model: Path, references: Sequence[Waveform], sentences: Sequence[Sentence], precision: Precision
) -> list[Waveform]:
    """Every sentence at a precision."""
    tts = checkpoint.load(model, device="cpu", dtype=checkpoint.inference_dtype("cpu"), cloning=True)
    spoken = Qwen3TTS(Engine.of(tts, precision=precision), clone(tts, "me", references, None))
    requests = [Request(s.text, "me", language="en", seed=number) for number, s in enumerate(sentences)]
    return [speech.waveform for speech in spoken.batch(requests)]


def judge(
    waveforms: Sequence[Waveform], sentences: Sequence[Sentence], own: Embedding, asr: ASR, encoder: SpeakerEncoder
) -> dict[str, dict[str, float]]:
    """Each measure of each sentence."""
    found: dict[str, dict[str, float]] = {name: {} for name in MEASURES}
    for sentence, waveform in zip(sentences, waveforms, strict=True):
        heard = asr.transcribe(waveform)
        found["wer"][sentence.id] = word_error_rate(sentence.text, heard, spoken=sentence.spoken)
        found["cer"][sentence.id] = character_error_rate(sentence.text, heard, spoken=sentence.spoken)
        found["sim"][sentence.id] = similarity(encoder.embed(waveform), own)
    return found


def row(
    precision: Precision, found: Mapping[str, Mapping[str, float]], exact: Mapping[str, Mapping[str, float]]
) -> str:
    """A line of the table."""
    cells = []
    for name in MEASURES:
        cell = f"{mean(found[name].values()):.3f}"
        if found is not exact:
            less = paired_difference(found[name], exact[name], resamples=RESAMPLES, seed=0)
            cell += f" ({less.mean:+.3f} [{less.low:.3f}, {less.high:.3f}])"
        cells.append(cell)
    return f"| {precision} | {' | '.join(cells)} |"


def main() -> None:
    """Speak, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("pretrained/nano"))
    parser.add_argument("--voice", type=Path, default=Path("data/raw/demo"))
    parser.add_argument("--sentences", type=int, default=40)
    options = parser.parse_args()
    clips, sentences = clips_of(options.voice), fixed_sentences("en")[: options.sentences]
    asr, encoder = (
        load_asr("pocketsphinx", model="", language="en"),
        load_speaker_encoder("resemblyzer", model="", device="cpu"),
    )
    prints = np.mean([encoder.embed(clip) for clip in clips[REFERENCES:]], axis=0)
    own = (prints / np.linalg.norm(prints)).astype(np.float32)
    print(f"{options.model}, {options.voice}, {len(sentences)} sentences; beside float32, 95 % intervals\n")
    print(f"| weights | {' | '.join(MEASURES)} |\n|---|---|---|---|")
    exact: dict[str, dict[str, float]] = {}
    for precision in Precision:
        waveforms = speak(options.model, clips[:REFERENCES], sentences, precision)
        found = judge(waveforms, sentences, own, asr, encoder)
        exact = exact or found
        print(row(precision, found, exact), flush=True)


if __name__ == "__main__":
    main()
