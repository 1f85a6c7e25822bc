"""What the project exists for: fine-tuning brings the model that ships nearer to a voice that it never heard."""

import json
from pathlib import Path

import pytest

from tests.stages import run_all, share


@pytest.mark.slow
def test_the_demo_voice_is_nearer_to_itself_after_finetuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    share(tmp_path, "data/raw/demo", "data/other_speaker", "pretrained")
    monkeypatch.chdir(tmp_path)
    run_all("demo")
    headline = json.loads((tmp_path / "reports/demo/headline.json").read_text())
    assert headline["verdict"] == "fine-tuned wins"
    assert headline["finetuned_minus_zero_shot"]["sim_resemblyzer"]["low"] > 0
    # in context `nano` is badly understood: the clone by the embedding is harder to keep up with
    words = [headline[system]["wer_pocketsphinx"] for system in ("finetuned", "zero_shot_embedding")]
    assert words[0] < words[1] + 0.15
