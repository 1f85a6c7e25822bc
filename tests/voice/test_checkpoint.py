import shutil
from pathlib import Path

import pytest

from voice import checkpoint
from voice.errors import InputError
from voice.tiny import build_tiny


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def test_tiny_is_the_same_wherever_it_is_built(tmp_path: Path):
    for name in ("a", "b"):
        build_tiny(tmp_path / name)
    assert checkpoint.content_hash(tmp_path / "a") == checkpoint.content_hash(tmp_path / "b")


def test_a_folder_is_resolved_to_its_content(folder: Path):
    before = checkpoint.resolve(str(folder))
    assert before.path == folder
    (folder / "generation_config.json").write_text("{}")
    assert checkpoint.resolve(str(folder)).revision != before.revision


def test_a_folder_of_another_revision_is_refused(folder: Path):
    revision = checkpoint.resolve(str(folder)).revision
    assert checkpoint.resolve(str(folder), revision).revision == revision
    with pytest.raises(InputError, match=f"holds {revision}, not revision 0123"):
        checkpoint.resolve(str(folder), "0123")


def test_when_a_folder_was_downloaded_is_not_its_content(folder: Path):
    before = checkpoint.content_hash(folder)
    (folder / ".cache/huggingface").mkdir(parents=True)
    (folder / ".cache/huggingface/model.safetensors.metadata").write_text("noon")
    assert checkpoint.content_hash(folder) == before


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json", "speech_tokenizer/model.safetensors"])
def test_a_base_without_its_parts_is_refused_by_name(folder: Path, missing: str):
    (folder / missing).unlink()
    with pytest.raises(InputError, match="Download the whole folder again"):
        checkpoint.resolve(str(folder))


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="does not exist"):
        checkpoint.resolve("/no/such/folder")


def test_without_a_hub_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="Go online") as error:
        checkpoint.resolve("Qwen/Qwen3-TTS-12Hz-0.6B-Base")
    assert "\n" not in str(error.value)
