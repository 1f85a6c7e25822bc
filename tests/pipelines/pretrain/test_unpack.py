"""A checkpoint that is taken apart: its trainings go on from it, and nothing of it is lost."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipelines.pretrain import nano
from pipelines.pretrain.run import fit, resume
from pipelines.pretrain.unpack import Unpack, unpack
from pipelines.pretrain.weights import step_of
from tests.pipelines.pretrain import shapes, test_talker
from voice.errors import InputError


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
            torch.testing.assert_close(tensor, other[name], rtol=1e-2, atol=0.0)  # the 16 bits may round once more
        assert step_of(packed / part) == step_of(tmp_path / "again" / part) > 0


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


def test_other_widths_are_one_clear_line(packed, tmp_path):
    config = settings(packed, tmp_path)
    config.codec = replace(config.codec, encoder_hidden=24)
    with pytest.raises(InputError, match=r"other widths than conf/nano/codec\.yaml"):
        unpack(config)
    assert not list(tmp_path.rglob("*.pt"))
