"""A LoRA voice on its own."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.train.adapter import CARD_FILE, apply_adapter
from tests.pipelines.train.voices import LORA, Voice
from voice.errors import InputError
from voice.pack import VoiceCard
from voice.tiny import LIKE_0_6B, build_tiny
from voice.tts import Qwen3TTS, Request


@pytest.fixture
def adapter(voice: Voice, tmp_path: Path) -> Path:
    voice.train(replace(LORA, lr=1e-2), tmp_path / "me")
    return tmp_path / "me" / "adapter"


def test_applied_to_its_base_an_adapter_is_the_merged_voice(adapter: Path, tmp_path: Path):
    apply_adapter(adapter, tmp_path / "applied", base=None, scale=1.0)
    merged, applied = (load_file(tmp_path / name / "model.safetensors") for name in ("me", "applied"))
    for name, tensor in merged.items():
        torch.testing.assert_close(applied[name], tensor)
    assert VoiceCard.read(tmp_path / "applied") == VoiceCard.read(tmp_path / "me")
    voice = Qwen3TTS.from_pack(tmp_path / "applied", device="cpu")
    assert len(voice.speak(Request("Hi.", "Me", language="en")).waveform) > 0


def test_the_scale_says_how_much_of_it_is_added(adapter: Path, tmp_path: Path, tiny_folder: Path):
    name = "talker.model.layers.0.mlp.up_proj.weight"
    base = load_file(tiny_folder / "model.safetensors")[name]
    added = load_file(tmp_path / "me" / "model.safetensors")[name] - base
    assert added.abs().max() > 1e-4
    for scale in (0.0, 0.5):
        apply_adapter(adapter, tmp_path / str(scale), base=None, scale=scale)
        scaled = load_file(tmp_path / str(scale) / "model.safetensors")[name] - base
        torch.testing.assert_close(scaled, scale * added, rtol=1e-4, atol=1e-7)


def test_a_base_of_another_shape_is_refused(adapter: Path, tmp_path: Path):
    build_tiny(tmp_path / "other", shape=LIKE_0_6B)
    with pytest.raises(InputError, match="does not fit"):
        apply_adapter(adapter, tmp_path / "out", base=str(tmp_path / "other"), scale=1.0)
    assert not (tmp_path / "out").exists()


def test_a_base_of_the_same_shape_but_other_weights_is_warned_of(
    adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    build_tiny(tmp_path / "other", seed=1)
    apply_adapter(adapter, tmp_path / "out", base=str(tmp_path / "other"), scale=1.0)
    assert "of another model" in caplog.text


def test_so_is_a_base_whose_weights_changed_where_they_lie(
    adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    build_tiny(tmp_path / "other", seed=1)
    card = json.loads((adapter / CARD_FILE).read_text())
    (adapter / CARD_FILE).write_text(json.dumps({**card, "base": str(tmp_path / "other")}))
    apply_adapter(adapter, tmp_path / "out", base=None, scale=1.0)
    assert "of another model" in caplog.text


def test_a_folder_that_is_no_adapter_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="is not an adapter"):
        apply_adapter(tmp_path, tmp_path / "out", base=None, scale=1.0)
