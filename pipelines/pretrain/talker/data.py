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
    chains: float = within(low=0, high=1)  # clips of a speaker as one: a long text, or one in context
    links: int = within(low=2)  # clips of the longest chain
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
class _Text:
    tokens: list[int]
    bounds: Bounds  # of its tokens: the frame in which each begins, and where the last one ends


@dataclass(frozen=True, slots=True)
class _Clip:
    line: Line
    role: list[int]
    first: _Text  # what is said in it where nothing is said before,
    further: _Text  # and where something is: after a space
    codes: Int64[Tensor, "frames codebooks"]
    speaker_embedding: Float[Tensor, " dimensions"]


class Source:
    """Clips that are drawn alike: all of a corpus, or all recordings."""

    def __init__(
        self, shards: Sequence[Codes], bounds: Sequence[Sequence[Bounds]], tokenizer: Any, *, language: str
    ) -> None:
        self.clips: list[_Clip] = []
        self.language = language
        self._by_speaker: dict[str, list[int]] = {}
        for shard, letters in zip(shards, bounds, strict=True):
            for line, embedding, spoken_at in zip(shard.lines, shard.speakers, letters, strict=True):
                self._by_speaker.setdefault(line.speaker, []).append(len(self.clips))
                role, first = _tokenise(line.text, spoken_at, tokenizer)
                _, further = _tokenise(f" {line.text}", np.concatenate([spoken_at[:1], spoken_at]), tokenizer)
                codes = shard.of(line)
                self.clips.append(_Clip(line, role, first, further, codes, torch.from_numpy(embedding)))

    def another(self, clips: Sequence[_Clip], rng: np.random.Generator) -> _Clip:
        """Some clip by the speaker of these that is none of them; the last one where there is no other."""
        own = [self.clips[number] for number in self._by_speaker[clips[0].line.speaker]]
        others = [clip for clip in own if not any(clip is one for one in clips)]
        return others[rng.integers(len(others))] if others else clips[-1]

    def exchanged(self) -> "Source":
        """The same clips, each with the text of one about as long."""
        other = copy(self)
        by_length = sorted(range(len(self.clips)), key=lambda number: len(self.clips[number].first.tokens))
        other.clips = list(self.clips)
        for number, next_number in zip(by_length, by_length[1:] + by_length[:1], strict=True):
            text = self.clips[next_number]
            other.clips[number] = replace(self.clips[number], first=text.first, further=text.further)
        return other


def _tokenise(text: str, spoken_at: Bounds, tokenizer: Any) -> tuple[list[int], _Text]:
    role, tokens = assistant_ids(tokenizer, text)
    lengths = [len(piece) for piece in tokenizer.convert_ids_to_tokens(tokens)]  # a symbol stands for a byte
    return role, _Text(tokens, spoken_at[np.cumsum([0, *lengths])])


@dataclass(frozen=True, slots=True)
class _Chain:
    """Clips of one speaker, said one after another. The first `heard` of them are an in-context reference."""

    clips: tuple[_Clip, ...]
    heard: int
    source: Source

    @property
    def texts(self) -> list[_Text]:
        # as the engine asks for them: spaces within the reference and within the text, none between the two
        return [clip.first if at in (0, self.heard) else clip.further for at, clip in enumerate(self.clips)]

    @property
    def example(self) -> Example:
        first, text = self.clips[0], [token for said in self.texts for token in said.tokens]
        codes = torch.cat([clip.codes for clip in self.clips])
        return Example(first.line.id, first.role, text, self.source.language, codes)

    @property
    def frames(self) -> int:
        return sum(clip.line.frames for clip in self.clips)

    def places(self, start: int) -> Int64[Tensor, " frames"]:
        """The position of the text that is spoken in each frame, if the text begins at `start`."""
        starts = accumulate((len(text.tokens) for text in self.texts[:-1]), initial=start)
        said = [spoken(text.bounds, clip.line.frames) for text, clip in zip(self.texts, self.clips, strict=True)]
        return torch.cat([torch.where(t == SILENT, t, t + at) for t, at in zip(said, starts, strict=True)])


def held_out(source: Source, vocabulary: Vocabulary, *, positions: int, candidates: int) -> HeldOut:
    """A batch of a source's clips, one example each."""
    # next to nothing for the code predictor: only the talker reads
    plain = Mixture(
        recordings=0.0, chains=0.0, links=2, interleaved=0.0, tagged=1.0, wavering=0.0, own=0.0, predictor=0.01
    )
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
        chains = [self._draw_chain(rng, longest) for _ in range(candidates)]
        drawn = sorted(((chain, chain.example) for chain in chains), key=lambda pair: -pair[1].positions)
        start = int(rng.integers(len(drawn)))
        count = max(1, positions // drawn[start][1].positions)
        start = max(0, min(start, len(drawn) - count))  # at the short end there may not be as many: longer ones, too
        fit = max(1, positions // drawn[start][1].positions)
        return self._teach(drawn[start : start + fit], rng)

    def _draw_chain(self, rng: np.random.Generator, longest: float) -> _Chain:
        chain = self._draw_some(rng)
        while chain.frames > longest:
            chain = self._draw_some(rng)
        return chain

    def _draw_some(self, rng: np.random.Generator) -> _Chain:
        real = self._recordings is not None and rng.random() < self._mixture.recordings
        source = self._recordings if real and self._recordings else self._corpus
        clips = [source.clips[rng.integers(len(source.clips))]]
        if rng.random() >= self._mixture.chains:
            return _Chain(tuple(clips), 0, source)
        for _ in range(int(rng.integers(1, self._mixture.links))):
            clips.append(source.another(clips[-1:], rng))
        return _Chain(tuple(clips), int(rng.integers(len(clips))), source)

    def _teach(self, drawn: Sequence[tuple[_Chain, Example]], rng: np.random.Generator) -> Taught:
        layout = Layout.INTERLEAVED if rng.random() < self._mixture.interleaved else Layout.WHOLE
        chains, examples = zip(*drawn, strict=True)
        prompts = [
            lay_out(e, self._vocabulary, tagged=rng.random() < self._mixture.tagged, layout=layout) for e in examples
        ]
        # how a speaker sounds is told by another of their clips: these clips' own would tell what they say as well
        embeddings = [chain.source.another(chain.clips, rng).speaker_embedding for chain in chains]
        predicted = [_share(len(e.codes), self._mixture.predictor, rng) for e in examples]
        batch = collate(
            examples, prompts, torch.stack(embeddings), codec_eos=self._vocabulary.codec_eos, predicted=predicted
        )
        own = bool(rng.random() < self._mixture.own)
        histories = [self._remember(chain, rng, own=own) for chain in chains]
        places = [chain.places(prompt.text_at) for chain, prompt in zip(chains, prompts, strict=True)]
        row = torch.arange(len(drawn)).repeat_interleave(torch.tensor([len(place) for place in places]))
        history, since = (torch.cat(tensors) for tensors in zip(*histories, strict=True))
        return Taught(batch, history, since, own, row, torch.cat(places))

    def _remember(
        self, chain: _Chain, rng: np.random.Generator, *, own: bool
    ) -> tuple[Int64[Tensor, "frames codebooks"], Int64[Tensor, " frames"]]:
        """What the talker is told to have said, and from which codebook on it wavers."""
        before = [clip.codes for clip in chain.clips[: chain.heard]]
        said = torch.cat([clip.codes for clip in chain.clips[chain.heard :]])
        frames, codebooks = said.shape
        since = torch.full((frames,), codebooks)
        if rng.random() < self._mixture.wavering:
            since = wavering(frames, codebooks, rng, first=FIRST_OWN if own else FIRST_WRONG)
        others = said if own else said[torch.from_numpy(rng.integers(frames, size=frames))]
        # what an in-context prompt holds is true, what the talker adds to it is not
        true = torch.full((sum(len(codes) for codes in before),), codebooks)
        return torch.cat([*before, told(said, others, since)]), torch.cat([true, since])


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
