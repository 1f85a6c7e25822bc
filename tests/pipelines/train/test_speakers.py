"""Speakers in a checkpoint."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from pipelines.train.speakers import free_row, speaker_name
from tests.pipelines.train.voices import FULL, Voice
from voice import checkpoint
from voice.errors import InputError
from voice.tts import Qwen3TTS, Request


def test_a_second_speaker_gets_a_row_of_its_own():
    values = {
        "vocab_size": 3_072,
        "spk_id": {"a": 3_000},
        "codec_language_id": {"x": 3_001},
        "codec_eos_token_id": 2_150,
    }
    assert free_row(SimpleNamespace(to_dict=lambda: values)) == 3_002


def test_a_table_without_a_free_row_is_refused():
    values = {"vocab_size": 3_072, "spk_id": {str(row): row for row in range(3_000, 3_072)}}
    with pytest.raises(InputError, match="no free row"):
        free_row(SimpleNamespace(to_dict=lambda: values))


@pytest.mark.parametrize(("voice", "name"), [("Kathleen", "kathleen"), ("my-voice_2", "my-voice_2")])
def test_speaker_names_are_lower_case(voice: str, name: str):
    assert speaker_name(voice) == name


@pytest.mark.parametrize("voice", ["my voice", "", "a/b", "voice!"])
def test_a_name_that_cannot_be_looked_up_is_refused(voice: str):
    with pytest.raises(InputError, match="Use letters, digits"):
        speaker_name(voice)


def test_a_second_speaker_trained_into_a_checkpoint_keeps_the_first(voice: Voice, tmp_path: Path):
    voice.train(FULL, tmp_path / "first", name="Anna")
    voice.train(FULL, tmp_path / "both", name="Berta", model=tmp_path / "first")
    first, both = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "both"))
    table = "talker.model.codec_embedding.weight"
    model = checkpoint.load(tmp_path / "both", device="cpu", dtype=torch.float32)
    row = model.model.config.talker_config.spk_id["anna"]
    np.testing.assert_array_equal(both[table][row], first[table][row])
    for name in ("anna", "berta"):
        tts = Qwen3TTS.finetuned(model, voice=name, speaker=name)
        assert len(tts.speak(Request("Hi.", name, language="en")).waveform) > 0
    # the owner's own files, not the first one's
    assert '"name": "Berta"' in (tmp_path / "both" / "voice.json").read_text()


def test_a_name_that_the_base_has_already_is_refused(voice: Voice, tmp_path: Path):
    voice.train(FULL, tmp_path / "first", name="Anna")
    with pytest.raises(InputError, match="has a speaker 'anna' already"):
        voice.train(FULL, tmp_path / "again", name="ANNA", model=tmp_path / "first")
