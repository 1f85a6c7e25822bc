"""The corpus: the same seed gives the same samples, a broken run goes on, and what is held out stays out."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.eval.texts import fixed_sentences
from pipelines.pretrain import espeak
from pipelines.pretrain.corpus import (
    Clip,
    Corpus,
    Shard,
    add_recordings,
    clip_waveform,
    draw_speakers,
    make_corpus,
    make_shard,
    read_side,
)
from pipelines.pretrain.sentences import is_held_out
from tests.sounds import speechlike
from voice.audio import SAMPLE_RATE, write_wav
from voice.errors import InputError
from voice.text import same_text_key

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="apt-get install espeak-ng")

SMALL = Corpus(
    out="", hours=1e-6, speakers=6, held_out_speakers=3, held_out_clips=6, recordings=None, recordings_name="",
    recordings_held_out=0.1, recordings_rates=[], processes=1, seed=0,
)  # fmt: skip


def test_no_speaker_of_training_has_a_held_out_variant():
    train = draw_speakers(300, seed=0, held_out=False)
    held_out = draw_speakers(30, seed=0, held_out=True)
    assert not {s.name for s in train} & {s.name for s in held_out}
    assert not {s.variant for s in train} & {s.variant for s in held_out}
    assert not {s.recipe for s in train if s.recipe} & {s.recipe for s in held_out}


def test_the_voices_of_the_demo_are_never_trained_on():
    from data.make_demo import DEMO, OTHER

    voices = [(v.voice.partition("+")[2], v.pitch, v.words_per_minute) for v in (DEMO, OTHER)]
    assert voices == list(espeak.JUDGED)
    assert {name for name, _, _ in voices} <= set(espeak.HELD_OUT_VARIANTS)
    assert not set(espeak.HELD_OUT_VARIANTS) & set(espeak.VARIANTS)


def test_more_speakers_do_not_change_those_there_were():
    assert draw_speakers(9, seed=4, held_out=False)[:5] == draw_speakers(5, seed=4, held_out=False)


def shards(folder: Path) -> list[Shard]:
    return [make_shard_of(folder, "train-0000", held_out=False), make_shard_of(folder, "eval-0000", held_out=True)]


def make_shard_of(folder: Path, name: str, *, held_out: bool, count: int = 5) -> Shard:
    speakers = draw_speakers(4, seed=0, held_out=held_out)
    data = folder / "espeak" / name
    espeak.install(speakers, data)
    return make_shard(folder / name, speakers, count=count, seed=0, held_out=held_out, data=data)


@needs_espeak
def test_the_same_seed_gives_the_same_samples(tmp_path):
    for one, other in zip(shards(tmp_path / "one"), shards(tmp_path / "other"), strict=True):
        assert one.clips == other.clips
        np.testing.assert_array_equal(one.samples(), other.samples())


@needs_espeak
def test_a_clip_is_what_its_line_of_the_index_says(tmp_path):
    train, held_out = shards(tmp_path)
    assert not any(is_held_out(clip.text) for clip in train.clips)
    assert all(is_held_out(clip.text) for clip in held_out.clips)
    for shard in (train, held_out):
        assert shard.clips[-1].start + shard.clips[-1].samples == len(shard.samples())
        for clip in shard.clips:
            waveform = clip_waveform(shard, clip)
            assert 0.2 < len(waveform) / SAMPLE_RATE < 60
            assert 0.01 < np.sqrt(np.mean(waveform**2)) < 0.1


@needs_espeak
def test_a_broken_run_goes_on_and_leaves_what_is_there(tmp_path):
    shard = make_shard_of(tmp_path, "train-0000", held_out=False)
    marked = np.zeros_like(shard.samples())
    shard.write(marked)
    again = make_shard(tmp_path / "train-0000", [], count=5, seed=0, held_out=False, data=tmp_path)
    np.testing.assert_array_equal(again.samples(), marked)


@needs_espeak
def test_corpus_ends_when_there_are_enough_hours(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.pretrain.corpus.CLIPS_PER_SHARD", 1)
    made = list(make_corpus(replace(SMALL, out=str(tmp_path))))
    assert [len(shard.clips) for shard in made] == [len(fixed_sentences("en")), 6] + [1] * 8
    assert len(read_side(tmp_path, "train")) == 8


def test_a_corpus_that_is_not_there_names_the_command(tmp_path):
    with pytest.raises(InputError, match=r"pipelines\.pretrain\.corpus"):
        read_side(tmp_path, "train")


def test_all_takes_of_a_recorded_sentence_go_to_one_side(tmp_path):
    source = tmp_path / "source"
    (source / "wavs").mkdir(parents=True)
    lines = []
    for sentence in range(10):
        for take in range(2):
            write_wav(source / "wavs" / f"{sentence}_{take}.wav", speechlike(0.3))
            lines.append(f"{sentence}_{take}|Sentence number {'abcdefghij'[sentence]}{'.' * take}\n")
    (source / "metadata.csv").write_text("".join(lines))
    add_recordings(tmp_path, source, name="me", held_out_share=0.3, rates=[1.25])
    train, held_out = (
        {same_text_key(clip.text) for shard in read_side(tmp_path, side) for clip in shard.clips}
        for side in ("me_train", "me_eval")
    )
    assert (len(train), len(held_out)) == (7, 3)
    assert not train & held_out
    own, faster = read_side(tmp_path, "me_train")
    assert {clip.speaker for clip in own.clips} == {"me"}
    assert {clip.speaker for clip in faster.clips} == {"me-1.25"}
    assert [clip.text for clip in own.clips] == [clip.text for clip in faster.clips]
    assert own.clips[0].samples == pytest.approx(1.25 * faster.clips[0].samples, rel=1e-3)


def test_shards_come_back_as_they_were_written(tmp_path):
    shard = Shard(tmp_path / "x-000", (Clip("x-0", "s", 0, 3, 'A "quoted", text.'), Clip("x-1", "t", 3, 2, "b")))
    shard.write(np.arange(5, dtype=np.int16))
    assert Shard.read(shard.folder) == shard
    np.testing.assert_array_equal(clip_waveform(shard, shard.clips[1]), np.array([3, 4], np.float32) / 32_767)
