"""Clips as examples of the trainer's objective. A batch is a function of the seed and its number."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipelines.pretrain.material import Codes, Line
from pipelines.train.dataset import Batch, Example, collate
from voice.bounds import within
from voice.prompt import Prompt, Vocabulary, assistant_ids, build_prompt
from voice.tts import Layout

UNKNOWN = -100  # no text is spoken in this frame; what cross_entropy ignores


@dataclass(kw_only=True)
class Mixture:  # conf/talker.yaml
    """What kinds of examples there are, each a share of all."""

    recordings: float = within(low=0, high=1)
    pairs: float = within(low=0, high=1)  # two clips of a speaker as one: what an in-context prompt looks like
    interleaved: float = within(low=0, high=1)  # text beside the frames instead of before them
    tagged: float = within(low=0, high=1)  # with the language tag instead of the `auto` prefix
    predictor: float = within(above=0, high=1)  # of the frames: the code predictor is trained on these


@dataclass(frozen=True, slots=True)
class Taught:
    """A batch, and which text is being spoken in each of its N frames."""

    batch: Batch
    spoken: Int64[Tensor, " N"]  # ids of text tokens, or UNKNOWN


@dataclass(frozen=True, slots=True)
class _Clip:
    example: Example
    line: Line
    speaker_embedding: Float[Tensor, " dimensions"]


class Source:
    """Clips that are drawn alike: all of a corpus, or all recordings."""

    def __init__(self, shards: Sequence[Codes], tokenizer: Any, *, language: str) -> None:
        self.clips: list[_Clip] = []
        self._by_speaker: dict[str, list[int]] = {}
        for shard in shards:
            for line, embedding in zip(shard.lines, shard.speakers, strict=True):
                codes = torch.from_numpy(shard.codes[line.start : line.start + line.frames].astype(np.int64))
                role, text = assistant_ids(tokenizer, line.text)
                self._by_speaker.setdefault(line.speaker, []).append(len(self.clips))
                example = Example(line.id, role, text, language, codes)
                self.clips.append(_Clip(example, line, torch.from_numpy(embedding)))

    def another(self, clip: _Clip, rng: np.random.Generator) -> _Clip:
        """Some clip by the same speaker; the same one if there is no other."""
        own = self._by_speaker[clip.line.speaker]
        chosen = self.clips[own[rng.integers(len(own))]]
        if chosen is clip and len(own) > 1:
            return self.another(clip, rng)
        return chosen


class Draws:
    """Draws batches of about the same number of padded positions."""

    def __init__(
        self, corpus: Source, recordings: Source | None, vocabulary: Vocabulary, mixture: Mixture, *, seed: int
    ) -> None:
        self._corpus, self._recordings = corpus, recordings
        self._vocabulary, self._mixture, self._seed = vocabulary, mixture, seed

    def draw(self, number: int, *, positions: int, candidates: int) -> Taught:
        """Batch `number`: of so many candidates those next to each other in length that fill `positions`."""
        rng = np.random.default_rng([self._seed, number])
        drawn = sorted((self._draw_clips(rng) for _ in range(candidates)), key=lambda clips: -_length(clips))
        start = int(rng.integers(len(drawn)))
        count = max(1, positions // _length(drawn[start]))
        return self._teach(drawn[start : start + count], rng)

    def _draw_clips(self, rng: np.random.Generator) -> list[tuple[_Clip, Source]]:
        real = self._recordings is not None and rng.random() < self._mixture.recordings
        source = self._recordings if real and self._recordings else self._corpus
        clip = source.clips[rng.integers(len(source.clips))]
        both = [clip, source.another(clip, rng)] if rng.random() < self._mixture.pairs else [clip]
        return [(c, source) for c in both]

    def _teach(self, drawn: Sequence[list[tuple[_Clip, Source]]], rng: np.random.Generator) -> Taught:
        layout = Layout.INTERLEAVED if rng.random() < self._mixture.interleaved else Layout.WHOLE
        examples = [_join([clip.example for clip, _ in clips]) for clips in drawn]
        prompts = [self._lay_out(e, tagged=rng.random() < self._mixture.tagged, layout=layout) for e in examples]
        # how a speaker sounds is told by another of their clips: this one's own would tell what it says as well
        embeddings = [source.another(clip, rng).speaker_embedding for (clip, source), *_ in drawn]
        predicted = [_share(len(e.codes), self._mixture.predictor, rng) for e in examples]
        batch = collate(
            examples, prompts, torch.stack(embeddings), codec_eos=self._vocabulary.codec_eos, predicted=predicted
        )
        return Taught(batch, torch.cat([spoken(clip.line, clip.example.text) for clips in drawn for clip, _ in clips]))

    def _lay_out(self, example: Example, *, tagged: bool, layout: Layout) -> Prompt:
        return build_prompt(
            example.role,
            example.text,
            frames=len(example.codes),
            language=example.language if tagged else None,
            layout=layout,
            vocabulary=self._vocabulary,
        )


def _length(clips: Sequence[tuple[_Clip, Source]]) -> int:
    return sum(clip.example.positions for clip, _ in clips)


def _join(examples: Sequence[Example]) -> Example:
    # as `generate` joins the reference's text and codes with what is to be said
    first = examples[0]
    text = [token for e in examples for token in e.text]
    return Example(first.id, first.role, text, first.language, torch.cat([e.codes for e in examples]))


def _share(frames: int, share: float, rng: np.random.Generator) -> Int64[Tensor, " p"]:
    return torch.from_numpy(np.sort(rng.choice(frames, max(1, round(share * frames)), replace=False)))


def spoken(line: Line, text: Sequence[int]) -> Int64[Tensor, " frames"]:
    """Which of a clip's text tokens is being said in each frame, as if all took as long; UNKNOWN in silence."""
    frames = torch.arange(line.frames)
    place = (frames + 0.5 - line.first) / (line.last - line.first) * len(text)
    said = torch.tensor(text)[place.long().clamp(0, len(text) - 1)]
    return torch.where((frames >= line.first) & (frames < line.last), said, UNKNOWN)
