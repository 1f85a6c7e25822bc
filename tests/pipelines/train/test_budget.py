"""What a training needs of memory."""

from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator

from pipelines.train.budget import Budget, measure_activations
from pipelines.train.prepare import Prepared, fit_memory, prepare
from pipelines.train.settings import Checkpointing, Optimizer, Train
from tests.pipelines.train.voices import FULL, LORA, Voice
from voice.errors import InputError


def prepared(voice: Voice, train: Train) -> Prepared:
    config = voice.settings(train)
    return prepare(config.voice, config.model, train, voice.folders.codes, Accelerator(cpu=True))


def budget(voice: Voice, train: Train) -> Budget:
    return fit_memory(prepared(voice, train), Accelerator(cpu=True))


def test_gradients_and_moments_are_counted_by_what_moves(voice: Voice):
    full, eight_bit = budget(voice, FULL), budget(voice, replace(FULL, optimizer=Optimizer.adamw_8bit))
    adapters = budget(voice, LORA)
    moving = sum(p.numel() for p in prepared(voice, FULL).trainer.parameters.values())
    assert full.gradients == 4 * moving
    assert full.moments == 8 * moving
    assert eight_bit.moments < 0.3 * full.moments
    assert adapters.gradients < 0.3 * full.gradients
    assert adapters.weights > full.weights  # the adapters come on top


def test_activations_are_what_autograd_keeps(voice: Voice):
    ready = prepared(voice, FULL)
    trainer = ready.trainer
    short, long = (trainer.probe(positions=n) for n in (10, 10_000))
    sizes = [
        measure_activations(trainer.objective, b, positions=b.text.numel(), autocast=Accelerator(cpu=True).autocast)
        for b in (short, long)
    ]
    growth = long.text.numel() / short.text.numel()
    assert growth > 3
    assert sizes[1][0] / sizes[0][0] == pytest.approx(growth, rel=0.3)
    assert all(checkpointed < 0.7 * kept for kept, checkpointed in sizes)


@pytest.mark.parametrize(
    ("choice", "room", "on"),
    [("auto", 1e12, False), ("auto", 1e6, True), ("always", 1e12, True), ("never", 1e6, False)],
)
def test_gradient_checkpointing_is_on_where_it_is_needed(
    voice: Voice, monkeypatch: pytest.MonkeyPatch, choice: str, room: float, on: bool
):
    monkeypatch.setattr(
        "pipelines.train.prepare.available_memory", lambda device, *, held: held + (room if held else 1e12)
    )
    ready = prepared(voice, replace(FULL, gradient_checkpointing=Checkpointing(choice)))
    fit_memory(ready, Accelerator(cpu=True))
    assert ready.tts.model.talker.model.gradient_checkpointing is on


def test_checkpointing_changes_no_update(voice: Voice):
    losses = []
    for choice in (Checkpointing.always, Checkpointing.never):
        ready = prepared(voice, replace(LORA, gradient_checkpointing=choice))
        fit_memory(ready, Accelerator(cpu=True))
        losses.append([ready.trainer.update().loss for _ in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def example(**sizes: float) -> Budget:
    return Budget(**{"weights": 4e9, "gradients": 4e9, "moments": 8e9, "activations": 1e9, "available": 24e9, **sizes})


@pytest.mark.parametrize(
    ("sizes", "remedy"),
    [
        ({"activations": 20e9}, "Lower train.max_positions"),
        ({"available": 16e9}, "adamw_8bit"),
        ({"available": 6e9}, "train=lora"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_helps(sizes: dict[str, float], remedy: str):
    with pytest.raises(InputError, match=f"needs .* GB of .* GB .*{remedy}"):
        example(**sizes).require_fit()


def test_what_fits_is_let_through():
    example().require_fit()


def test_a_model_larger_than_the_memory_is_refused_before_it_is_loaded(voice: Voice, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipelines.train.prepare.available_memory", lambda device, *, held: 1_000.0)
    monkeypatch.setattr("voice.checkpoint.load", lambda *_, **__: pytest.fail("was loaded"))
    with pytest.raises(InputError, match=r"in float32, 0\.0 GB are free"):
        prepared(voice, FULL)


def test_measuring_leaves_no_gradient(voice: Voice):
    ready = prepared(voice, FULL)
    fit_memory(ready, Accelerator(cpu=True))
    assert all(p.grad is None for p in ready.trainer.parameters.values())
    assert not any(torch.isnan(p).any() for p in ready.trainer.parameters.values())
