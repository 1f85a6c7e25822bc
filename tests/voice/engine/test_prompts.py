"""Prompts read in stretches are what they are when read at once, whoever came before and whatever else goes on."""

from typing import Any

import pytest
import torch

from tests.voice.engine.checkpoints import begin, core_of
from voice.engine import prompts
from voice.engine.core import Core, Utterance
from voice.engine.voices import Voice
from voice.request import Request, Sampling

STRETCH = 16


@pytest.fixture(scope="module")
def voice(tiny: Any) -> Voice:
    config = tiny.model.config.talker_config
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 64, (50, config.num_code_groups), generator=generator)
    embedding = torch.randn(config.hidden_size, generator=generator)
    return Voice("me", embedding=embedding, words=tuple(range(1, 30)), codes=codes)


@pytest.fixture
def core(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> Core:
    monkeypatch.setitem(prompts.STRETCH, "cpu", STRETCH)
    return core_of(tiny, slots=2)


def lay_out(core: Core, voice: Voice, text: str = "Some words, and then a few more of them.") -> Utterance:
    return core.lay_out(Request(text, "me", seed=1, sampling=Sampling()), voice, budget=12)


def read(core: Core, utterance: Utterance, slot: int = 0) -> torch.Tensor:
    begin(core, slot, utterance)
    return core.frames.slots.logits[slot].clone()


def test_stretches_give_what_the_whole_gives(core: Core, tiny: Any, voice: Voice, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(prompts.STRETCH, "cpu", 10_000)
    at_once = core_of(tiny, slots=2)
    torch.testing.assert_close(
        read(core, lay_out(core, voice)), read(at_once, lay_out(at_once, voice)), atol=1e-5, rtol=0
    )


def test_stretches_are_as_long_as_they_may_be_and_part_what_is_shared(core: Core, voice: Voice):
    utterance = lay_out(core, voice)
    core.begin(0, utterance)
    reading, ends = core._prompts._readings[0], []
    while not core.read_prompt(0):
        ends.append(reading.at)
    ends.append(reading.at)
    assert utterance.opening.shared in ends
    assert ends[-1] == len(reading.inputs) == utterance.at
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert max(lengths) == STRETCH
    assert sum(length < STRETCH for length in lengths) <= 2


def test_a_prompt_whose_beginning_is_kept_gives_the_same_bit_for_bit(core: Core, voice: Voice):
    first = read(core, lay_out(core, voice))
    core.end(0)
    core.begin(1, again := lay_out(core, voice))
    core.read_prompt(1)
    assert core._prompts._readings[1].at == again.opening.shared + STRETCH
    core.end(1)
    assert torch.equal(read(core, lay_out(core, voice), 1), first)


def test_padding_changes_nothing(core: Core, voice: Voice):
    """What a CUDA graph runs, here without one."""
    expected = read(core, utterance := lay_out(core, voice))
    core.end(0)
    core.begin(1, utterance)
    inputs, talker = core._prompts._readings[1].inputs, core.frames.talker
    half = len(inputs) // 2
    for start, end, bucket in ((0, half, half + 9), (half, len(inputs), len(inputs) - half)):
        padded = torch.zeros(bucket, inputs.shape[1])
        padded[: end - start] = inputs[start:end]
        at = torch.arange(start, start + bucket)
        _, logits = talker.read_padded(padded, torch.tensor([1]), at, torch.tensor([end - start - 1]), 256)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


def test_frames_of_others_leave_alone_what_has_been_read(core: Core, voice: Voice):
    """On CUDA a frame writes a position of every slot, idle ones too."""
    expected = read(core, lay_out(core, voice), 1)
    core.end(1)
    read(core, lay_out(core, voice, "Others."), 0)
    core.begin(1, lay_out(core, voice))
    frames = core.frames
    while True:
        frames.slots.active.copy_(torch.tensor([True, False]))
        frames.read(frames.talker.attend_by_mask(frames.slots.at, 256))
        if core.read_prompt(1):
            break
    torch.testing.assert_close(frames.slots.logits[1], expected, atol=1e-5, rtol=0)
