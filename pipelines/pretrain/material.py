"""material: a corpus, a codec and a speaker encoder -> the codes and the speaker embedding of every clip.

    python -m pipelines.pretrain.material            # once the codec's features are learnt: its codes are then final

One folder for each shard of the corpus; a folder appears whole or not at all, so a broken run goes on where it stopped.
"""

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int16, Int64
from torch import Tensor
from tqdm import tqdm

from pipelines.pretrain.codec.checkpoint import export
from pipelines.pretrain.corpus import Shard, clip_waveform, read_side
from pipelines.pretrain.run import read_state
from pipelines.pretrain.speaker.checkpoint import load_encoder
from pipelines.pretrain.speaker.evaluate import embed
from pipelines.workers import workers
from voice.bounds import within
from voice.codec import Codec
from voice.errors import InputError
from voice.publish import publish
from voice.stage import stage
from voice.table import write_records

log = logging.getLogger(__name__)

CHECKPOINT_FOLDER = "checkpoint"
INDEX_FILE, CODES_FILE, SPEAKERS_FILE = "index.csv", "codes.npy", "speakers.npy"


@dataclass(kw_only=True)
class Material:  # conf/material.yaml
    """Settings of the stage."""

    corpus: str
    codec: str
    speaker: str
    recordings: str | None
    sides: list[str]
    out: str
    processes: int = within(low=1)


@dataclass(frozen=True, slots=True)
class Line:
    """One clip of a shard: who says what, and which frames are its own."""

    id: str
    speaker: str
    start: int  # frames into the shard
    frames: int
    text: str

    @classmethod
    def parse(cls, row: dict[str, str]) -> "Line":
        """Read a row of index.csv."""
        return cls(row["id"], row["speaker"], int(row["start"]), int(row["frames"]), row["text"])


@dataclass(frozen=True, slots=True)
class Codes:
    """A shard's clips as codes."""

    folder: Path
    lines: tuple[Line, ...]
    codes: Int16[np.ndarray, "frames codebooks"]
    speakers: Float32[np.ndarray, "clips dimensions"]

    @classmethod
    def read(cls, folder: Path) -> "Codes":
        """Read a folder that `write` made."""
        with (folder / INDEX_FILE).open(newline="", encoding="utf-8") as file:
            lines = tuple(Line.parse(row) for row in csv.DictReader(file))
        return cls(folder, lines, np.load(folder / CODES_FILE), np.load(folder / SPEAKERS_FILE))

    def of(self, line: Line) -> Int64[Tensor, "frames codebooks"]:
        """The codes of one clip."""
        return torch.from_numpy(self.codes[line.start : line.start + line.frames].astype(np.int64))

    def write(self) -> None:
        """Write index, codes and embeddings."""
        with publish(self.folder) as draft:
            draft.mkdir()
            np.save(draft / CODES_FILE, self.codes)
            np.save(draft / SPEAKERS_FILE, self.speakers)
            write_records(draft / INDEX_FILE, Line, self.lines)


def read_codes(folder: Path, sides: Sequence[str]) -> list[Codes]:
    """The shards of some sides. Raises InputError for a side that has none."""
    found = []
    for side in sides:
        folders = sorted(p.parent for p in folder.glob(f"{side}-*/{INDEX_FILE}") if not p.parent.name.startswith("."))
        if not folders:
            raise InputError(f"{folder} holds no codes of {side!r}. Run `python -m pipelines.pretrain.material` first.")
        found += [Codes.read(folder) for folder in folders]
    return found


def forced_path(folder: Path, shard: Codes) -> Path:
    """Where codes lie that the talker said in the place of a shard's own (`pipelines.pretrain.talker.forced`)."""
    return folder / f"{shard.folder.name}.npy"


def read_forced(folder: Path, shard: Codes) -> Int16[np.ndarray, "frames codebooks"]:
    """What the talker said in the place of a shard. Raises InputError if the shard was another one then."""
    path = forced_path(folder, shard)
    codes = np.load(path)
    if codes.shape != shard.codes.shape or not np.array_equal(codes[:, 0], shard.codes[:, 0]):
        raise InputError(
            f"{path} belongs to other codes. Remove {folder} and run `python -m pipelines.pretrain.talker.forced`."
        )
    return codes


def encode_shard(source: Path, *, checkpoint: Path, speaker: Path, out: Path) -> int:
    """Encode one shard, unless that has been done. Returns its frames."""
    folder = out / source.name
    if (folder / INDEX_FILE).is_file():
        return len(Codes.read(folder).codes)
    torch.set_num_threads(1)
    shard, codec = Shard.read(source), Codec(checkpoint, device="cpu")
    encoder = load_encoder(speaker)
    waveforms = [clip_waveform(shard, clip) for clip in shard.clips]
    codes = codec.encode(waveforms)
    starts = np.cumsum([0, *(len(c) for c in codes)])
    lines = [
        Line(clip.id, clip.speaker, int(start), len(c), clip.text)
        for clip, start, c in zip(shard.clips, starts, codes, strict=False)
    ]
    Codes(folder, tuple(lines), np.concatenate(codes), embed(encoder, waveforms)).write()
    return int(starts[-1])


def encode_corpus(config: Material) -> Iterator[int]:
    """Encode shard by shard; yields the frames of each."""
    out, corpus = Path(config.out), Path(config.corpus)
    out.mkdir(parents=True, exist_ok=True)
    state = read_state(Path(config.codec), command="python -m pipelines.pretrain.codec")
    with publish(out / CHECKPOINT_FOLDER) as draft:
        export(state, draft / "speech_tokenizer")
    real = [f"{config.recordings}_{side}" for side in ("eval", "train")] if config.recordings else []
    sources = [shard.folder for side in [*real, *config.sides] for shard in read_side(corpus, side)]
    work = partial(encode_shard, checkpoint=out / CHECKPOINT_FOLDER, speaker=Path(config.speaker), out=out)
    with workers(config.processes) as pool:
        yield from tqdm(pool.map(work, sources), total=len(sources), desc="material", unit="shard")


@stage(Material)
def main(config: Material) -> None:
    """Encode the corpus; what is already there stays."""
    frames = sum(encode_corpus(config))
    log.info("%d frames in %s", frames, config.out)


if __name__ == "__main__":
    main()
