"""Recognisers over many clips: the light ones in as many processes as there are cores."""

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from voice.asr import ASR
from voice.audio import read_waveform


def hear(asr: ASR, paths: Sequence[Path]) -> Iterator[str]:
    """What is heard in each file, in order."""
    count = min(len(os.sched_getaffinity(0)), len(paths)) if asr.copies else 1
    if count <= 1:
        yield from (_hear(asr, path) for path in paths)
        return
    # a fork server: this process may have loaded torch, whose threads do not survive a fork
    with ProcessPoolExecutor(count, mp_context=get_context("forkserver"), initializer=_leave_signals) as pool:
        yield from pool.map(_hear, [asr] * len(paths), paths)


def _leave_signals() -> None:
    # Ctrl-C reaches every process of a terminal: it is for the one that asked to hear to decide what follows
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _hear(asr: ASR, path: Path) -> str:
    return asr.transcribe(read_waveform(path))
