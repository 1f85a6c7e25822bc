"""From texts to attempts that have been judged."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from pipelines.pretrain.aligner.align import even_bounds
from pipelines.pretrain.aligner.checkpoint import load_recogniser
from pipelines.pretrain.aligner.data import Batch, Heard
from pipelines.pretrain.aligner.model import Recogniser
from pipelines.pretrain.aligner.train import nats_a_letter
from pipelines.pretrain.codec.checkpoint import export
from pipelines.pretrain.material import read_codes
from pipelines.pretrain.run import read_state
from pipelines.pretrain.talker.__main__ import begin
from pipelines.pretrain.talker.attempts.odds import Attempted, log_odds
from pipelines.pretrain.talker.attempts.records import INDEX_FILE, Judged, write_attempts
from pipelines.pretrain.talker.attempts.saying import Asked, Attempt, Sayer
from pipelines.pretrain.talker.data import Draws, Mixture, Source
from pipelines.train.loss import Objective
from voice.bounds import within
from voice.codec import Codec
from voice.fresh import TalkerShape
from voice.prompt import Vocabulary
from voice.tts import Layout, frame_budget

TEXTS = 256  # of a folder: some minutes of a core


@dataclass(kw_only=True)
class Texts:
    """What is asked for, each a share of all (conf/attempts.yaml)."""

    recordings: float = within(low=0, high=1)
    chains: float = within(low=0, high=1)
    links: int = within(low=2)
    interleaved: float = within(low=0, high=1)
    tagged: float = within(low=0, high=1)


@dataclass(kw_only=True)
class Attempts:  # conf/attempts.yaml
    """Settings of the stage."""

    material: str
    codec: str
    talker: str
    aligner: str
    shape: TalkerShape
    recordings: str | None
    language: str
    mixture: Texts
    longest: int = within(low=1)
    texts: int = within(low=1)
    attempts: int = within(low=2)
    temperature: float = within(above=0)
    together: int = within(low=1)
    out: str
    processes: int = within(low=1)
    seed: int


class Studio:
    """A talker, what makes sound of it, and who listens."""

    def __init__(self, objective: Objective, vocabulary: Vocabulary, codec: Codec, recogniser: Recogniser) -> None:
        self._objective, self._vocabulary = objective, vocabulary
        self._codec, self._recogniser = codec, recogniser

    def attempt(
        self, asked: Sequence[Asked], *, attempts: int, temperature: float, generator: torch.Generator
    ) -> list[list[Judged]]:
        """Say each text so many times."""
        sayer = Sayer(self._objective, self._vocabulary, temperature=temperature)
        each = [one for one in asked for _ in range(attempts)]
        said = sayer.say(each, [frame_budget(one.chain.to_say) for one in each], generator)
        nats = self._listen(each, said)
        with torch.no_grad():
            odds = log_odds(self._objective, Attempted.of(each, said, self._vocabulary))
        judged = [Judged(*found) for found in zip(said, nats.tolist(), odds.tolist(), strict=True)]
        return [judged[at : at + attempts] for at in range(0, len(judged), attempts)]

    @torch.no_grad()
    def _listen(self, asked: Sequence[Asked], said: Sequence[Attempt]) -> Float[Tensor, " attempts"]:
        waveforms = [self._codec.decode(one.codes.numpy().astype(np.int16)) for one in said]
        heard = [Heard.of(sound, one.chain.to_say) for sound, one in zip(waveforms, asked, strict=True)]
        batch = Batch.of(heard)
        return nats_a_letter(self._recogniser(batch.audio, batch.real), batch)


def draw_texts(draws: Draws, config: Attempts, number: int) -> list[Asked]:
    """The texts of a folder, a function of the seed and its number; the shortest first."""
    rng = np.random.default_rng([config.seed, number])
    count = min(TEXTS, config.texts - number * TEXTS)
    asked = []
    for _ in range(count):
        chain = draws.draw_chain(rng, longest=config.longest)
        layout = Layout.INTERLEAVED if rng.random() < config.mixture.interleaved else Layout.WHOLE
        asked.append(Asked(chain, chain.source.another(chain.clips, rng), rng.random() < config.mixture.tagged, layout))
    return sorted(asked, key=lambda one: one.chain.frames)


def open_studio(config: Attempts) -> tuple[Studio, Draws]:
    """The newest average of the talker, and what it can be asked for."""
    state = read_state(Path(config.talker), command="python -m pipelines.pretrain.talker")
    talker, tokenizer, vocabulary = begin(config.shape, seed=0)
    talker.load_state_dict(state["average"])
    material = Path(config.material)

    def source(side: str) -> Source:
        shards = read_codes(material, [side])
        # where in a clip each letter is spoken is nothing that is asked for
        bounds = [[even_bounds(0, line.frames, len(line.text.encode())) for line in shard.lines] for shard in shards]
        return Source(shards, bounds, tokenizer, language=config.language)

    recordings = source(f"{config.recordings}_train") if config.recordings else None
    mixture = Mixture(**vars(config.mixture), wavering=0.0, own=0.0, predictor=0.01)
    draws = Draws(source("train"), recordings, vocabulary, mixture, seed=config.seed)
    recogniser = load_recogniser(Path(config.aligner))
    return Studio(Objective(talker).eval(), vocabulary, open_codec(Path(config.codec)), recogniser), draws


def open_codec(folder: Path) -> Codec:
    """The newest averages of the codec: its decoder learns on when the codes are final."""
    state = read_state(folder, command="python -m pipelines.pretrain.codec")
    with tempfile.TemporaryDirectory() as scratch:
        export(state, Path(scratch) / "speech_tokenizer")
        return Codec(Path(scratch), device="cpu")


def folder_of(config: Attempts, number: int) -> Path:
    """Where the texts of a number lie."""
    return Path(config.out) / f"{number:04d}"


def make_folder(number: int, config: Attempts) -> int:
    """Say the texts of a folder, unless that has been done. Returns how many."""
    folder = folder_of(config, number)
    if not (folder / INDEX_FILE).is_file():
        torch.set_num_threads(1)
        studio, draws = open_studio(config)
        generator = torch.Generator().manual_seed(config.seed + number)
        asked, made = draw_texts(draws, config, number), list[tuple[Asked, list[Judged]]]()
        at_once = max(1, config.together // config.attempts)
        for first in range(0, len(asked), at_once):
            some = asked[first : first + at_once]
            judged = studio.attempt(some, attempts=config.attempts, temperature=config.temperature, generator=generator)
            made += zip(some, judged, strict=True)
        write_attempts(folder, made)
    return min(TEXTS, config.texts - number * TEXTS)
