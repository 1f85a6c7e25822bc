"""The speaker encoder in training, on voices that differ by their formants alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.pretrain.corpus import Clip, Shard
from pipelines.pretrain.run import fit, resume, save
from pipelines.pretrain.speaker.data import Voices, disguise, log_mel
from pipelines.pretrain.speaker.evaluate import equal_error_rate, judge, separation
from pipelines.pretrain.speaker.train import Directions, Schedule, Shape, Trainer
from tests.sounds import spoken_by
from voice.audio import to_pcm16

SHAPE = Shape(dimensions=16, channels=16, attention_channels=8, squeeze_channels=8, scale=4)
SCHEDULE = Schedule(
    steps=40, lr=3e-3, final_lr_share=0.1, warmup_steps=5, decay_steps=10, weight_decay=0.0, speakers=3, each=2,
    seconds=[0.5, 0.8], margin=0.2, sharpness=20.0, save_minutes=60.0, log_every=2, seed=0,
)  # fmt: skip
FORMANTS = {"a": (700.0, 1_200.0), "b": (400.0, 2_000.0), "c": (300.0, 900.0)}


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
    training = Trainer(SHAPE, voices, SCHEDULE)
    before = judge(training.encoder, voices, each=4)
    for _ in range(SCHEDULE.steps):
        training.take_step()
    after = judge(training.encoder, voices, each=4)
    assert before.equal_error_rate > 0.05 > after.equal_error_rate
    assert after.nearest_is_own == 1.0


def test_a_resumed_training_equals_an_uninterrupted_one(voices, tmp_path):
    schedule = Schedule(**{**vars(SCHEDULE), "steps": 6})
    whole, first = Trainer(SHAPE, voices, schedule), Trainer(SHAPE, voices, schedule)
    fit(whole, tmp_path / "whole", schedule)
    for _ in range(3):
        first.take_step()
    save(first, tmp_path / "cut")
    second = Trainer(SHAPE, voices, Schedule(**{**vars(schedule), "seed": 5}))
    second.schedule = schedule
    assert resume(second, tmp_path / "cut", device="cpu")
    fit(second, tmp_path / "cut", schedule)
    for name, tensor in whole.state()["encoder"].items():
        assert torch.equal(tensor, second.state()["encoder"][name]), name


def test_crops_are_as_long_as_asked_and_of_the_speaker_they_name(voices):
    audio, who = voices.draw(0, speakers=2, each=2, seconds=2.5)  # longer than any clip
    assert audio.shape == (4, 60_000)
    assert len(set(who.tolist())) == 2
    again, _ = voices.draw(0, speakers=2, each=2, seconds=2.5)
    assert torch.equal(audio, again)


def test_spectra_are_those_of_the_stock_model(tiny):
    waveform = spoken_by(FORMANTS["a"], seed=0)
    stock = tiny.model.extract_speaker_embedding(waveform, 24_000)
    ours = tiny.model.speaker_encoder(log_mel(torch.from_numpy(waveform)[None]))[0]
    torch.testing.assert_close(ours, stock)


def test_a_disguise_changes_level_and_tilt_but_not_the_order_of_time():
    mel = torch.randn(6, 20, 128)
    other = disguise(mel, generator=torch.Generator().manual_seed(0))
    assert other.shape == mel.shape
    quiet = [torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(mel, other, strict=True)]
    assert min(quiet) > 0.5


def test_the_margin_makes_the_same_embeddings_cost_more():
    torch.manual_seed(0)
    embeddings, who = torch.randn(5, 8), torch.arange(5)
    losses = []
    for margin in (0.0, 0.3):
        torch.manual_seed(1)
        losses.append(Directions(5, 8, margin=margin, sharpness=10.0)(embeddings, who)[0])
    assert losses[0] < losses[1]


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
