from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipelines.eval.memory import Memory


class Judge:
    """Says a file's content, and gives up after some."""

    def __init__(self, *, patience: int = 99) -> None:
        self.asked, self.patience = list[Path](), patience

    def __call__(self, paths: Sequence[Path]) -> Iterator[str]:
        for path in paths:
            if len(self.asked) == self.patience:
                raise RuntimeError("enough")
            self.asked.append(path)
            yield path.read_text()


@pytest.fixture
def clips(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.flac" for name in "abcd"]
    for path, content in zip(paths, ["one", "two", "one", "three"], strict=True):
        path.write_text(content)
    return paths


def test_each_audio_is_judged_once_whatever_it_is_called(tmp_path: Path, clips: list[Path]):
    judge = Judge()
    memory = Memory(tmp_path, "judge", "weights 1")
    assert list(memory.recall(clips, judge)) == ["one", "two", "one", "three"]
    assert len(judge.asked) == 3
    assert list(Memory(tmp_path, "judge", "weights 1").recall(clips, judge)) == ["one", "two", "one", "three"]
    assert len(judge.asked) == 3


def test_other_weights_judge_anew(tmp_path: Path, clips: list[Path]):
    judge = Judge()
    for identity in ("weights 1", "weights 2"):
        list(Memory(tmp_path, "judge", identity).recall(clips, judge))
    assert len(judge.asked) == 6


def test_an_interrupted_scoring_goes_on_where_it_stopped(tmp_path: Path, clips: list[Path]):
    with pytest.raises(RuntimeError):
        list(Memory(tmp_path, "judge", "w").recall(clips, Judge(patience=2)))
    [file] = tmp_path.glob("judge-*.jsonl")
    file.write_text(file.read_text() + '["0123')  # and the power went while the next line was being written
    judge = Judge()
    assert list(Memory(tmp_path, "judge", "w").recall(clips, judge)) == ["one", "two", "one", "three"]
    assert [path.name for path in judge.asked] == ["d.flac"]
