from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.split import Clip, Sides, check_reference, choose_reference, split, tier, write_reference
from voice.audio import SAMPLE_RATE, read_waveform, write_wav
from voice.errors import InputError
from voice.manifest import Utterance
from voice.pack import Reference
from voice.text import same_text_key

BANDS = (3.0, 6.0)


def sentences(texts: list[str], *, seconds: float = 4.0) -> list[Clip]:
    return [clip(f"c{i:03}", seconds, 30.0, text=text) for i, text in enumerate(texts)]


def clip(
    name: str, seconds: float, snr_db: float, *, text: str | None = None, source: str | None = None,
    flagged: bool = False, pause: float = 0.2,
) -> Clip:  # fmt: skip
    utterance = Utterance(name, f"Text of {name}." if text is None else text)
    return Clip(utterance, source or name, seconds, snr_db, flagged=flagged, longest_pause_seconds=pause)


def ids(clips: list[Clip]) -> list[str]:
    return [c.utterance.id for c in clips]


@given(
    st.lists(st.sampled_from("abcdefghij"), min_size=2, max_size=60).filter(lambda t: len(set(t)) > 1),
    st.integers(0, 9),
)
def test_no_sentence_is_on_both_sides_and_no_clip_is_lost(words: list[str], seed: int):
    takes = sentences([f"{w}{'!' if i % 2 else ''}" for i, w in enumerate(words)])
    train, held_out = split(takes, eval_share=0.1, edges=BANDS, seed=seed)
    assert sorted([*train, *held_out], key=lambda c: c.utterance.id) == takes
    assert train
    assert held_out
    assert not {same_text_key(c.utterance.text) for c in train} & {same_text_key(c.utterance.text) for c in held_out}


def test_a_tenth_of_the_sentences_is_held_out_by_a_seed():
    clips = sentences([f"Sentence {i}." for i in range(100)])
    _, held_out = split(clips, eval_share=0.1, edges=BANDS, seed=0)
    assert len(held_out) == 10
    assert split(clips, eval_share=0.1, edges=BANDS, seed=0)[1] == held_out
    assert split(clips, eval_share=0.1, edges=BANDS, seed=1)[1] != held_out


def test_short_and_long_sentences_are_held_out_alike():
    clips = [clip(f"c{i:03}", seconds, 30.0) for i in range(100) for seconds in ((2.0, 4.0, 8.0)[i % 3],)]
    lengths = [c.seconds for c in split(clips, eval_share=0.1, edges=BANDS, seed=0)[1]]
    assert sorted(lengths) == [2.0] * 3 + [4.0] * 3 + [8.0] * 3


def test_adding_clips_moves_few_of_the_others():
    clips = sentences([f"Sentence {i}." for i in range(100)])
    before = set(ids(split(clips[:90], eval_share=0.1, edges=BANDS, seed=0)[1]))
    after = set(ids(split(clips, eval_share=0.1, edges=BANDS, seed=0)[1]))
    assert len(before - after) <= 3


def test_clips_of_one_recording_stay_together():
    clips = [clip(f"r{i}_{j}", 4.0, 30.0, source=f"r{i}") for i in range(30) for j in range(3)]
    train, held_out = split(clips, eval_share=0.1, edges=BANDS, seed=0)
    assert not {c.source for c in train} & {c.source for c in held_out}
    assert len(held_out) == 9


def test_one_long_recording_is_divided_all_the_same():
    clips = [clip(f"hour_{j}", 4.0, 30.0, source="hour") for j in range(50)]
    assert len(split(clips, eval_share=0.1, edges=BANDS, seed=0)[1]) == 5


def test_one_sentence_alone_cannot_be_split():
    with pytest.raises(InputError, match="two different sentences"):
        split(sentences(["Again.", "again"]), eval_share=0.1, edges=BANDS, seed=0)


def chosen(clips: list[Clip]) -> list[str]:
    return ids(choose_reference(clips, min_seconds=10, max_seconds=30, max_pause_seconds=2.0))


def test_the_reference_is_the_cleanest_clip_of_the_right_length():
    assert chosen([clip("short", 5, 60), clip("noisy", 12, 20), clip("clean", 15, 40), clip("long", 40, 70)]) == [
        "clean"
    ]


def test_where_clips_are_short_the_cleanest_few_make_the_reference():
    assert chosen([clip(f"c{i}", 4.0, snr_db=i) for i in range(10)]) == ["c9", "c8", "c7"]


def test_a_suspect_clip_or_one_with_a_long_pause_is_the_last_choice():
    doubtful = [clip("flagged", 12, 60, flagged=True), clip("pause", 12, 60, pause=2.5)]
    assert chosen([*doubtful, clip("plain", 12, 20)]) == ["plain"]
    assert chosen([*doubtful, *(clip(f"c{i}", 4.0, 20) for i in range(3))]) == ["c0", "c1", "c2"]


def test_clips_that_are_all_too_long_are_refused():
    with pytest.raises(InputError, match="Cut them"):
        chosen([clip("a", 100, 30)])


def test_a_reference_is_held_against_the_notes_rules():
    sides = Sides(
        eval_share=0.1, length_bands_seconds=[], seed=0, reference_min_seconds=10, reference_max_seconds=30,
        reference_max_pause_seconds=2, reference_pause_seconds=0.3, reference_tail_seconds=0.5,
    )  # fmt: skip
    assert check_reference([clip("a", 12, 30)], sides) == []
    complaints = " ".join(check_reference([clip("a", 2, 30, flagged=True), clip("b", 2.5, 30)], sides))
    for says in ("4.5 s, less than the 6 s", "3 s of continuous", "10 to 30 s", "flagged"):
        assert says in complaints


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
