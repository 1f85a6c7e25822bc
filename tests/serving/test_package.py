"""The pack of the voice that ships."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines.model import Model
from serving.package import Package, assemble
from tests.sounds import noise
from voice.audio import write_wav
from voice.pack import Kind


def test_a_zero_shot_pack_leaves_a_clones_history_and_the_hubs_notes_behind(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    base = Path(shutil.copytree(tiny_folder, tmp_path / "base"))
    for hidden in (".git/objects/weights", ".cache/huggingface/download/model.safetensors.metadata"):
        (base / hidden).parent.mkdir(parents=True)
        (base / hidden).write_text("downloaded at noon")
    for folder in ("reports/me", "data/processed/me"):
        Path(folder).mkdir(parents=True)
    metrics = {"systems": {}, "decision": {"winner": "zero_shot"}}
    Path("reports/me/metrics.json").write_text(json.dumps(metrics))
    write_wav(Path("data/processed/me/reference.wav"), noise(1.0))
    Path("data/processed/me/reference.txt").write_text("Some words.")
    model = Model(source=str(base), revision=None, stock=False, lr_scale=1.0, epochs_scale=1, own_history=0.0)
    kind = assemble(Package("me", "en", model), Path("pack"))
    assert kind is Kind.ZERO_SHOT
    assert not list(Path("pack").rglob(".*"))
    assert {"model.safetensors", "reference.wav", "voice.json"} <= {path.name for path in Path("pack").iterdir()}
