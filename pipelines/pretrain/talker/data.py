"""Clips as examples of the trainer's objective. A batch is a function of the seed and its number."""

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from pipelines.pretrain.aligner.bounds import Bounds
from pipelines.pretrain.material import Codes, Line
from pipelines.train.dataset import Batch, Example, collate, lay_out
from pipelines.train.history import FIRST_OWN, wavering
from voice.bounds import within
from voice.errors import InputError
from voice.prompt import Vocabulary, assistant_ids
from voice.tts import Layout

FIRST_WRONG = 0.1  # of the frames that waver, those in which the first codebook does, too, where it is another frame's
SILENT = -1  # no text is spoken in this frame


@dataclass(kw_only=True)
class Mixture:  # conf/talker.yaml
    """What kinds of examples there are, each a share of all."""

    recordings: float = within(low=0, high=1)
    pairs: float = within(low=0, high=1)  # two clips of a speaker as one: what an in-context prompt looks like
    interleaved: float = within(low=0, high=1)  # text beside the frames instead of before them
    tagged: float = within(low=0, high=1)  # with the language tag instead of the `auto` prefix
    wavering: float = within(low=0, high=1)  # what was said before is not quite what it was (train/history.py)
    own: float = within(low=0, high=1)  # of the batches: what wavers becomes what the talker says itself
    predictor: float = within(above=0, high=1)  # of the frames: the code predictor is trained on these


@dataclass(frozen=True, slots=True)
class Taught:
    """A batch of B rows of S positions, and where the text stands that is spoken in each of its N frames."""

    batch: Batch
    history: Int64[Tensor, "N codebooks"]  # its frames as the talker is told to have said them
    since: Int64[Tensor, " N"]  # from which codebook on a frame wavers; as many as there are, if it does not
    own: bool  # what wavers is true so far, and to be what the talker says itself (train/history.py)
    row: Int64[Tensor, " N"]
    place: Int64[Tensor, " N"]  # position in the row, or SILENT

    def to(self, device: torch.device | str) -> "Taught":
        """Move every tensor."""
        history, since, row, place = (t.to(device) for t in (self.history, self.since, self.row, self.place))
        return Taught(self.batch.to(device), history, since, self.own, row, place)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Clips that are not trained on: with what is said in them, and with what is said in another of their length.

    A talker that does not read loses as much on either; the difference is what the text tells it.
    """

    right: Taught
    other: Taught


@dataclass(frozen=True, slots=True)
class _Clip:
    example: Example
    line: Line
    bounds: Bounds  # of the text's tokens: the frame in which each begins, and where the last one ends
    speaker_embedding: Float[Tensor, " dimensions"]


class Source:
    """Clips that are drawn alike: all of a corpus, or all recordings."""

    def __init__(
        self, shards: Sequence[Codes], bounds: Sequence[Sequence[Bounds]], tokenizer: Any, *, language: str
    ) -> None:
        self.clips: list[_Clip] = []
        self._by_speaker: dict[str, list[int]] = {}
        for shard, letters in zip(shards, bounds, strict=True):
            for line, embedding, spoken_at in zip(shard.lines, shard.speakers, letters, strict=True):
                role, text = assistant_ids(tokenizer, line.text)
                self._by_speaker.setdefault(line.speaker, []).append(len(self.clips))
                example = Example(line.id, role, text, language, shard.of(line))
                lengths = [len(piece) for piece in tokenizer.convert_ids_to_tokens(text)]  # a symbol stands for a byte
                at = spoken_at[np.cumsum([0, *lengths])]
                self.clips.append(_Clip(example, line, at, torch.from_numpy(embedding)))

    def another(self, clip: _Clip, rng: np.random.Generator) -> _Clip:
        """Some clip by the same speaker; the same one if there is no other."""
        own = self._by_speaker[clip.line.speaker]
        chosen = self.clips[own[rng.integers(len(own))]]
        if chosen is clip and len(own) > 1:
            return self.another(clip, rng)
        return chosen

    def exchanged(self) -> "Source":
        """The same clips, each with the text of one about as long."""
        other = copy(self)
        by_length = sorted(range(len(self.clips)), key=lambda number: len(self.clips[number].example.text))
        other.clips = list(self.clips)
        for number, next_number in zip(by_length, by_length[1:] + by_length[:1], strict=True):
            clip, text = self.clips[number], self.clips[next_number].example.text
            other.clips[number] = replace(clip, example=replace(clip.example, text=text))
        return other


def held_out(source: Source, vocabulary: Vocabulary, *, positions: int, candidates: int) -> HeldOut:
    """A batch of a source's clips, one example each."""
    # next to nothing for the code predictor: only the talker reads
    plain = Mixture(recordings=0.0, pairs=0.0, interleaved=0.0, tagged=1.0, wavering=0.0, own=0.0, predictor=0.01)
    drawn = [
        Draws(s, None, vocabulary, plain, seed=0).draw(0, positions=positions, candidates=candidates)
        for s in (source, source.exchanged())
    ]
    return HeldOut(*drawn)


class Draws:
    """Draws batches of about the same number of padded positions."""

    def __init__(
        self, corpus: Source, recordings: Source | None, vocabulary: Vocabulary, mixture: Mixture, *, seed: int
    ) -> None:
        self._corpus, self._recordings = corpus, recordings
        self._vocabulary, self._mixture, self._seed = vocabulary, mixture, seed
        self._shortest = min(clip.line.frames for clip in corpus.clips)

    def draw(self, number: int, *, positions: int, candidates: int, longest: float = math.inf) -> Taught:
        """Batch `number`: of so many candidates those next to each other in length that fill `positions`.

        None has more than `longest` frames. Raises InputError if all clips have.
        """
        if longest < self._shortest:
            raise InputError(
                f"no clip has as few as {longest:g} frames, the shortest {self._shortest}. "
                "Raise schedule.first_frames in conf/talker.yaml."
            )
        rng = np.random.default_rng([self._seed, number])
        drawn = sorted((self._draw_clips(rng, longest) for _ in range(candidates)), key=lambda clips: -_length(clips))
        start = int(rng.integers(len(drawn)))
        count = max(1, positions // _length(drawn[start]))
        start = max(0, min(start, len(drawn) - count))  # at the short end there may not be as many: longer ones, too
        fit = max(1, positions // _length(drawn[start]))
        return self._teach(drawn[start : start + fit], rng)

    def _draw_clips(self, rng: np.random.Generator, longest: float) -> list[tuple[_Clip, Source]]:
        drawn = self._draw_some(rng)
        while sum(clip.line.frames for clip, _ in drawn) > longest:
            drawn = self._draw_some(rng)
        return drawn

    def _draw_some(self, rng: np.random.Generator) -> list[tuple[_Clip, Source]]:
        real = self._recordings is not None and rng.random() < self._mixture.recordings
        source = self._recordings if real and self._recordings else self._corpus
        clip = source.clips[rng.integers(len(source.clips))]
        both = [clip, source.another(clip, rng)] if rng.random() < self._mixture.pairs else [clip]
        return [(c, source) for c in both]

    def _teach(self, drawn: Sequence[list[tuple[_Clip, Source]]], rng: np.random.Generator) -> Taught:
        layout = Layout.INTERLEAVED if rng.random() < self._mixture.interleaved else Layout.WHOLE
        examples = [_join([clip.example for clip, _ in clips]) for clips in drawn]
        prompts = [
            lay_out(e, self._vocabulary, tagged=rng.random() < self._mixture.tagged, layout=layout) for e in examples
        ]
        # how a speaker sounds is told by another of their clips: this one's own would tell what it says as well
        embeddings = [source.another(clip, rng).speaker_embedding for (clip, source), *_ in drawn]
        predicted = [_share(len(e.codes), self._mixture.predictor, rng) for e in examples]
        batch = collate(
            examples, prompts, torch.stack(embeddings), codec_eos=self._vocabulary.codec_eos, predicted=predicted
        )
        own = bool(rng.random() < self._mixture.own)
        histories = [self._remember(clips, rng, own=own) for clips in drawn]
        places = [
            _places([clip for clip, _ in clips], prompt.text_at) for clips, prompt in zip(drawn, prompts, strict=True)
        ]
        row = torch.arange(len(drawn)).repeat_interleave(torch.tensor([len(place) for place in places]))
        history, since = (torch.cat(tensors) for tensors in zip(*histories, strict=True))
        return Taught(batch, history, since, own, row, torch.cat(places))

    def _remember(
        self, clips: Sequence[tuple[_Clip, Source]], rng: np.random.Generator, *, own: bool
    ) -> tuple[Int64[Tensor, "frames codebooks"], Int64[Tensor, " frames"]]:
        """What the talker is told to have said, and from which codebook on it wavers."""
        *before, last = (clip.example.codes for clip, _ in clips)
        frames, codebooks = last.shape
        since = torch.full((frames,), codebooks)
        if rng.random() < self._mixture.wavering:
            since = wavering(frames, codebooks, rng, first=FIRST_OWN if own else FIRST_WRONG)
        others = last if own else last[torch.from_numpy(rng.integers(frames, size=frames))]
        # the first of a pair stays: what an in-context prompt holds is true, what the talker adds to it is not
        true = torch.full((sum(len(codes) for codes in before),), codebooks)
        return torch.cat([*before, told(last, others, since)]), torch.cat([true, since])


def _length(clips: Sequence[tuple[_Clip, Source]]) -> int:
    return sum(clip.example.positions for clip, _ in clips)


def _join(examples: Sequence[Example]) -> Example:
    # as `generate` joins the reference's text and codes with what is to be said
    first = examples[0]
    text = [token for e in examples for token in e.text]
    return Example(first.id, first.role, text, first.language, torch.cat([e.codes for e in examples]))


def told(
    codes: Int64[Tensor, "frames codebooks"],
    others: Int64[Tensor, "frames codebooks"],
    since: Int64[Tensor, " frames"],
) -> Int64[Tensor, "frames codebooks"]:
    """Codes that are others from some codebook of each frame on."""
    return torch.where(torch.arange(codes.shape[1], device=codes.device) >= since[:, None], others, codes)


def _share(frames: int, share: float, rng: np.random.Generator) -> Int64[Tensor, " p"]:
    return torch.from_numpy(np.sort(rng.choice(frames, max(1, round(share * frames)), replace=False)))


def spoken(bounds: Bounds, frames: int) -> Int64[Tensor, " frames"]:
    """Which of a clip's text tokens is being said in the middle of each frame; SILENT before and after all of them."""
    said = torch.searchsorted(torch.from_numpy(bounds), torch.arange(frames) + 0.5, right=True) - 1
    return torch.where(said < len(bounds) - 1, said, SILENT)


def _places(clips: Sequence[_Clip], start: int) -> Int64[Tensor, " frames"]:
    starts = [start, *(start + n for n in accumulate(len(clip.example.text) for clip in clips))]
    tokens = [spoken(clip.bounds, clip.line.frames) for clip in clips]
    return torch.cat([torch.where(t == SILENT, t, t + at) for t, at in zip(tokens, starts, strict=False)])
