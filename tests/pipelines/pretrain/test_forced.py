"""Codes that the talker says in the place of a clip's own, and the decoder that learns from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.pretrain.codec.forced import ForcedCrops, ForcedShard, open_forced
from pipelines.pretrain.codec.train import Trainer
from pipelines.pretrain.corpus import Clip, Shard, clip_waveform
from pipelines.pretrain.material import Codes, Line, forced_path, read_codes, read_forced
from pipelines.pretrain.run import fit, resume, save
from pipelines.pretrain.talker.forced import Forced, force_shard, load
from pipelines.train.drawing import draw_codes
from tests.pipelines.pretrain import test_codec, test_talker
from tests.pipelines.pretrain.conftest import crops_of
from tests.pipelines.pretrain.shapes import TALKER_SHAPE
from voice.audio import FRAME_SAMPLES
from voice.errors import InputError


@pytest.fixture(scope="module")
def config(work: Path) -> Forced:
    """A talker that has hardly learnt anything."""
    training = test_talker.trainer(work)
    training.take_step()
    save(training, work / "talker")
    return Forced(
        material=str(work / "material"), talker=str(work / "talker"), shape=TALKER_SHAPE, recordings=None, shards=1,
        language="english", temperature=0.5, positions=60, out=str(work / "forced"), processes=1, seed=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def forced(work: Path, config: Forced) -> ForcedCrops:
    """What it said."""
    force_shard(read_codes(work / "material", ["train"])[0], config)
    return opened(work)


def opened(work: Path, recordings: str | None = None) -> ForcedCrops:
    return open_forced(
        work / "corpus", work / "material", work / "forced", recordings=recordings, recordings_share=0.2, seed=0
    )


def test_the_first_codebook_stays_and_the_others_are_said(work, config, forced):
    [shard] = read_codes(work / "material", ["train"])
    said = read_forced(work / "forced", shard)
    assert np.array_equal(said[:, 0], shard.codes[:, 0])
    assert said.min() >= 0
    assert said.max() < TALKER_SHAPE.codebook_size
    assert (said[:, 1:] != shard.codes[:, 1:]).mean() > 0.5  # it has learnt nothing yet


def test_what_is_said_depends_on_the_seed_alone_and_is_not_said_twice(work, config, forced, tmp_path):
    [shard] = read_codes(work / "material", ["train"])
    path = forced_path(work / "forced", shard)
    before = path.stat().st_mtime_ns
    assert force_shard(shard, config) == len(shard.codes)
    assert path.stat().st_mtime_ns == before
    for seed, same in ((0, True), (1, False)):
        out = tmp_path / str(seed)
        force_shard(shard, replace(config, out=str(out), seed=seed))
        assert np.array_equal(read_forced(out, shard), read_forced(work / "forced", shard)) == same


def test_codes_of_another_codec_are_refused(work, forced, tmp_path):
    [shard] = read_codes(work / "material", ["train"])
    other = (shard.codes + 1) % TALKER_SHAPE.codebook_size
    for codes in (shard.codes[:-1], other):
        np.save(forced_path(tmp_path, shard), codes)
        with pytest.raises(InputError, match="belongs to other codes"):
            read_forced(tmp_path, shard)


def test_recordings_that_nobody_has_said_are_one_clear_line(work, forced):
    with pytest.raises(InputError, match="me_train"):
        opened(work, recordings="me")


def test_the_likeliest_codes_are_those_that_the_objective_expects(work, config):
    [shard] = read_codes(work / "material", ["train"])
    predictor = load(config)
    batch, hidden = predictor._read(shard, range(4))
    codes = draw_codes(
        predictor._talker,
        hidden,
        batch.frames[:, 0],
        temperature=1e-4,
        dice=torch.rand(len(hidden), shard.codes.shape[1] - 1, generator=torch.Generator().manual_seed(0)),
    )
    with torch.no_grad():
        read, _ = predictor._objective.read(batch)
        embedded = predictor._objective._embed_codes(codes)
        logits = predictor._objective.predict(replace(batch, frames=codes), read, embedded).predictor
    assert torch.equal(logits.argmax(dim=-1), codes[:, 1:])


def test_crops_are_whole_frames_of_clips_with_the_codes_that_belong_to_them(tmp_path):
    samples = np.arange(1, 5 * FRAME_SAMPLES + 1, dtype=np.int16)
    lengths = [2 * FRAME_SAMPLES - 100, FRAME_SAMPLES]
    clips = (Clip("a", "s", 0, lengths[0], "A."), Clip("b", "s", lengths[0], lengths[1], "B."))
    shard = Shard(tmp_path / "train-0000", clips)
    shard.write(samples[: sum(lengths)])
    lines = (Line("a", "s", 0, 2, "A."), Line("b", "s", 2, 1, "B."))
    codes = np.arange(9, dtype=np.int16).reshape(3, 3)
    material = Codes(tmp_path, lines, codes, np.zeros((2, 4), np.float32))
    audio, chosen = ForcedShard(shard, material, codes).crop(0, 3)
    assert np.array_equal(chosen, codes)
    first, second = (clip_waveform(shard, clip) for clip in clips)
    whole = np.concatenate([first, np.zeros(100, np.float32), second])
    assert np.array_equal(audio, whole)
    audio, chosen = ForcedShard(shard, material, codes).crop(1, 2)
    assert np.array_equal(chosen, codes[1:])
    assert np.array_equal(audio, whole[FRAME_SAMPLES:])
    with pytest.raises(InputError, match="has no crop of 4"):
        ForcedCrops([(1.0, [ForcedShard(shard, material, codes)])], seed=0).draw(0, count=1, frames=4)
    with pytest.raises(InputError, match="another corpus"):
        ForcedShard(shard, replace(material, lines=lines[::-1]), codes)


def test_a_decoder_learns_from_what_the_talker_said_and_no_code_moves(work, forced):
    schedule = replace(test_codec.SCHEDULE, forced=replace(test_codec.FORCED, steps=60))
    training = codec_trainer(work, forced, schedule)
    before = test_codec.SCHEDULE.features.steps + test_codec.SCHEDULE.sound.steps
    test_codec.run_steps(training, before)
    assert training.phase() == (schedule.forced, before)
    books = training.codec.rest.vectors.clone()
    losses = [row["mel"] for row in test_codec.run_steps(training, 40)]
    assert torch.equal(training.codec.rest.vectors, books)
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_without_a_talker_it_ends_with_the_sound_and_goes_on_with_one(work, forced, tmp_path):
    schedule = test_codec.SCHEDULE
    first = codec_trainer(work, None, schedule)
    assert first.steps == schedule.features.steps + schedule.sound.steps
    fit(first, tmp_path, schedule)
    second = codec_trainer(work, forced, schedule)
    assert resume(second, tmp_path, device="cpu")
    fit(second, tmp_path, schedule)
    assert second.step == first.step + schedule.forced.steps
    whole = codec_trainer(work, forced, schedule)
    fit(whole, tmp_path / "whole", schedule)
    for name, tensor in whole.state()["average"].items():
        assert torch.equal(tensor, second.state()["average"][name]), name


def codec_trainer(work: Path, forced: ForcedCrops | None, schedule: test_codec.Schedule) -> Trainer:
    listener, likeness = test_codec.listener(), test_codec.likeness()
    return Trainer(test_codec.codec_of_seed(), crops_of(work), listener, likeness, schedule, test_codec.CPU, forced)
