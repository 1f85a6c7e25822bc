"""The stage as a whole: an encoded voice in, a pack that the official package loads in a fresh process out."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import DatasetDict
from safetensors.numpy import load_file, save_file

from pipelines.data.encode import FEATURES, SPEAKER_FILE
from pipelines.model import Model
from pipelines.train.export import free_speaker_row, speaker_name
from pipelines.train.finetune import Finetune, Train, train_voice
from pipelines.train.lora import Lora
from voice import checkpoint
from voice.audio import write_wav
from voice.errors import InputError
from voice.pack import Kind, Reference, VoiceCard
from voice.tts import Qwen3TTS, Request

FULL = Train(
    lora=None, lr=1e-3, weight_decay=0.01, epochs=2, batch_size=2, warmup_share=0.1, clip_norm=1.0, tag_probability=0.5,
    train_code_predictor=True, gradient_checkpointing=True, max_first_loss=6.0, seed=0,
)  # fmt: skip
METHODS = {"full": FULL, "lora": replace(FULL, lora=Lora(rank=4, alpha=4, dropout=0.0))}


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from datasets import Dataset

    folder = tmp_path_factory.mktemp("codes") / "me"
    generator = np.random.default_rng(0)
    rows = [
        {
            "id": f"c{i}",
            "text": f"Clip number {i}.",
            "language": "en",
            "codes": generator.integers(0, 64, (8 + i, 4)).tolist(),
        }
        for i in range(6)
    ]
    sides = {"train": Dataset.from_list(rows[:4], FEATURES), "eval": Dataset.from_list(rows[4:], FEATURES)}
    DatasetDict(sides).save_to_disk(folder)
    save_file({"speaker_embedding": generator.standard_normal(64).astype(np.float32)}, folder / SPEAKER_FILE)
    return folder


def settings(tiny_folder: Path, train: Train, *, stock: bool = False) -> Finetune:
    return Finetune("Me", "en", Model(str(tiny_folder), None, stock=stock), train)


@pytest.fixture(scope="module", params=METHODS)
def tuned(
    request: pytest.FixtureRequest, tiny_folder: Path, codes: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    out = tmp_path_factory.mktemp("tuned") / "finetuned"
    curve, summary = train_voice(settings(tiny_folder, METHODS[request.param]), codes, out)
    return out, curve, summary


def test_training_lowers_the_loss_and_says_how_much_moved(tuned: Any):
    _, curve, summary = tuned
    assert [step.side for step in curve] == ["eval", "train", "train", "eval", "train", "train", "eval"]
    assert curve[-2].loss < curve[1].loss
    assert summary["steps"] == 4
    assert 0.05 < summary["parameters_moved_share"] <= 1.0


def test_stock_qwen_tts_speaks_the_tuned_voice_in_a_fresh_process(tuned: Any):
    code = (
        "import sys; from qwen_tts import Qwen3TTSModel; m = Qwen3TTSModel.from_pretrained(sys.argv[1]);"
        "w, r = m.generate_custom_voice('Hello.', speaker='Me', language='English', max_new_tokens=6);"
        "print('spoke', r, len(w[0]) > 0)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tuned[0])], capture_output=True, text=True, check=True)
    assert "spoke 24000 True" in result.stdout


def test_the_pack_loads_and_keeps_what_cloning_needs(tuned: Any, tiny_folder: Path, tmp_path: Path):
    card = VoiceCard.read(tuned[0])
    assert (card.name, card.speaker, card.kind, card.base) == ("Me", "me", Kind.FINETUNED, str(tiny_folder))
    assert card.base_revision == checkpoint.content_hash(tiny_folder)
    voice = Qwen3TTS.from_pack(tuned[0], device="cpu")
    assert len(voice.speak(Request("Hi.", "Me", language="en")).waveform) > 0
    weights, base = load_file(tuned[0] / "model.safetensors"), load_file(tiny_folder / "model.safetensors")
    assert weights.keys() == base.keys()
    for name in weights:
        if name.startswith("speaker_encoder.") or "text_embedding" in name:
            np.testing.assert_array_equal(weights[name], base[name])

    # set back to `base`, the checkpoint clones again
    config = json.loads((tuned[0] / "config.json").read_text())
    clone = tmp_path / "clone"
    clone.mkdir()
    for path in tuned[0].iterdir():
        (clone / path.name).symlink_to(path)
    (clone / "config.json").unlink()
    (clone / "config.json").write_text(json.dumps({**config, "tts_model_type": "base"}))
    write_wav(tmp_path / "r.wav", np.sin(np.arange(24_000) / 20).astype(np.float32) * 0.1)
    model = checkpoint.load(clone, device="cpu", dtype=torch.float32)
    Qwen3TTS.zero_shot(model, Reference(tmp_path / "r.wav", "Words."), voice="me", in_context=True)


def test_the_speakers_row_is_the_embedding(tuned: Any, codes: Path):
    config = json.loads((tuned[0] / "config.json").read_text())
    row = config["talker_config"]["spk_id"]["me"]
    weights = load_file(tuned[0] / "model.safetensors")
    embedding = load_file(codes / SPEAKER_FILE)["speaker_embedding"]
    np.testing.assert_array_equal(weights["talker.model.codec_embedding.weight"][row], embedding)


def test_the_same_settings_train_the_same_weights(tiny_folder: Path, codes: Path, tmp_path: Path):
    for name in ("a", "b"):
        train_voice(settings(tiny_folder, replace(FULL, epochs=1)), codes, tmp_path / name)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b"))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_a_stock_base_whose_first_loss_is_implausible_is_refused(tiny_folder: Path, codes: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"2\.5 to 3\.0"):
        train_voice(settings(tiny_folder, FULL, stock=True), codes, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_not_a_number_stops_the_training(tiny_folder: Path, codes: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"Lower train\.lr"):
        train_voice(settings(tiny_folder, replace(FULL, lr=1e30, clip_norm=1e30)), codes, tmp_path / "out")


def test_codes_of_another_model_are_refused_by_clip(tiny_folder: Path, codes: Path, tmp_path: Path):
    from datasets import Dataset, load_from_disk

    sides = load_from_disk(codes)
    row = {**sides["train"][0], "codes": [[999, 0, 0, 0]]}
    DatasetDict({"train": Dataset.from_list([row], FEATURES), "eval": sides["eval"]}).save_to_disk(tmp_path / "codes")
    (tmp_path / "codes" / SPEAKER_FILE).write_bytes((codes / SPEAKER_FILE).read_bytes())
    with pytest.raises(InputError, match="clip c0"):
        train_voice(settings(tiny_folder, FULL), tmp_path / "codes", tmp_path / "out")


def test_a_second_speaker_gets_a_row_of_its_own():
    config = {
        "talker_config": {
            "vocab_size": 3_072,
            "spk_id": {"a": 3_000},
            "codec_language_id": {"x": 3_001},
            "codec_eos_token_id": 2_150,
        }
    }
    assert free_speaker_row(config) == 3_002


@pytest.mark.parametrize(("voice", "name"), [("Kathleen", "kathleen"), ("my-voice_2", "my-voice_2")])
def test_speaker_names_are_lower_case(voice: str, name: str):
    assert speaker_name(voice) == name
