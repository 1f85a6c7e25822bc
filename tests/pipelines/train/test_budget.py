"""What a training needs of memory."""

import gc
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from pipelines.train import budget as budgets
from pipelines.train.budget import Budget, listening_bytes, measure_activations
from pipelines.train.dataset import Batch, collate, lay_out
from pipelines.train.prepare import Prepared, fit_memory, prepare
from pipelines.train.settings import Checkpointing, Optimizer, Train
from tests.pipelines.train.voices import FULL, LORA, Voice, write_codes
from voice.engine.engine import Engine
from voice.errors import InputError
from voice.tts import Layout


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


def kept_by_autograd(ready: Prepared, batch: Batch) -> float:
    """Counted another way: by storage, of all that the graph of one forward pass holds."""
    parameters = {p.untyped_storage().data_ptr() for p in ready.tts.model.talker.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = ready.trainer.objective(batch)
    del losses
    return float(sum(size for address, size in saved.items() if address not in parameters))


def test_activations_of_a_large_batch_are_foretold_from_two_small_ones(voice: Voice):
    write_codes(voice.root / "codes", clips=40)
    ready = prepared(voice, FULL)
    accelerator, trainer = Accelerator(cpu=True), ready.trainer
    small, large = trainer.probes()
    assert small.text.numel() < large.text.numel()
    clips = ready.material.train
    prompts = [lay_out(c, ready.material.vocabulary, tagged=True, layout=Layout.WHOLE) for c in clips]
    eos = ready.material.vocabulary.codec_eos
    whole = collate(clips, prompts, ready.material.speaker_embedding, codec_eos=eos)
    kept, checkpointed = measure_activations(
        trainer.objective, (small, large), positions=whole.text.numel(), autocast=accelerator.autocast
    )
    assert kept == pytest.approx(kept_by_autograd(ready, whole), rel=0.15)
    assert checkpointed < 0.7 * kept


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


def example(**sizes: Any) -> Budget:
    return Budget(**{"weights": 4e9, "gradients": 4e9, "moments": 8e9, "activations": 1e9, "available": 24e9, **sizes})


@pytest.mark.parametrize(
    ("sizes", "remedy"),
    [
        ({"activations": 20e9}, "Lower train.max_positions"),
        ({"available": 16e9}, "adamw_8bit"),
        ({"available": 6e9}, "train=lora"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_helps(sizes: dict[str, Any], remedy: str):
    with pytest.raises(InputError, match=f"needs .* GB of .* GB .*{remedy}"):
        example(**sizes).require_fit()


def test_what_fits_is_let_through():
    example().require_fit()


def tensor_bytes(known: set[int]) -> tuple[float, set[int]]:
    """Bytes of all tensors that are alive and lie elsewhere than the known ones."""
    gc.collect()
    alive = [o for o in gc.get_objects() if type(o) is torch.Tensor or type(o) is torch.nn.Parameter]
    sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in alive}
    return float(sum(size for address, size in sizes.items() if address not in known)), set(sizes)


def test_what_a_listening_takes_is_foretold(tiny: Any):
    _, before = tensor_bytes(set())
    engine = Engine.of(tiny, slots=budgets.LISTENING_SLOTS)
    taken, _ = tensor_bytes(before)
    assert listening_bytes(tiny.model.talker, torch.device("cpu")) == pytest.approx(taken, rel=0.25)
    assert engine


def test_a_listening_counts_where_it_takes_more_than_an_update():
    small, large = example(listening=1e9), example(listening=12e9)
    assert small.total == example().total
    assert large.total - small.total == 12e9 - small.update
    with pytest.raises(InputError, match=r"listening 12.*train\.listen=null"):
        large.require_fit()


def test_a_model_larger_than_the_memory_is_refused_before_it_is_loaded(voice: Voice, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipelines.train.prepare.available_memory", lambda device, *, held: 1_000.0)
    monkeypatch.setattr("voice.checkpoint.load", lambda *_, **__: pytest.fail("was loaded"))
    with pytest.raises(InputError, match=r"in float32, 0\.0 GB are free"):
        prepared(voice, FULL)


def test_measuring_changes_no_update(voice: Voice):
    measured, plain = prepared(voice, FULL), prepared(voice, FULL)
    fit_memory(measured, Accelerator(cpu=True))
    assert measured.trainer.update().loss == plain.trainer.update().loss
    for name, parameter in plain.trainer.parameters.items():
        assert torch.equal(measured.trainer.parameters[name], parameter), name


def test_a_remedy_is_nothing_that_is_done_already():
    with pytest.raises(InputError, match=r"\. Use a smaller model") as refused:
        example(available=6e9, moments=1e9, frugal=frozenset({budgets.LORA, budgets.EIGHT_BIT})).require_fit()
    assert "lora" not in str(refused.value)
    assert "8bit" not in str(refused.value)
