"""A checkpoint that is taken apart: its trainings go on from it, and nothing of it is lost."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from pipelines.pretrain import nano
from pipelines.pretrain.corpus import read_side
from pipelines.pretrain.run import fit, resume
from pipelines.pretrain.speaker.data import Voices
from pipelines.pretrain.speaker.train import Trainer as SpeakerTrainer
from pipelines.pretrain.unpack import Unpack, unpack
from pipelines.pretrain.weights import step_of
from tests.pipelines.pretrain import shapes, test_codec, test_speaker, test_talker
from tests.pipelines.pretrain.conftest import crops_of
from voice.errors import InputError
from voice.stage import CONF


@pytest.fixture(scope="module")
def packed(work: Path) -> Path:
    """A checkpoint whose talker took three steps."""
    training = test_talker.trainer(work, replace(test_talker.SCHEDULE, steps=3))
    fit(training, work / "talker", test_talker.SCHEDULE)
    assemble(work, work / "nano")
    return work / "nano"


def assemble(parts: Path, out: Path) -> None:
    config = nano.Nano(
        shape=shapes.TALKER_SHAPE, out="", generation={},
        codec=str(parts / "codec"), speaker=str(parts / "speaker"), talker=str(parts / "talker"),
    )  # fmt: skip
    nano.assemble(config, out)


def settings(checkpoint: Path, out: Path) -> Unpack:
    return Unpack(checkpoint=str(checkpoint), codec=shapes.CODEC_SHAPE, speaker=shapes.SPEAKER_SHAPE, out=str(out))


def test_taken_apart_and_put_together_it_is_the_same(packed, tmp_path):
    unpack(settings(packed, tmp_path / "parts"))
    assemble(tmp_path / "parts", tmp_path / "again")
    for part in (".", "speech_tokenizer"):
        one, other = (load_file(folder / part / "model.safetensors") for folder in (packed, tmp_path / "again"))
        assert one.keys() == other.keys()
        for name, tensor in one.items():
            assert torch.equal(tensor, other[name]), name
    for part, name in ((".", "talker"), (".", "speaker"), ("speech_tokenizer", "codec")):
        assert step_of(packed / part, name) == step_of(tmp_path / "again" / part, name) > 0


def test_its_codec_goes_on_and_codes_stay(packed, work, tmp_path):
    unpack(settings(packed, tmp_path))
    codec = test_codec.trainer(crops_of(work), seed=5)
    assert resume(codec, tmp_path / "codec", device="cpu")
    books = codec.codec.rest.vectors.clone()
    codec.steps += 5
    assert codec.learning_rate() < test_codec.SOUND.lr  # warms up
    for _ in range(5):
        codec.take_step()
    assert torch.equal(codec.codec.rest.vectors, books)


def test_its_speaker_encoder_needs_no_further_step(packed, work, tmp_path):
    unpack(settings(packed, tmp_path))
    [shard] = read_side(work / "corpus", "train")
    training = SpeakerTrainer(shapes.SPEAKER_SHAPE, Voices([shard], seed=0), test_speaker.SCHEDULE)
    assert resume(training, tmp_path / "speaker", device="cpu")
    assert training.step == 1


def test_its_talker_goes_on_where_it_was(packed, work, tmp_path):
    unpack(settings(packed, tmp_path))
    training = test_talker.trainer(work, seed=5)
    assert resume(training, tmp_path / "talker", device="cpu")
    assert training.step == 3
    before = load_file(packed / "model.safetensors")["talker.codec_head.weight"].float()
    torch.testing.assert_close(training.talker.codec_head.weight.detach(), before)
    training.take_step()
    assert training.step == 4


def test_a_training_that_has_a_state_keeps_it(packed, work, tmp_path):
    (tmp_path / "talker").mkdir()
    (tmp_path / "talker" / "state.pt").write_bytes(b"mine")
    unpack(settings(packed, tmp_path))
    assert (tmp_path / "talker" / "state.pt").read_bytes() == b"mine"
    assert (tmp_path / "codec" / "state.pt").is_file()


def test_a_checkpoint_that_knows_no_steps_is_refused(packed, tmp_path):
    tensors = load_file(packed / "model.safetensors")
    other = shutil.copytree(packed, tmp_path / "other")
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="does not say how long its"):
        unpack(settings(other, tmp_path / "parts"))


def test_the_stage_knows_the_widths_of_nano():
    with initialize_config_dir(str(CONF), version_base=None):
        config = OmegaConf.to_object(compose("unpack"))
    assert isinstance(config, Unpack)
    assert config.speaker.dimensions == 256
    assert config.codec.codebooks == 6


def test_other_widths_are_one_clear_line(packed, tmp_path):
    config = settings(packed, tmp_path)
    config.codec = replace(config.codec, encoder_hidden=24)
    with pytest.raises(InputError, match=r"other widths than conf/nano/codec\.yaml"):
        unpack(config)
    config = settings(packed, tmp_path)
    config.speaker = replace(config.speaker, channels=8)
    with pytest.raises(InputError, match=r"other widths than conf/nano/speaker\.yaml"):
        unpack(config)
    assert not list(tmp_path.rglob("*.pt"))
