"""The panel: a recogniser, a speaker encoder that knows the owner's held-out clips, and who predicts opinions."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data.clips import find_recordings
from pipelines.eval.memory import Memory
from pipelines.eval.settings import Judges
from pipelines.hearing import hear
from voice import checkpoint
from voice.asr import ASR, load_asr, metric_name
from voice.audio import read_waveform
from voice.errors import InputError
from voice.manifest import read_metadata
from voice.naturalness import MosPredictor, load_mos
from voice.speaker import Embedding, SpeakerEncoder, load_speaker_encoder, similarity


@dataclass(frozen=True, slots=True)
class Recording:
    """A clip of somebody: its name, what was said, where it lies."""

    id: str
    text: str
    path: Path


def held_out_clips(processed: Path) -> list[Recording]:
    """The owner's held-out clips. Raises InputError if there are fewer than two: no ceiling could be measured."""
    known = read_metadata(processed / "metadata_eval.csv")
    clips = [Recording(u.id, u.text, processed / "wavs" / f"{u.id}.wav") for u in known]
    if len(clips) < 2:
        raise InputError(
            f"{processed}: one held-out clip has no other to be compared with. "
            "Raise eval_share in conf/data/split.yaml, or record more."
        )
    return clips


def floor_clips(name: str, folder: Path) -> list[Recording]:
    """Another person's clips, a floor of similarity."""
    found = find_recordings(folder / "wavs" if (folder / "wavs").is_dir() else folder)
    texts = [u for u in read_metadata(folder / "metadata.csv") if u.id in found]
    if not texts:
        raise InputError(f"{folder}: no clip of {name}. Set `floors` in conf/eval/ to folders with some.")
    # ids of their own: an equal name must not leave out one of the owner's clips
    return [Recording(f"{name}/{u.id}", u.text, found[u.id]) for u in texts]


def metric_names(judges: Judges) -> dict[str, str]:
    """Column of the scores -> metric name with its judge's name; the same for all voices and systems."""
    asr = judges.asr if judges.asr == "pocketsphinx" else metric_name(judges.asr_model)
    opinion = {"mos": f"mos_{judges.mos}"} if judges.mos else {}
    return {"wer": f"wer_{asr}", "cer": f"cer_{asr}", "sim": f"sim_{judges.speaker}"} | opinion


class Panel:
    """The judges. With a `memory` folder, what they said before of the same audio is not asked again."""

    def __init__(
        self,
        asr: ASR,
        encoder: SpeakerEncoder,
        held_out: Sequence[Recording],
        *,
        memory: Path | None,
        mos: MosPredictor | None = None,
    ) -> None:
        self._asr, self._encoder, self._mos = asr, encoder, mos
        self._opinions = Memory(memory, mos.name, mos.identity) if memory and mos else None
        self._transcripts = Memory(memory, asr.name, asr.identity) if memory else None
        self._embeddings = Memory(memory, encoder.name, encoder.identity) if memory else None
        names = [clip.id for clip in held_out]
        self._held_out = dict(zip(names, self.embed([clip.path for clip in held_out]), strict=True))

    @property
    def names(self) -> tuple[str, ...]:
        """The judges'."""
        return self._asr.name, self._encoder.name, *([self._mos.name] if self._mos else [])

    def try_out(self, clip: Recording) -> None:
        """Judge one clip. Raises InputError where a judge answers nothing usable."""
        list(self.hear([clip.path]))
        list(self.opine([clip.path]))
        sim = self.similarity(next(self.embed([clip.path])), but=clip.id)
        if not math.isfinite(sim):
            raise InputError(
                f"the judge {self._encoder.name} gives no number for {clip.path}. Use `judges: offline` in params.yaml."
            )

    def hear(self, paths: Sequence[Path]) -> Iterator[str]:
        """The transcripts of files, in order."""
        if self._transcripts is None:
            yield from hear(self._asr, paths)
        else:
            yield from self._transcripts.recall(paths, lambda unheard: hear(self._asr, unheard))

    def embed(self, paths: Sequence[Path]) -> Iterator[Embedding]:
        """The embeddings of files, in order."""
        if self._embeddings is None:
            answers: Iterator[Any] = self._embed(paths)
        else:
            answers = self._embeddings.recall(paths, self._embed)
        return (np.array(answer, np.float32) for answer in answers)

    def opine(self, paths: Sequence[Path]) -> Iterator[float | None]:
        """The predicted opinions of files, in order; None where nobody predicts."""
        if self._mos is None:
            return iter([None] * len(paths))
        return self._opinions.recall(paths, self._predict) if self._opinions else self._predict(paths)

    def _predict(self, paths: Sequence[Path]) -> Iterator[float]:
        assert self._mos is not None
        return (self._mos.predict(read_waveform(path)) for path in paths)

    def _embed(self, paths: Sequence[Path]) -> Iterator[list[float]]:
        # one at a time: the padding of a batch would change them
        return (self._encoder.embed(read_waveform(path)).astype(float).tolist() for path in paths)

    def similarity(self, embedding: Embedding, *, but: str | None = None) -> float:
        """Mean similarity to the held-out clips, leaving out the clip `but` itself."""
        return float(np.mean([similarity(embedding, e) for name, e in self._held_out.items() if name != but]))


def load_panel(judges: Judges, held_out: Sequence[Recording], *, language: str, memory: Path | None) -> Panel:
    """Load the judges and let them hear the held-out clips."""
    device = checkpoint.default_device()
    asr = load_asr(judges.asr, model=judges.asr_model, language=language, device=device, url=judges.asr_url)
    encoder = load_speaker_encoder(judges.speaker, model=judges.speaker_model, device=device)
    mos = load_mos(judges.mos) if judges.mos else None
    return Panel(asr, encoder, held_out, memory=memory, mos=mos)
