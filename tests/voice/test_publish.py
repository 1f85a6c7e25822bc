from pathlib import Path

import pytest

from voice.publish import publish


def test_a_folder_appears_whole(tmp_path: Path):
    out = tmp_path / "deep" / "out"
    with publish(out) as draft:
        draft.mkdir()
        (draft / "a").write_text("new")
        assert not out.exists()
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path):
    out = tmp_path / "out"
    out.write_text("old")
    with pytest.raises(RuntimeError), publish(out) as draft:
        draft.write_text("half")
        raise RuntimeError
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_what_was_there_is_replaced(tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "stale").touch()
    with publish(out) as draft:
        draft.mkdir()
        (draft / "fresh").touch()
    assert [p.name for p in out.iterdir()] == ["fresh"]
