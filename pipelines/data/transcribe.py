"""transcribe: what is said in each clip. A recogniser writes missing texts, checks given ones, and finds the part of a
script that a clip reads.

    python -m pipelines.data.transcribe voice=me data.asr=whisper

Clips in doubt are listed in data/review/<voice>.csv, for the owner to correct; what stands there survives every rerun.
"""

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from tqdm import tqdm

from pipelines.data.align import align
from pipelines.data.clips import Clip, read_clips
from pipelines.data.review import Decision, Doubt, read_review, write_review
from pipelines.data.transcripts import Origin, Transcript, write_transcripts
from pipelines.eval.metrics import character_error_rate, word_error_rate
from pipelines.hearing import hear
from voice.asr import ASR, load_asr
from voice.bounds import within
from voice.publish import publish
from voice.stage import output_root, stage

log = logging.getLogger(__name__)

CACHE = Path(".cache/transcripts")
NO_ASR = "none"
_BY_CHARACTER = {"zh", "ja", "ko"}  # words are not, or not reliably, separated


@dataclass(kw_only=True)
class Recognition:  # conf/data/transcribe.yaml
    """Who listens, and what is worth the owner's eyes."""

    asr: str  # whisper | pocketsphinx | http | none
    asr_model: str
    asr_url: str | None
    review_above: float = within(low=0)


@dataclass
class Transcribe:  # conf/transcribe.yaml
    """Settings of the stage."""

    voice: str
    language: str
    data: Recognition


def disagreement(text: str, heard: str, *, language: str) -> float:
    """Word error rate, or character error rate where words are not separated; at most 1."""
    rate = character_error_rate if language in _BY_CHARACTER else word_error_rate
    return min(1.0, rate(text, heard)) if text else 0.0


def listen(clips: Sequence[Clip], wavs: Path, asr: ASR, store: Path) -> dict[str, str]:
    """What is heard in each clip that has audio. `store` keeps it by content and judge."""
    store.mkdir(parents=True, exist_ok=True)
    audio = {clip.id: wavs / f"{clip.id}.wav" for clip in clips if (wavs / f"{clip.id}.wav").is_file()}
    entries = {name: store / f"{_key(path, asr)}.json" for name, path in audio.items()}
    missing = [name for name, entry in entries.items() if not entry.is_file()]
    heard = hear(asr, [audio[name] for name in missing])
    for name, text in tqdm(zip(missing, heard, strict=True), asr.name, total=len(missing), unit="clip"):
        with publish(entries[name]) as draft:
            draft.write_text(json.dumps(text))
    used = set(entries.values())
    for entry in store.iterdir():
        if entry not in used:
            entry.unlink()
    return {name: json.loads(entry.read_text()) for name, entry in entries.items()}


def _key(path: Path, asr: ASR) -> str:
    return sha256(path.read_bytes() + asr.name.encode()).hexdigest()[:24]


def write_texts(clips: Sequence[Clip], heard: dict[str, str], *, language: str) -> list[Transcript]:
    """Decide each clip's text: as written, its part of the script, or what was heard."""
    parts = _parts_of_scripts(clips, heard, language=language)
    lines = []
    for clip in clips:
        ear = heard.get(clip.id, "")
        text, origin = clip.text, Origin.WRITTEN
        if clip.id in parts:
            text, origin = parts[clip.id], Origin.SCRIPT
        elif not text:
            text, origin = ear, Origin.HEARD
        checked = clip.id in heard and origin is not Origin.HEARD
        rate = disagreement(text, ear, language=language) if checked else None
        lines.append(Transcript(clip.id, text, origin, ear, rate, Decision.OPEN))
    return lines


def _parts_of_scripts(clips: Sequence[Clip], heard: dict[str, str], *, language: str) -> dict[str, str]:
    pieces: dict[str, list[Clip]] = defaultdict(list)
    for clip in clips:
        if clip.script and clip.id in heard:
            pieces[clip.source].append(clip)
    parts: dict[str, str] = {}
    for of_one in pieces.values():
        texts = align(of_one[0].script, [heard[c.id] for c in of_one], language=language)
        parts |= {clip.id: text for clip, text in zip(of_one, texts, strict=True)}
    return parts


def apply_review(lines: Sequence[Transcript], review: dict[str, Doubt]) -> list[Transcript]:
    """Let what the owner wrote win."""
    result = []
    for line in lines:
        doubt = review.get(line.id)
        if doubt and doubt.answered:
            text = doubt.text if doubt.text != doubt.was else line.text
            line = replace(line, text=text, origin=Origin.REVIEWED, decision=doubt.decision)
        result.append(line)
    return result


def doubts(
    lines: Sequence[Transcript], review: dict[str, Doubt], *, above: float, audio: dict[str, str]
) -> list[Doubt]:
    """What the owner should look at: lines that they answered stay as they are, open ones are made anew."""
    kept = [doubt for doubt in review.values() if doubt.answered]
    answered = {doubt.id for doubt in kept}
    new = [
        Doubt(x.id, Decision.OPEN, x.text, x.heard, x.disagreement, x.text, audio[x.id])
        for x in lines
        if x.id not in answered and audio.get(x.id) and (x.origin is Origin.HEARD or (x.disagreement or 0.0) > above)
    ]
    return [*kept, *new]


@stage(Transcribe)
def main(config: Transcribe) -> None:
    """Write down what one voice says."""
    voice, settings, root = config.voice, config.data, output_root()
    clips = read_clips(Path("data/segments") / voice / "clips.csv")
    heard: dict[str, str] = {}
    if settings.asr != NO_ASR:
        asr = load_asr(settings.asr, model=settings.asr_model, language=config.language, url=settings.asr_url)
        heard = listen(clips, Path("data/processed") / voice / "wavs", asr, CACHE / voice)
    review_file = root / "data/review" / f"{voice}.csv"
    review = read_review(review_file)
    lines = write_texts(clips, heard, language=config.language)
    audio = {clip.id: clip.audio for clip in clips}
    write_review(review_file, doubts(lines, review, above=settings.review_above, audio=audio))
    lines = apply_review(lines, review)
    write_transcripts(root / "data/processed" / voice / "transcripts.csv", lines)
    known = [line.disagreement for line in lines if line.disagreement is not None]
    mean = sum(known) / len(known) if known else 0.0
    log.info("%d clips, %d checked (mean disagreement %.2f); in doubt: %s", len(lines), len(known), mean, review_file)


if __name__ == "__main__":
    main()
