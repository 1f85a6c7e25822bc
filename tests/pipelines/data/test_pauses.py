"""Speech is drawn as frame levels: -20 dBFS where somebody speaks, -60 where nobody does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.pauses import Piece, cut

FRAMES = 100  # a second


def levels(*stretches: tuple[str, float]) -> np.ndarray:
    ripple = np.random.default_rng(0)
    parts = [
        np.full(round(seconds * FRAMES), -20.0 if kind == "speech" else -60.0)
        + ripple.normal(0, 1, round(seconds * FRAMES))
        for kind, seconds in stretches
    ]
    return np.concatenate(parts)


def pieces_of(frame_levels: np.ndarray) -> list[Piece]:
    return cut(frame_levels, min_seconds=3.0, max_seconds=15.0, pause_seconds=0.25, below_db=30.0, margin_seconds=0.2)


def test_a_recording_is_cut_in_its_long_pauses():
    pieces = pieces_of(levels(("speech", 7), ("pause", 0.3), ("speech", 1), ("pause", 1), ("speech", 8)))
    assert [(round(p.start, 1), round(p.end, 1)) for p in pieces] == [(0.0, 8.5), (9.1, 17.3)]
    assert all(p.between_pauses for p in pieces)


def test_silence_is_left_out_but_for_a_margin():
    [piece] = pieces_of(levels(("pause", 5), ("speech", 6), ("pause", 9)))
    assert (piece.start, piece.end) == (pytest.approx(4.8), pytest.approx(11.2))


def test_closures_inside_words_are_no_pauses():
    words = [stretch for _ in range(24) for stretch in (("speech", 0.4), ("pause", 0.1))]
    pieces = pieces_of(levels(*words[:-1], ("pause", 0.4), ("speech", 8)))
    assert [(round(p.start, 1), round(p.end, 1)) for p in pieces] == [(0.0, 12.1), (12.1, 20.3)]


def test_speech_without_a_pause_is_cut_in_its_deepest_dip_and_says_so():
    long = levels(("speech", 22))
    long[1_100:1_120] = -32.0
    first, second = pieces_of(long)
    assert first.end == pytest.approx(11.1, abs=0.15)
    assert not first.between_pauses
    assert not second.between_pauses


def test_silence_alone_gives_nothing():
    assert pieces_of(np.full(500, -120.0)) == []


stretches = st.lists(st.tuples(st.floats(0.3, 40.0), st.floats(0.05, 3.0)), min_size=1, max_size=12)


@given(stretches)
def test_no_word_is_lost_or_said_twice_and_no_piece_is_too_long(spoken: list[tuple[float, float]]):
    drawn = levels(*[s for speech, pause in spoken for s in (("speech", speech), ("pause", pause))])
    pieces = pieces_of(drawn)
    covered = np.zeros(len(drawn), int)
    for piece in pieces:
        assert piece.end - piece.start <= 15.0 + 1e-6
        covered[round(piece.start * FRAMES) : round(piece.end * FRAMES)] += 1
    assert covered.max() <= 1
    assert (covered[drawn > -40] == 1).all()


@given(stretches)
def test_an_edge_between_pauses_lies_in_silence(spoken: list[tuple[float, float]]):
    drawn = levels(*[s for speech, pause in spoken for s in (("pause", pause + 0.2), ("speech", speech))])
    for piece in pieces_of(drawn):
        if piece.between_pauses and round(piece.end * FRAMES) < len(drawn):
            assert drawn[round(piece.end * FRAMES)] < -40
