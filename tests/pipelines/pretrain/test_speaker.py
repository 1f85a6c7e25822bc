"""The speaker encoder in training, on voices that differ by their formants alone."""

from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import torch

from pipelines.pretrain.corpus import Clip, Shard
from pipelines.pretrain.speaker.data import Voices, disguise, log_mel
from pipelines.pretrain.speaker.evaluate import equal_error_rate, judge, separation
from pipelines.pretrain.speaker.train import Schedule, Shape, Trainer, contrast
from tests.pipelines.pretrain.resuming import assert_goes_on
from tests.sounds import spoken_by
from voice.audio import to_pcm16

SHAPE = Shape(dimensions=16, channels=32, attention_channels=8, squeeze_channels=8, scale=4)
SCHEDULE = Schedule(
    steps=40, lr=1e-3, final_lr_share=0.1, warmup_steps=10, decay_steps=10, weight_decay=0.0, speakers=6,
    seconds=[0.5, 0.8], undisguised_steps=400, clip_norm=5.0, sharpness=10.0, save_minutes=60.0, log_every=2, seed=0,
)  # fmt: skip
FORMANTS = {
    "a": (700.0, 1_200.0), "b": (400.0, 2_000.0), "c": (300.0, 900.0), "d": (550.0, 1_700.0), "e": (800.0, 2_400.0),
    "f": (350.0, 1_400.0),
}  # fmt: skip


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Voices:
    clips, parts, start = [], [], 0
    for speaker, formants in FORMANTS.items():
        for number in range(4):
            part = to_pcm16(spoken_by(formants, seed=number, seconds=1.0))
            clips.append(Clip(f"{speaker}{number}", speaker, start, len(part), "x"))
            parts.append(part)
            start += len(part)
    shard = Shard(Path(tmp_path_factory.mktemp("corpus")) / "train-0000", tuple(clips))
    shard.write(np.concatenate(parts))
    return Voices([shard], seed=0)


def test_speakers_come_apart(voices):
    before, after = [], []
    for seed in range(5):  # of so short a training one may fail, and which one hangs on how the processor rounds
        training = Trainer(SHAPE, voices, replace(SCHEDULE, seed=seed))
        before.append(judge(training.encoder, voices, each=4))
        for _ in range(SCHEDULE.steps):
            training.take_step()
        after.append(judge(training.encoder, voices, each=4))
    assert median(s.equal_error_rate for s in after) < median(s.equal_error_rate for s in before) / 2
    assert median(s.nearest_is_own for s in after) > 0.7


def test_a_resumed_training_equals_an_uninterrupted_one(voices, tmp_path):
    schedule = Schedule(**{**vars(SCHEDULE), "steps": 6})
    whole, first = Trainer(SHAPE, voices, schedule), Trainer(SHAPE, voices, schedule)
    second = Trainer(SHAPE, voices, Schedule(**{**vars(schedule), "seed": 5}))
    second.schedule = schedule
    assert_goes_on(whole, first, second, schedule, tmp_path, weights="encoder")


def test_crops_are_as_long_as_asked_and_a_function_of_their_number(voices):
    audio = voices.draw(0, speakers=2, each=2, seconds=2.5)  # longer than any clip
    assert audio.shape == (4, 60_000)
    assert torch.equal(audio, voices.draw(0, speakers=2, each=2, seconds=2.5))
    assert not torch.equal(audio, voices.draw(1, speakers=2, each=2, seconds=2.5))


def test_spectra_are_those_of_the_stock_model(tiny):
    waveform = spoken_by(FORMANTS["a"], seed=0)
    stock = tiny.model.extract_speaker_embedding(waveform, 24_000)
    ours = tiny.model.speaker_encoder(log_mel(torch.from_numpy(waveform)[None]))[0]
    torch.testing.assert_close(ours, stock)


def test_a_disguise_changes_level_and_tilt_but_not_the_order_of_time():
    mel = torch.randn(6, 20, 128)
    other = disguise(mel, strength=1.0, generator=torch.Generator().manual_seed(0))
    assert torch.equal(disguise(mel, strength=0.0, generator=torch.Generator()), mel)
    quiet = [torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(mel, other, strict=True)]
    assert min(quiet) > 0.5


def test_a_partner_is_found_where_directions_are_the_same():
    embeddings = torch.tensor([[1.0, 0.0], [3.0, 0.1], [0.0, 1.0], [0.1, 0.2]])
    loss, found = contrast(embeddings, sharpness=15.0)
    other_loss, other_found = contrast(embeddings[[0, 2, 1, 3]], sharpness=15.0)
    assert (found, other_found) == (1.0, 0.0)
    assert loss < 0.1 < other_loss


@pytest.mark.parametrize(
    ("same", "different", "rate"),
    [([0.9, 0.8], [0.1, 0.2], 0.0), ([0.1, 0.2], [0.9, 0.8], 1.0), ([0.9, 0.4], [0.5, 0.1], 0.5)],
)
def test_equal_error_rate(same, different, rate):
    assert equal_error_rate(np.array(same), np.array(different)) == pytest.approx(rate)


def test_separation_of_directions_is_blind_to_length():
    embeddings = np.array([[1.0, 0.0], [9.0, 0.1], [0.0, 1.0], [0.1, 0.3]])
    found = separation(embeddings, ["a", "a", "b", "b"])
    assert found.nearest_is_own == 1.0
    assert found.same > 0.9 > 0.4 > found.different
