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


@pytest.mark.parametrize("was", ["file", "folder"])
@pytest.mark.parametrize("becomes", ["file", "folder"])
def test_a_file_or_folder_replaces_either(tmp_path: Path, was: str, becomes: str):
    out = tmp_path / "out"
    if was == "file":
        out.write_text("old")
    else:
        out.mkdir()
    with publish(out) as draft:
        if becomes == "file":
            draft.write_text("new")
        else:
            draft.mkdir()
    assert out.is_dir() == (becomes == "folder")
    assert list(tmp_path.iterdir()) == [out]


def test_a_file_is_there_at_every_moment_of_its_replacement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "out"
    out.write_text("old")
    replace = Path.replace

    def stopped(path: Path, target: Path) -> Path:
        assert target.read_text() == "old"
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stopped)
    with publish(out) as draft:
        draft.write_text("new")
    assert out.read_text() == "new"
