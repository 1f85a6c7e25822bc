"""forced: what the code predictor would say in the place of each clip's later codebooks.

    python -m pipelines.pretrain.talker.forced       # the codec's last phase learns from it

The first codebook, and everything before a frame, are the clip's own (teacher forcing): so it is known what each frame
should sound like, and the codec's decoder can learn from the codes that it will be given (as vocoders learn from the
spectra that a synthesiser predicts, arXiv:1712.05884, 3.2). Laid out as the material's own codes.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int16
from torch import Tensor
from tqdm import tqdm

from pipelines.pretrain.material import Codes, forced_path, read_codes
from pipelines.pretrain.run import read_state
from pipelines.pretrain.talker.__main__ import begin
from pipelines.train.dataset import Batch, Example, collate, lay_out
from pipelines.train.drawing import draw_codes
from pipelines.train.loss import Objective
from pipelines.workers import workers
from voice.bounds import within
from voice.fresh import TalkerShape
from voice.prompt import Vocabulary, assistant_ids
from voice.publish import publish
from voice.stage import stage
from voice.tts import Layout

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Forced:  # conf/forced.yaml
    """Settings of the stage."""

    material: str
    talker: str
    shape: TalkerShape
    recordings: str | None
    shards: int = within(low=1)
    language: str
    temperature: float = within(above=0)
    positions: int = within(low=1)
    out: str
    processes: int = within(low=1)
    seed: int


class Predictor:
    """A talker that is told what came before, and says the rest of each frame."""

    def __init__(self, talker: Any, tokenizer: Any, vocabulary: Vocabulary, *, language: str) -> None:
        self._objective = Objective(talker).eval()
        self._talker, self._tokenizer, self._vocabulary = talker, tokenizer, vocabulary
        self._language = language

    @torch.no_grad()
    def say(
        self, shard: Codes, *, temperature: float, positions: int, seed: int
    ) -> Int16[np.ndarray, "frames codebooks"]:
        """The codes of a shard: the first codebook as it is, the others drawn."""
        generator = torch.Generator().manual_seed(seed)
        drawn = np.empty_like(shard.codes)
        for numbers in _by_length(shard, positions):
            batch, hidden = self._read(shard, numbers)
            first = batch.frames[:, 0]
            dice = torch.rand((len(first), shard.codes.shape[1] - 1), generator=generator)
            rest = draw_codes(self._talker, hidden, first, temperature=temperature, dice=dice)
            lines = [shard.lines[number] for number in numbers]
            for line, codes in zip(lines, rest.split([line.frames for line in lines]), strict=True):
                drawn[line.start : line.start + line.frames] = codes.numpy()
        return drawn

    def _read(self, shard: Codes, numbers: Sequence[int]) -> tuple[Batch, Float[Tensor, "frames hidden"]]:
        lines = [shard.lines[number] for number in numbers]
        examples = [
            Example(line.id, *assistant_ids(self._tokenizer, line.text), self._language, shard.of(line))
            for line in lines
        ]
        prompts = [lay_out(e, self._vocabulary, tagged=True, layout=Layout.WHOLE) for e in examples]
        voices = torch.from_numpy(shard.speakers[list(numbers)])
        batch = collate(examples, prompts, voices, codec_eos=self._vocabulary.codec_eos)
        hidden, _ = self._objective.read(batch)
        return batch, hidden[batch.frames_at - 1]


def _by_length(shard: Codes, positions: int) -> Iterator[list[int]]:
    # clips of about the same length together, so many that their frames fill `positions`
    batch: list[int] = []
    for number in sorted(range(len(shard.lines)), key=lambda n: shard.lines[n].frames):
        if batch and shard.lines[number].frames * (len(batch) + 1) > positions:
            yield batch
            batch = []
        batch.append(number)
    yield batch


def load(config: Forced) -> Predictor:
    """The newest average of the talker."""
    state = read_state(Path(config.talker), command="python -m pipelines.pretrain.talker")
    talker, tokenizer, vocabulary = begin(config.shape, seed=0)
    talker.load_state_dict(state["average"])
    return Predictor(talker, tokenizer, vocabulary, language=config.language)


def force_shard(shard: Codes, config: Forced) -> int:
    """Say one shard, unless that has been done. Returns its frames."""
    path = forced_path(Path(config.out), shard)
    if not path.is_file():
        torch.set_num_threads(1)
        said = load(config).say(shard, temperature=config.temperature, positions=config.positions, seed=config.seed)
        with publish(path) as draft, draft.open("wb") as file:
            np.save(file, said)
    return len(shard.codes)


@stage(Forced)
def main(config: Forced) -> None:
    """Say the material again; what is already there stays."""
    material, out = Path(config.material), Path(config.out)
    shards = read_codes(material, ["train"])[: config.shards]
    if config.recordings:
        shards = read_codes(material, [f"{config.recordings}_train"]) + shards
    with workers(config.processes) as pool:
        done = pool.map(partial(force_shard, config=config), shards)
        frames = sum(tqdm(done, total=len(shards), desc="forced", unit="shard"))
    log.info("%d frames in %s", frames, out)


if __name__ == "__main__":
    main()
