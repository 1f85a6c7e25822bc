from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.split import Clip, choose_reference, split, tier, write_reference
from voice.audio import SAMPLE_RATE, read_waveform, write_wav
from voice.errors import InputError
from voice.manifest import Utterance
from voice.pack import Reference
from voice.text import same_text_key


def utterances(texts: list[str]) -> list[Utterance]:
    return [Utterance(f"c{i:03}", text) for i, text in enumerate(texts)]


def clip(name: str, seconds: float, snr_db: float) -> Clip:
    return Clip(Utterance(name, f"Text of {name}."), seconds, snr_db)


@given(
    st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=60).filter(lambda t: len(set(t)) > 1),
    st.integers(0, 9),
)
def test_no_sentence_is_on_both_sides_and_no_clip_is_lost(words: list[str], seed: int):
    takes = utterances([f"{w}{'!' if i % 2 else ''}" for i, w in enumerate(words)])
    train, held_out = split(takes, eval_share=0.1, seed=seed)
    assert sorted([*train, *held_out], key=lambda u: u.id) == takes
    assert train
    assert held_out
    assert not {same_text_key(u.text) for u in train} & {same_text_key(u.text) for u in held_out}


def test_a_tenth_of_the_sentences_is_held_out_by_a_seed():
    clips = utterances([f"Sentence {i}." for i in range(100)])
    _, held_out = split(clips, eval_share=0.1, seed=0)
    assert len(held_out) == 10
    assert split(clips, eval_share=0.1, seed=0)[1] == held_out
    assert split(clips, eval_share=0.1, seed=1)[1] != held_out


def test_adding_clips_moves_few_of_the_others():
    clips = utterances([f"Sentence {i}." for i in range(100)])
    before = {u.id for u in split(clips[:90], eval_share=0.1, seed=0)[1]}
    after = {u.id for u in split(clips, eval_share=0.1, seed=0)[1]}
    assert len(before - after) <= 3


def test_one_sentence_alone_cannot_be_split():
    with pytest.raises(InputError, match="two different sentences"):
        split(utterances(["Again.", "again"]), eval_share=0.1, seed=0)


def test_the_reference_is_the_cleanest_clip_of_the_right_length():
    clips = [clip("short", 5, 60), clip("noisy", 12, 20), clip("clean", 15, 40), clip("long", 40, 70)]
    assert [c.utterance.id for c in choose_reference(clips, min_seconds=10, max_seconds=30)] == ["clean"]


def test_where_clips_are_short_the_cleanest_few_make_the_reference():
    clips = [clip(f"c{i}", 4.0, snr_db=i) for i in range(10)]
    assert [c.utterance.id for c in choose_reference(clips, min_seconds=10, max_seconds=30)] == ["c9", "c8", "c7"]


def test_clips_that_are_all_too_long_are_refused():
    with pytest.raises(InputError, match="Cut them"):
        choose_reference([clip("a", 100, 30)], min_seconds=10, max_seconds=30)


def test_reference_audio_and_text_belong_together(tmp_path: Path):
    (tmp_path / "wavs").mkdir()
    for name in ("a", "b"):
        write_wav(tmp_path / f"wavs/{name}.wav", np.full(SAMPLE_RATE, 0.5, np.float32))
    write_reference(tmp_path, tmp_path, [clip("a", 1, 1), clip("b", 1, 1)], pause_seconds=0.25, tail_seconds=0.5)
    reference = Reference.read(tmp_path)
    assert reference.text == "Text of a. Text of b."
    waveform = read_waveform(reference.audio)
    assert len(waveform) / SAMPLE_RATE == pytest.approx(2.75)
    assert np.abs(waveform[-SAMPLE_RATE // 2 :]).max() == 0.0


@pytest.mark.parametrize(
    ("minutes", "clips", "name"),
    [(4.9, 500, "below minimum"), (5, 50, "minimum"), (20, 149, "minimum"), (15, 150, "good"), (30, 300, "excellent")],
)
def test_a_tier_needs_both_minutes_and_clips(minutes: float, clips: int, name: str):
    assert tier(minutes, clips) == name
