"""The stage as a whole: an encoded voice in, a pack that the official package loads in a fresh process out."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, load_from_disk
from safetensors.numpy import load_file

from pipelines.data.encode import FEATURES, SPEAKER_FILE
from pipelines.train.finetune import Result
from tests.pipelines.train.voices import FULL, LORA, Voice, write_codes, write_processed
from voice import checkpoint
from voice.audio import write_wav
from voice.errors import InputError
from voice.pack import Kind, Reference, VoiceCard
from voice.tts import Qwen3TTS, Request

PROJECT = Path(__file__).resolve().parents[3]
METHODS = {"full": FULL, "lora": LORA}


@dataclass(frozen=True)
class Tuned:
    out: Path
    result: Result
    voice: Voice


@pytest.fixture(scope="module", params=METHODS)
def tuned(request: pytest.FixtureRequest, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    root = tmp_path_factory.mktemp("tuned")
    write_codes(root / "codes")
    write_processed(root / "processed")
    voice = Voice(root, tiny_folder)
    return Tuned(root / "finetuned", voice.train(METHODS[request.param], root / "finetuned"), voice)


def test_training_lowers_the_loss_and_says_how_much_moved(tuned: Tuned):
    curve, summary = tuned.result.history.curve, tuned.result.summary
    assert [step.side for step in curve] == ["eval", "train", "train", "eval", "train", "train", "eval"]
    assert curve[-1].loss < curve[0].loss
    assert summary["steps"] == 4
    assert 0.1 < summary["moved_share"]["layers"] <= 1.0
    assert 0 < summary["drift"]["layers"] < 0.2
    assert summary["moved_share"]["text_embedding"] == summary["moved_share"]["codec_embedding"] == 0


def test_stock_qwen_tts_speaks_the_tuned_voice_in_a_fresh_process(tuned: Tuned):
    code = (
        "import sys; from qwen_tts import Qwen3TTSModel; m = Qwen3TTSModel.from_pretrained(sys.argv[1]);"
        "w, r = m.generate_custom_voice('Hello.', speaker='Me', language='English', max_new_tokens=6);"
        "print('spoke', r, len(w[0]) > 0)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tuned.out)], capture_output=True, text=True, check=True)
    assert "spoke 24000 True" in result.stdout


def test_the_pack_loads_and_keeps_what_it_was_made_from(tuned: Tuned):
    card = VoiceCard.read(tuned.out)
    assert (card.name, card.speaker, card.kind, card.base) == ("Me", "me", Kind.FINETUNED, str(tuned.voice.model))
    assert card.base_revision == checkpoint.content_hash(tuned.voice.model)
    assert Reference.read(tuned.out).text == "Words."
    voice = Qwen3TTS.from_pack(tuned.out, device="cpu")
    assert len(voice.speak(Request("Hi.", "Me", language="en")).waveform) > 0
    weights, base = load_file(tuned.out / "model.safetensors"), load_file(tuned.voice.model / "model.safetensors")
    assert weights.keys() == base.keys()
    for name in weights:
        if name.startswith("speaker_encoder.") or "text_embedding" in name:
            np.testing.assert_array_equal(weights[name], base[name])


def test_a_tuned_checkpoint_still_clones_in_context(tuned: Tuned, tmp_path: Path):
    write_wav(tmp_path / "r.wav", np.sin(np.arange(24_000) / 20).astype(np.float32) * 0.1)
    model = checkpoint.load(tuned.out, device="cpu", dtype=torch.float32, cloning=True)
    voice = Qwen3TTS.zero_shot(model, Reference(tmp_path / "r.wav", "Words."), voice="me", in_context=True)
    assert len(voice.speak(Request("Hi.", "me", language="en")).waveform) > 0


def test_the_speakers_row_is_the_embedding(tuned: Tuned):
    row = checkpoint.load(tuned.out, device="cpu", dtype=torch.float32).model.config.talker_config.spk_id["me"]
    weights = load_file(tuned.out / "model.safetensors")
    embedding = load_file(tuned.voice.folders.codes / SPEAKER_FILE)["speaker_embedding"]
    np.testing.assert_array_equal(weights["talker.model.codec_embedding.weight"][row], embedding)


def test_a_stock_base_whose_first_loss_is_implausible_is_refused(voice: Voice, tmp_path: Path):
    with pytest.raises(InputError, match=r"2\.5 to 3\.0"):
        voice.train(FULL, tmp_path / "out", stock=True)
    assert not (tmp_path / "out").exists()


def test_codes_of_another_model_are_refused_by_clip(voice: Voice, tmp_path: Path):
    sides = load_from_disk(voice.folders.codes)
    row = {**sides["train"][0], "codes": [[999, 0, 0, 0]]}
    other = Voice(tmp_path / "other", voice.model)
    write_processed(other.folders.processed)
    train = Dataset.from_list([row, row], FEATURES)
    DatasetDict({"train": train, "eval": sides["eval"]}).save_to_disk(other.folders.codes)
    (other.folders.codes / SPEAKER_FILE).write_bytes((voice.folders.codes / SPEAKER_FILE).read_bytes())
    with pytest.raises(InputError, match="clip c0"):
        other.train(FULL, tmp_path / "out")


def test_the_command_line_checks_first_and_trains_nothing(tmp_path: Path):
    write_codes(tmp_path / "data/codes/me")
    result = subprocess.run(
        [sys.executable, "-m", "pipelines.train.finetune", "--preflight", "voice=me", "model=tiny"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert [line.split()[1] for line in result.stdout.splitlines() if line.startswith("ok")][:2] == ["device", "memory"]
    assert not (tmp_path / "models").exists()
