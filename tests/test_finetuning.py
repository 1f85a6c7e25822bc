"""What the project exists for: fine-tuning brings the model that ships nearer to a voice that it never heard."""

import json
from pathlib import Path

import pytest

from tests.stages import run_all

PROJECT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_demo_voice_is_nearer_to_itself_after_finetuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for shared in ("data/raw/demo", "data/other_speaker", "pretrained"):
        (tmp_path / shared).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / shared).symlink_to(PROJECT / shared)
    monkeypatch.chdir(tmp_path)
    run_all("demo")
    gain = json.loads((tmp_path / "reports/demo/headline.json").read_text())["finetuned_minus_zero_shot"]
    assert gain["sim_resemblyzer"]["low"] > 0
    assert gain["wer_pocketsphinx"]["low"] <= 0
