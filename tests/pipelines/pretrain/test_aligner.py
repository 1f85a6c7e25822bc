"""When letters are spoken: a recogniser of codes learns it, and the bounds that it gives are used and kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.pretrain.aligner.align import bounds_of, even_bounds, read_bounds, write_bounds
from pipelines.pretrain.aligner.data import Batch, Clips, Heard
from pipelines.pretrain.aligner.model import RATE, SYMBOLS, Recogniser, Shape
from pipelines.pretrain.aligner.train import Schedule, Trainer, letters
from pipelines.pretrain.device import Device
from pipelines.pretrain.material import Codes, Line
from pipelines.pretrain.sounds import embeddings
from tests.pipelines.pretrain.resuming import assert_goes_on
from voice.errors import InputError

SHAPE = Shape(width=32, kernel=3, layers=1, upper_layers=1, dropout=0.1)
SCHEDULE = Schedule(
    steps=8, lr=1e-2, final_lr_share=0.1, warmup_steps=2, decay_steps=2, frames=60, weight_decay=0.0, clip_norm=1.0,
    save_minutes=60.0, log_every=4, seed=0,
)  # fmt: skip
CPU = Device(name="cpu", autocast=None, fuse=False, batch_factor=1)
CODEBOOKS, SIZE, FRAMES_A_LETTER = 2, 8, 2
ALPHABET = "abcdefgh"


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Codes:
    """Texts of eight letters, each of which is two frames of its own code between two frames of silence."""
    rng, lines, codes, start = np.random.default_rng(0), [], [], 0
    for number in range(40):
        word = rng.permutation(len(ALPHABET) - 1)[: 3 + number % 3] + 1
        one = np.repeat([0, *word, 0], FRAMES_A_LETTER)
        text = "".join(ALPHABET[letter] for letter in word).upper()
        lines.append(Line(f"{number}", "s", start, len(one), 2, len(one) - 2, text))
        codes.append(np.stack([one, rng.integers(SIZE, size=len(one))], axis=1))
        start += len(one)
    folder = tmp_path_factory.mktemp("material") / "train-0000"
    return Codes(folder, tuple(lines), np.concatenate(codes).astype(np.int16), np.zeros((40, 4), np.float32))


def trainer(shard: Codes, schedule: Schedule = SCHEDULE) -> Trainer:
    sounds = torch.randn(CODEBOOKS, SIZE, 6, generator=torch.Generator().manual_seed(0))
    held_out = Batch.of([Heard.of(shard, line) for line in shard.lines[:5]])
    return Trainer(SHAPE, sounds, Clips([shard], seed=0), held_out, schedule, CPU)


def test_it_hears_letters_and_where_they_are(shard):
    training = trainer(shard, replace(SCHEDULE, steps=400, decay_steps=100))
    before = training.notes()
    for _ in range(400):
        training.take_step()
    after = training.notes()
    assert after["letter_errors"] < 0.1 < before["letter_errors"]
    line = shard.lines[0]
    heard = Heard.of(shard, line)
    with torch.inference_mode():
        bounds = bounds_of(training.hear(Batch.of([heard]))[0], heard.symbols)
    assert bounds is not None
    middles = (bounds[1:] + bounds[:-1]) / 2
    expected = 2 + FRAMES_A_LETTER * (np.arange(len(line.text)) + 0.5)
    assert np.abs(middles - expected).max() < 1.5  # frames


def test_a_resumed_training_equals_an_uninterrupted_one(shard, tmp_path):
    whole, first, second = trainer(shard), trainer(shard), trainer(shard)
    assert_goes_on(whole, first, second, SCHEDULE, tmp_path, weights="recogniser")


def test_what_is_heard_does_not_depend_on_the_clips_beside_it(shard):
    recogniser = Recogniser(SHAPE, torch.randn(CODEBOOKS, SIZE, 6)).eval()
    short, long = (Heard.of(shard, line) for line in (shard.lines[0], shard.lines[2]))
    assert len(short.codes) < len(long.codes)
    alone, beside = Batch.of([short]), Batch.of([short, long])
    with torch.inference_mode():
        one = recogniser(alone.codes, alone.real)[0]
        other = recogniser(beside.codes, beside.real)[0, : len(one)]
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
    batch = Batch(torch.zeros(1, 2, 2), torch.ones(1, 2, dtype=torch.bool), torch.tensor([98]), torch.tensor([1]))
    assert letters(scores([98, 98, 0, 98, 99, 0])[None], batch) == ["aab"]


def test_bounds_are_kept_by_clip(shard, tmp_path):
    bounds = [even_bounds(line.first, line.last, len(line.text)) for line in shard.lines]
    write_bounds(tmp_path, shard.folder.name, bounds)
    for kept, written in zip(read_bounds(tmp_path, shard), bounds, strict=True):
        assert kept.tolist() == written.tolist()


def test_bounds_that_are_missing_are_one_clear_line(shard, tmp_path: Path):
    with pytest.raises(InputError, match=r"train-0000\.npy is missing\. Run `python -m pipelines\.pretrain\.aligner`"):
        read_bounds(tmp_path, shard)


def test_codes_that_sound_alike_are_embedded_alike():
    loud = torch.tensor([3.0, 1.0, 0.1])[:, None, None]
    sounds = torch.randn(3, 16, 5, generator=torch.Generator().manual_seed(1)) * loud
    rows = embeddings(sounds, width=64, frame_rms=0.3)
    assert float(rows.square().mean(dim=(1, 2)).sum().sqrt()) == pytest.approx(0.3)
    spread = sounds - sounds.mean(dim=1, keepdim=True)
    apart, heard = (torch.cdist(table, table).flatten() for table in (rows.flatten(0, 1), spread.flatten(0, 1)))
    assert float(torch.corrcoef(torch.stack([apart, heard]))[0, 1]) > 0.95
