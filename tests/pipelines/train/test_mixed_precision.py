"""bf16 autocast over float32 weights, what is frozen in bf16: as on CUDA, tried on the CPU."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from pipelines.train.parts import set_trainable
from pipelines.train.prepare import Prepared, fit_memory, prepare
from pipelines.train.settings import Checkpointing, Train
from tests.pipelines.train.voices import FULL, LORA, Voice
from voice.tts import Qwen3TTS, Request


@pytest.fixture
def bf16():  # type: ignore[no-untyped-def]
    AcceleratorState._reset_state(reset_partial_state=True)
    yield Accelerator(cpu=True, mixed_precision="bf16")
    AcceleratorState._reset_state(reset_partial_state=True)


def prepared(
    voice: Voice, train: Train, accelerator: Accelerator, *, frozen_dtype: torch.dtype, own_history: float = 0.0
) -> Prepared:
    config = voice.settings(train, own_history=own_history)
    ready = prepare(config.voice, config.model, train, voice.folders.codes, accelerator)
    set_trainable(ready.tts.model.talker, train.rates, train.lora, frozen_dtype=frozen_dtype)
    return ready


@pytest.mark.parametrize("checkpointing", [Checkpointing.always, Checkpointing.never])
@pytest.mark.parametrize("train", [FULL, LORA], ids=["full", "lora"])
def test_an_update_in_bf16_loses_what_one_in_float32_loses(
    voice: Voice, bf16: Accelerator, train: Train, checkpointing: Checkpointing
):
    train = replace(train, gradient_checkpointing=checkpointing)
    ready = prepared(voice, train, bf16, frozen_dtype=torch.bfloat16)
    fit_memory(ready, bf16)
    first = ready.trainer.update()
    reference = prepared(voice, train, bf16, frozen_dtype=torch.float32)
    with torch.no_grad():
        losses = reference.trainer.objective(reference.trainer.probes()[1])
    assert first.loss == pytest.approx(losses.total.item(), rel=0.05)
    for _ in range(2):
        step = ready.trainer.update()
    assert step.gradient_norm > 0
    assert {p.dtype for p in ready.trainer.parameters.values()} == {torch.float32}
    frozen = {p.dtype for p in ready.tts.model.talker.parameters() if not p.requires_grad}
    assert frozen == {torch.bfloat16}


@pytest.mark.parametrize("checkpointing", [Checkpointing.always, Checkpointing.never])
@pytest.mark.parametrize("train", [FULL, LORA], ids=["full", "lora"])
def test_everything_moves_where_it_is_told_what_it_says_itself(
    voice: Voice, bf16: Accelerator, train: Train, checkpointing: Checkpointing
):
    train = replace(train, gradient_checkpointing=checkpointing, weight_decay=0.0)
    ready = prepared(voice, train, bf16, frozen_dtype=torch.bfloat16, own_history=1.0)
    fit_memory(ready, bf16)
    before = {name: p.detach().clone() for name, p in ready.trainer.parameters.items()}
    for _ in range(2):  # an adapter's first half moves once the second has
        ready.trainer.update()
    assert [name for name, p in ready.trainer.parameters.items() if torch.equal(p, before[name])] == []


@pytest.mark.parametrize("train", [FULL, LORA], ids=["full", "lora"])
def test_the_model_in_training_speaks_under_autocast(voice: Voice, bf16: Accelerator, train: Train):
    ready = prepared(voice, train, bf16, frozen_dtype=torch.bfloat16)
    ready.trainer.update()
    tts = Qwen3TTS.finetuned(ready.tts, voice="Me", speaker=ready.speaker)
    with bf16.autocast():
        speech = tts.speak(Request("Hi.", "Me", language="en"))
    assert len(speech.waveform) > 0
    assert torch.isfinite(torch.from_numpy(speech.waveform)).all()
