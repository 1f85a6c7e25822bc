"""The stages by their own entry points, one after the other in the current folder."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipelines.data import curate, encode, preprocess, segment, split, transcribe
from pipelines.eval import compare, plan, roundtrip, score, synthesize
from pipelines.eval.settings import System
from pipelines.train import finetune

PROJECT = Path(__file__).resolve().parent.parent


def share(folder: Path, *shipped: str) -> None:
    """Let a project folder of a test's have what ships with the project."""
    for path in shipped:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(PROJECT / path)


def run(main: Callable[[], None], voice: str, *arguments: str) -> None:
    """One stage, as its command line would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [main.__module__, f"voice={voice}", *arguments])
        main()


def run_all(voice: str, *, split_so: str = "", train: Sequence[str] = (), evaluate: Sequence[str] = ()) -> None:
    """From recordings to a verdict."""
    run(segment.main, voice)
    run(preprocess.main, voice, "workers=1")
    run(transcribe.main, voice)
    run(curate.main, voice)
    run(split.main, voice, *([split_so] if split_so else []))
    run(encode.main, voice)
    run(finetune.main, voice, *train)
    run(plan.main, voice, *evaluate)
    run(roundtrip.main, voice)
    for system in System:
        run(synthesize.main, voice, f"system={system}", *evaluate)
    run(score.main, voice, *evaluate)
    run(compare.main, voice, *evaluate)
