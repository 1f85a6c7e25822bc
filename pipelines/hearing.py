"""Recognisers over many clips: the light ones in as many processes as there are cores, the others in batches."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.workers import workers
from voice.asr import ASR
from voice.audio import read_waveform

WORTH_A_PROCESS = 8  # clips: fewer are heard in less time than the first process takes to import what it needs


def hear(asr: ASR, paths: Sequence[Path]) -> Iterator[str]:
    """What is heard in each file, in order."""
    count = min(len(os.sched_getaffinity(0)), len(paths) // WORTH_A_PROCESS) if asr.copies else 1
    if count <= 1:
        for start in range(0, len(paths), asr.batch):
            yield from asr.transcribe_all([read_waveform(path) for path in paths[start : start + asr.batch]])
        return
    with workers(count) as pool:
        yield from pool.map(_hear, [asr] * len(paths), paths)


def _hear(asr: ASR, path: Path) -> str:
    return asr.transcribe(read_waveform(path))
