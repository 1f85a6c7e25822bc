"""Nothing that is recorded can reach git by accident."""

import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[4]


def is_ignored(path: str) -> bool:
    result = subprocess.run(["git", "check-ignore", "--quiet", "--no-index", path], cwd=PROJECT, check=False)
    assert result.returncode in (0, 1), "needs a git checkout"
    return result.returncode == 0


@pytest.mark.parametrize("voice", ["anna", "my-voice", "demo2", "Jürgen", "Demo"])
@pytest.mark.parametrize(
    "name",
    [
        "wavs/x.wav", "wavs/.x.wav.draft", "metadata.csv", ".metadata.csv.draft", "consent.txt", ".consent.txt.draft",
    ],
)  # fmt: skip
def test_git_ignores_what_is_recorded(voice: str, name: str):
    assert is_ignored(f"data/raw/{voice}/{name}")


@pytest.mark.parametrize("name", ["take.wav", "take.json", "notes.json", "aside/0001_x.wav"])
def test_git_ignores_takes_under_review(name: str):
    assert is_ignored(f".cache/record/anna/{name}")


def test_the_synthetic_demo_is_the_exception():
    assert not is_ignored("data/raw/demo/wavs/demo_001.flac")
