"""One update: what it weighs, what it moves, what stops it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from pipelines.train.finetune import snapshots_key
from pipelines.train.prepare import Prepared, prepare
from pipelines.train.settings import Optimizer, Rates, Schedule, Train
from tests.pipelines.train.voices import FULL, LORA, Voice, write_codes
from voice.errors import InputError


def prepared(voice: Voice, train: Train, *, own_history: float = 0.0, stock: bool = False) -> Prepared:
    config = voice.settings(train, stock=stock, own_history=own_history)
    return prepare(config.voice, config.model, train, voice.folders.codes, Accelerator(cpu=True))


def test_a_narrow_model_multiplies_rate_and_epochs(voice: Voice):
    config = voice.settings(FULL)
    narrow = replace(config.model, lr_scale=10.0, epochs_scale=3)
    ready = prepare(config.voice, narrow, FULL, voice.folders.codes, Accelerator(cpu=True))
    assert ready.train == replace(FULL, lr=FULL.lr * 10, epochs=FULL.epochs * 3, max_first_loss=None)
    wide = prepared(voice, FULL)
    assert ready.trainer.steps == 3 * wide.trainer.steps
    assert snapshots_key(config, ready, voice.folders.codes) != snapshots_key(config, wide, voice.folders.codes)


def after_updates(
    voice: Voice,
    train: Train,
    *,
    updates: int = 2,
    own_history: float = 0.0,
    disturb: Callable[[], object] = lambda: None,
) -> dict[str, Tensor]:
    trainer = prepared(voice, train, own_history=own_history).trainer
    for _ in range(updates):
        disturb()
        trainer.update()
    return {name: p.detach().clone() for name, p in trainer.parameters.items()}


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return sum(float((one[name] - other[name]).pow(2).sum()) for name in one) ** 0.5


@pytest.mark.parametrize("train", [FULL, replace(FULL, predictor_share=0.3)], ids=["all frames", "some frames"])
@pytest.mark.parametrize("own_history", [0.0, 1.0])
def test_an_update_is_the_same_however_it_is_cut_into_forward_passes(voice: Voice, train: Train, own_history: float):
    whole = after_updates(voice, replace(train, batch_size=4), own_history=own_history)
    cut = after_updates(voice, replace(train, batch_size=4, max_positions=40), own_history=own_history)  # one clip each
    # not weight by weight: Adam blows rounding up where a gradient is nearly 0
    assert distance(cut, whole) < 1e-3 * distance(after_updates(voice, train, updates=0), whole)


def test_what_a_batch_loses_is_the_mean_over_all_its_targets(voice: Voice):
    train = replace(FULL, batch_size=4, tag_probability=1.0)
    trainer = prepared(voice, train).trainer
    with torch.no_grad():
        losses = trainer.objective(trainer.probes()[1])  # all four clips
    step = trainer.update()
    assert step.talker_loss == pytest.approx(losses.talker.item(), rel=1e-5)
    assert step.predictor_loss == pytest.approx(losses.predictor.item(), rel=1e-5)
    assert sum(step.codebooks) / 3 == pytest.approx(step.predictor_loss)
    assert step.loss == pytest.approx(step.talker_loss + 0.3 * step.predictor_loss)


def test_each_part_moves_at_its_own_rate(voice: Voice):
    rates = Rates(text_embedding=0, text_projection=0, codec_embedding=0, layers=1, codec_head=0.1, code_predictor=0)
    train = replace(FULL, rates=rates, weight_decay=0.0, schedule=Schedule.constant, warmup_share=0.0)
    ready = prepared(voice, train)
    talker = ready.tts.model.talker
    before = {name: p.detach().clone() for name, p in talker.named_parameters()}
    ready.trainer.update()
    moved = {name: (p - before[name]).abs().max().item() for name, p in talker.named_parameters()}
    # Adam's first update is lr for every weight with a gradient
    assert moved["model.layers.0.mlp.up_proj.weight"] == pytest.approx(1e-3, rel=1e-2)
    assert moved["codec_head.weight"] == pytest.approx(1e-4, rel=1e-2)
    frozen = ("model.text_embedding", "text_projection", "model.codec_embedding", "code_predictor")
    assert all(m == 0 for name, m in moved.items() if name.startswith(frozen))


def test_rows_that_no_clip_uses_do_not_decay(voice: Voice):
    train = replace(FULL, rates=replace(FULL.rates, codec_embedding=1.0), weight_decay=0.5)
    ready = prepared(voice, train)
    table = ready.tts.model.talker.get_input_embeddings().weight
    before = table.detach().clone()
    ready.trainer.update()
    untouched = (table == before).all(dim=1)
    assert untouched[-1]
    assert not untouched.all()


def test_the_eight_bit_optimiser_trains(voice: Voice):
    trainer = prepared(voice, replace(FULL, optimizer=Optimizer.adamw_8bit, epochs=20)).trainer
    first = trainer.update().loss
    for _ in range(30):
        last = trainer.update().loss
    assert last < first


@pytest.mark.parametrize("own_history", [0.0, 0.5])
def test_dropout_and_histories_are_functions_of_seed_and_step(voice: Voice, own_history: float):
    one = after_updates(voice, LORA, own_history=own_history)
    other = after_updates(voice, LORA, own_history=own_history, disturb=lambda: torch.rand(7))
    for name, weights in one.items():
        torch.testing.assert_close(other[name], weights, rtol=0, atol=0)


def test_histories_that_are_all_true_change_nothing(voice: Voice):
    rarely = after_updates(voice, LORA, own_history=1e-9)  # histories are made, and all are true
    for name, weights in after_updates(voice, LORA).items():  # dropout and all
        torch.testing.assert_close(rarely[name], weights, rtol=0, atol=0)


def test_the_first_batch_of_a_published_model_is_told_the_truth(voice: Voice):
    trainers = [prepared(voice, FULL, own_history=share, stock=True).trainer for share in (0.0, 1.0)]
    for trainer in trainers:
        trainer._train = replace(trainer._train, max_first_loss=100.0)  # `tiny` is none
    first, second = ([trainer.update().loss for trainer in trainers] for _ in range(2))
    assert first[0] == first[1]
    assert second[0] != second[1]


def test_another_history_is_another_training(voice: Voice):
    ready = prepared(voice, FULL, own_history=1.0)
    assert ready.trainer.update().talker_loss != prepared(voice, FULL).trainer.update().talker_loss
    asked = [voice.settings(FULL, own_history=share) for share in (0.0, 1.0)]
    assert len({snapshots_key(config, ready, voice.folders.codes) for config in asked}) == 2


def test_a_step_says_how_fast_how_full_and_how_far(voice: Voice):
    step = prepared(voice, FULL).trainer.update()
    assert 0 < step.update_ratio < 0.1
    assert step.tokens_per_second > 0
    assert 0 <= step.padding_share < 0.5
    assert step.gradient_norm > 0
    assert step.memory_gb > 0.05
    assert len(step.codebooks) == 3


@pytest.mark.parametrize("own_history", [0.0, 1.0])
def test_a_loss_that_is_not_a_number_names_its_clips_and_moves_nothing(voice: Voice, own_history: float):
    ready = prepared(voice, FULL, own_history=own_history)
    with torch.no_grad():
        ready.tts.model.talker.model.norm.weight.fill_(float("nan"))
    before = ready.tts.model.talker.codec_head.weight.detach().clone()
    with pytest.raises(InputError, match=r"loss is nan at update 1, in clips c\d, c\d\. .* lower train\.lr"):
        ready.trainer.update()
    torch.testing.assert_close(ready.tts.model.talker.codec_head.weight.detach(), before)


def test_nothing_left_to_train_is_refused(voice: Voice):
    with pytest.raises(InputError, match="freezes every part"):
        prepared(voice, replace(FULL, rates=LORA.rates))


def test_a_clip_longer_than_a_forward_pass_is_named(voice: Voice):
    with pytest.raises(InputError, match=r"clip c\d: its 1 s and .* take \d+ positions, train\.max_positions is 20"):
        prepared(voice, replace(FULL, max_positions=20))


def test_one_clip_is_no_voice(voice: Voice, tmp_path: Path):
    write_codes(tmp_path / "one" / "codes", clips=2)
    with pytest.raises(InputError, match="1 clips to train on and 1 held out"):
        prepared(Voice(tmp_path / "one", voice.model), FULL)
