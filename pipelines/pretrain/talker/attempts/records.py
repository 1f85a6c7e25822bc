"""Attempts on disk: a folder of each run of texts, which appears whole or not at all."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from pipelines.pretrain.talker.attempts.saying import Asked, Attempt
from pipelines.pretrain.talker.data import Chain, Clip, Source
from voice.errors import InputError
from voice.publish import publish
from voice.table import write_records
from voice.tts import Layout

INDEX_FILE, CODES_FILE = "index.csv", "codes.npy"


@dataclass(frozen=True, slots=True)
class Row:
    """One attempt: what was asked for, what was said, and how well that is understood."""

    text: int  # which of the folder's texts; its attempts stand together
    clips: str  # ids, a space between them
    heard: int  # so many of them are the reference
    voice: str  # the id of the clip whose speaker embedding was told
    tagged: bool
    layout: str
    start: int  # frames into the folder's codes
    frames: int
    ended: bool
    nats: float  # of a letter to the aligner's recogniser; infinite where there are more letters than it has outputs
    odds: float  # the logarithm of what the talker gave the first codebook of all frames, and the end

    @classmethod
    def parse(cls, row: dict[str, str]) -> "Row":
        """Read a line of index.csv."""
        read: dict[type, Callable[[str], Any]] = {int: int, float: float, str: str, bool: "True".__eq__}
        return cls(**{field.name: read[cls.__annotations__[field.name]](row[field.name]) for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class Judged:
    """An attempt, how well it is understood (nats a letter), and how probable it was to the talker that made it."""

    attempt: Attempt
    nats: float
    odds: float


def write_attempts(folder: Path, texts: Sequence[tuple[Asked, Sequence[Judged]]]) -> None:
    """Write several attempts at each of some texts."""
    rows, codes, start = list[Row](), list[Int64[Tensor, "frames codebooks"]](), 0
    for number, (asked, judged) in enumerate(texts):
        for one in judged:
            rows.append(_row(number, asked, one, start=start))
            codes.append(one.attempt.codes)
            start += len(one.attempt.codes)
    with publish(folder) as draft:
        draft.mkdir()
        np.save(draft / CODES_FILE, torch.cat(codes).numpy().astype(np.int16))
        write_records(draft / INDEX_FILE, Row, rows)


def _row(number: int, asked: Asked, judged: Judged, *, start: int) -> Row:
    return Row(
        text=number,
        clips=" ".join(clip.line.id for clip in asked.chain.clips),
        heard=asked.chain.heard,
        voice=asked.voice.line.id,
        tagged=asked.tagged,
        layout=asked.layout.value,
        start=start,
        frames=len(judged.attempt.codes),
        ended=judged.attempt.ended,
        nats=judged.nats,
        odds=judged.odds,
    )


def read_attempts(folder: Path, sources: Sequence[Source]) -> Iterator[tuple[Asked, list[Judged]]]:
    """All texts under `folder`. Raises InputError if there are none, or if they are of another corpus."""
    indices = sorted(p for p in folder.glob(f"*/{INDEX_FILE}") if not p.parent.name.startswith("."))
    if not indices:
        raise InputError(f"{folder} holds no attempts. Run `python -m pipelines.pretrain.talker.attempts` first.")
    clips = {clip.line.id: (clip, source) for source in sources for clip in source.clips}
    for index in indices:
        codes = torch.from_numpy(np.load(index.with_name(CODES_FILE)).astype(np.int64))
        with index.open(newline="", encoding="utf-8") as file:
            rows = [Row.parse(row) for row in csv.DictReader(file)]
        for _, attempts in groupby(rows, key=lambda row: row.text):
            together = list(attempts)
            try:
                asked = _asked(together[0], clips)
            except KeyError as error:
                raise InputError(
                    f"{index} is of another corpus, which has {error}. Remove {folder} and run "
                    "`python -m pipelines.pretrain.talker.attempts`."
                ) from None
            yield asked, [_judged(row, codes) for row in together]


def _asked(row: Row, clips: Mapping[str, tuple[Clip, Source]]) -> Asked:
    known = [clips[name] for name in (*row.clips.split(" "), row.voice)]
    *said, voice = (clip for clip, _ in known)
    _, source = known[0]
    return Asked(Chain(tuple(said), row.heard, source), voice, row.tagged, Layout(row.layout))


def _judged(row: Row, codes: Int64[Tensor, "frames codebooks"]) -> Judged:
    return Judged(Attempt(codes[row.start : row.start + row.frames], row.ended), row.nats, row.odds)
