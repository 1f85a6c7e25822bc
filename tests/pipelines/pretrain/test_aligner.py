"""When letters are spoken: a recogniser learns it, and the bounds that it gives are used and kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.pretrain.aligner.align import bounds_of, even_bounds, speech_span
from pipelines.pretrain.aligner.bounds import BOUNDS_FOLDER, read_bounds, write_bounds
from pipelines.pretrain.aligner.cer import character_errors
from pipelines.pretrain.aligner.data import Batch, Clips, Heard
from pipelines.pretrain.aligner.model import RATE, SYMBOLS, Recogniser, Shape
from pipelines.pretrain.aligner.shards import align_shard
from pipelines.pretrain.aligner.train import Schedule, Trainer, letters
from pipelines.pretrain.corpus import Clip, Shard, clip_waveform
from pipelines.pretrain.device import Device
from pipelines.pretrain.run import save
from tests.pipelines.pretrain.resuming import assert_goes_on
from tests.sounds import silence, spoken_by
from voice.audio import FRAME_SAMPLES, SAMPLE_RATE, to_pcm16
from voice.errors import InputError

SHAPE = Shape(width=32, kernel=3, layers=2, dropout=0.1)
SCHEDULE = Schedule(
    steps=8, lr=1e-2, final_lr_share=0.1, warmup_steps=2, decay_steps=2, frames=60, weight_decay=0.0, clip_norm=1.0,
    save_minutes=60.0, log_every=4, seed=0,
)  # fmt: skip
CPU = Device(name="cpu", autocast=None, fuse=False, batch_factor=1)
FRAMES_A_LETTER = 2
ALPHABET = "abcdefgh"


def tone(letter: int, frames: int) -> np.ndarray:
    """How a letter sounds here."""
    time = np.arange(frames * FRAME_SAMPLES) / SAMPLE_RATE
    return (0.2 * np.sin(2 * np.pi * 300 * (letter + 1) * time)).astype(np.float32)


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Shard:
    """Texts of three to five letters, each of which is two frames of its own tone between two frames of silence."""
    rng, clips, parts, start = np.random.default_rng(0), [], [], 0
    quiet = np.zeros(FRAMES_A_LETTER * FRAME_SAMPLES, np.float32)
    for number in range(40):
        word = rng.permutation(len(ALPHABET))[: 3 + number % 3]
        part = to_pcm16(np.concatenate([quiet, *(tone(letter, FRAMES_A_LETTER) for letter in word), quiet]))
        text = "".join(ALPHABET[letter] for letter in word).upper()
        clips.append(Clip(f"{number}", "s", start, len(part), text))
        parts.append(part)
        start += len(part)
    shard = Shard(tmp_path_factory.mktemp("corpus") / "train-0000", tuple(clips))
    shard.write(np.concatenate(parts))
    return shard


def hear(shard: Shard, number: int) -> Heard:
    """One clip of it."""
    return Heard.of(clip_waveform(shard, shard.clips[number]), shard.clips[number].text)


def trainer(shard: Shard, schedule: Schedule = SCHEDULE) -> Trainer:
    held_out = Batch.of([hear(shard, number) for number in range(5)])
    return Trainer(SHAPE, Clips([shard], seed=0), held_out, schedule, CPU)


@pytest.fixture(scope="module")
def trained(shard: Shard) -> tuple[Trainer, dict[str, float]]:
    """One that has learnt, and what it knew before."""
    training = trainer(shard, replace(SCHEDULE, steps=450, decay_steps=250))
    before = training.notes()
    for _ in range(450):
        training.take_step()
    return training, before


def test_it_hears_letters_and_where_they_are(shard, trained):
    training, before = trained
    after = training.notes()
    assert after["letter_errors"] < 0.1 < before["letter_errors"]
    heard = hear(shard, 0)
    with torch.inference_mode():
        bounds = bounds_of(training.hear(Batch.of([heard]))[0], heard.symbols)
    assert bounds is not None
    middles = (bounds[1:] + bounds[:-1]) / 2
    expected = 2 + FRAMES_A_LETTER * (np.arange(len(heard.symbols)) + 0.5)
    assert np.abs(middles - expected).max() < 1.5  # frames


def test_letters_are_counted_that_are_wrong_left_out_or_inserted(shard, trained):
    recogniser = trained[0].recogniser.eval()
    clips = [hear(shard, number) for number in (3, 4, 6)]
    waveforms = [clip.audio.numpy() for clip in clips]
    said = [shard.clips[number].text for number in (3, 4, 6)]
    letters_said = sum(len(text) for text in said)
    assert character_errors([f"{text.lower()}!" for text in said], waveforms, recogniser).rate == 0.0, "as it sounds"

    other = "z" + said[0][1:]
    assert character_errors([other, *said[1:]], waveforms, recogniser).substitutions == pytest.approx(1 / letters_said)
    more = character_errors([said[0] + "zz", *said[1:]], waveforms, recogniser)
    assert (more.substitutions, more.deletions, more.insertions) == (0.0, pytest.approx(2 / (letters_said + 2)), 0.0)
    fewer = character_errors([said[0][:-1], *said[1:]], waveforms, recogniser)
    assert (fewer.substitutions, fewer.deletions, fewer.insertions) == (0.0, 0.0, pytest.approx(1 / (letters_said - 1)))


def test_nothing_heard_is_everything_left_out(shard, trained):
    quiet = np.zeros(3 * FRAME_SAMPLES, np.float32)
    assert character_errors(["abc"], [quiet], trained[0].recogniser.eval()).deletions == 1.0


def test_a_resumed_training_equals_an_uninterrupted_one(shard, tmp_path):
    whole, first, second = trainer(shard), trainer(shard), trainer(shard)
    assert_goes_on(whole, first, second, SCHEDULE, tmp_path, weights="recogniser")


def test_what_is_heard_does_not_depend_on_the_clips_beside_it(shard):
    recogniser = Recogniser(SHAPE).eval()
    short, long = hear(shard, 0), hear(shard, 2)
    assert short.outputs < long.outputs
    alone, beside = Batch.of([short]), Batch.of([short, long])
    with torch.inference_mode():
        one = recogniser(alone.audio, alone.real)[0]
        other = recogniser(beside.audio, beside.real)[0, : len(one)]
    assert torch.allclose(one, other, atol=1e-5)


def scores(path: list[int]) -> torch.Tensor:
    """Sure of one symbol at each output."""
    return torch.nn.functional.one_hot(torch.tensor(path), SYMBOLS).float().mul(20).log_softmax(dim=-1)


def test_bounds_lie_half_way_between_letters():
    found = bounds_of(scores([0, 5, 5, 0, 0, 6, 0, 6, 0]), torch.tensor([5, 6, 6]))
    assert found is not None
    assert (found * RATE).tolist() == pytest.approx([1, 4, 6.5, 8])


@pytest.mark.parametrize("symbols", [[], [5, 6, 7, 8], [5, 5, 6]])
def test_more_letters_than_outputs_have_no_bounds(symbols):
    assert bounds_of(scores([5, 5, 6]), torch.tensor(symbols, dtype=torch.int64)) is None


def test_letters_are_read_without_blanks_and_repeats():
    batch = Batch(torch.zeros(1, 3840), torch.ones(1, 6, dtype=torch.bool), torch.tensor([98]), torch.tensor([1]))
    assert letters(scores([98, 98, 0, 98, 99, 0])[None], batch) == ["aab"]


def test_speech_lies_between_silences():
    speech = spoken_by((700.0, 1_200.0), seed=0, seconds=0.8)
    waveform = np.concatenate([silence(0.4), speech, silence(0.4)])
    assert speech_span(waveform) == (5, 15)
    assert speech_span(silence(0.4)) == (0, 5)


def test_bounds_are_kept_by_clip(shard, tmp_path):
    texts = [clip.text for clip in shard.clips]
    bounds = [even_bounds(2, 9, len(text)) for text in texts]
    write_bounds(tmp_path, "train-0000", bounds)
    for kept, written in zip(read_bounds(tmp_path, "train-0000", texts), bounds, strict=True):
        assert kept.tolist() == written.tolist()


def test_a_shard_is_aligned_once(shard, tmp_path):
    save(trainer(shard), tmp_path)
    align_shard(shard.folder, aligner=tmp_path)
    bounds = tmp_path / BOUNDS_FOLDER
    found = read_bounds(bounds, "train-0000", [clip.text for clip in shard.clips])
    assert [len(at) for at in found] == [len(clip.text) + 1 for clip in shard.clips]
    write_bounds(bounds, "train-0000", [np.zeros(1)])
    align_shard(shard.folder, aligner=tmp_path)
    assert len(np.load(bounds / "train-0000.npy")) == 1


def test_bounds_of_other_texts_are_one_clear_line(tmp_path):
    write_bounds(tmp_path, "train-0000", [np.zeros(4)])
    with pytest.raises(InputError, match=r"train-0000\.npy is of other texts\."):
        read_bounds(tmp_path, "train-0000", ["ab"])


def test_bounds_that_are_missing_are_one_clear_line(tmp_path: Path):
    with pytest.raises(InputError, match=r"train-0000\.npy is missing\. Run `python -m pipelines\.pretrain\.aligner`"):
        read_bounds(tmp_path, "train-0000", [])
