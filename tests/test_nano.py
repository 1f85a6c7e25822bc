"""The model that ships: its files are small, `qwen_tts` loads it and it speaks,
and its trainings can go on from it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from pipelines.pretrain.unpack import unpack
from tests.sounds import spoken_by
from voice import checkpoint
from voice.audio import FRAME_SAMPLES, SAMPLE_RATE
from voice.engine.engine import Engine
from voice.engine.voices import clone
from voice.request import Request
from voice.stage import CONF
from voice.tts import Qwen3TTS

NANO = CONF.parent / "pretrained" / "nano"


@pytest.fixture(scope="module")
def nano() -> Any:
    return checkpoint.load(NANO, device="cpu", dtype=torch.float32, cloning=True)


def test_its_files_are_small():
    sizes = [path.stat().st_size for path in NANO.rglob("*") if path.is_file()]
    assert sum(sizes) <= 40e6
    assert max(sizes) <= 16e6


def test_the_choice_of_it_names_its_content():
    choice = OmegaConf.load(CONF / "model" / "nano.yaml")  # `dvc repro` sees by it that the weights are others
    assert choice.revision == checkpoint.content_hash(NANO)


def test_it_clones_a_voice_that_it_never_heard(nano: Any):
    reference = spoken_by((600.0, 1_300.0), seed=0, seconds=3.0)
    tts = Qwen3TTS(Engine.of(nano), clone(nano, "me", [reference], None))
    [speech] = tts.batch([Request("The old man looked at the sea.", "me", language="en")])
    assert not speech.runaway
    assert 1.0 < len(speech.waveform) / SAMPLE_RATE < 6.0
    assert len(speech.waveform) % FRAME_SAMPLES == 0
    assert np.sqrt(np.mean(np.square(speech.waveform))) > 0.01


def test_its_trainings_can_go_on_from_it(tmp_path: Path):
    with initialize_config_dir(str(CONF), version_base=None):
        config: Any = OmegaConf.to_object(compose("unpack", overrides=[f"out={tmp_path}", f"checkpoint={NANO}"]))
    unpack(config)
    assert {path.parent.name for path in tmp_path.glob("*/state.pt")} == {"codec", "speaker", "talker"}
