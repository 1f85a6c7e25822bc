"""A voice to train."""

from pathlib import Path

import pytest

from tests.pipelines.train.voices import Voice, write_codes, write_processed


@pytest.fixture
def voice(tmp_path: Path, tiny_folder: Path) -> Voice:
    """Six clips, four of them to train on, and a model in the shape of the 1.7B one."""
    write_codes(tmp_path / "codes")
    write_processed(tmp_path / "processed")
    return Voice(tmp_path, tiny_folder)
