"""Delivery: what leaves is pleasant, what is wrong is put right before it leaves, and each part can be off."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from queue import Empty
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.voice.engine.waveforms import silence, tone
from voice.audio import FRAME_RATE, SAMPLE_RATE, Waveform, seconds
from voice.engine.delivery import PLAIN, Delivery, Speaking, reseeded
from voice.engine.listener import Listener
from voice.engine.scheduler import Ending, Watch
from voice.request import Request
from voice.text import USUAL_BYTES_A_SECOND

SENTENCE = "This is a sentence of some length. "
TWO_PIECES = SENTENCE * 20  # 700 bytes
PIECE = SENTENCE * 12  # as many as fit
LATE = object()
LONG = 90.0  # seconds of sound: whatever the machine is doing, some of it is still unheard


@dataclass
class Said:
    """A stream that has been drawn already. Beside waveforms it may hold what happens between them."""

    chunks: list[Any]  # LATE: nobody who waits gets the next one in time; an exception is raised, a function called
    end: Ending = Ending.ITSELF
    frames: int | None = None  # by default as many as the text takes at the usual pace
    ending: Ending | None = None
    cancelled: bool = False

    @property
    def utterance(self) -> Any:
        return SimpleNamespace(codes=[None] * (self.frames or 0))

    def __iter__(self) -> Iterator[Waveform]:
        while (chunk := self.take()) is not None:
            yield chunk

    def take(self, timeout: float | None = None) -> Waveform | None:
        while self.chunks and not self.cancelled:
            item = self.chunks.pop(0)
            if isinstance(item, np.ndarray):
                return item
            if isinstance(item, Exception):
                raise item
            if item is not LATE:
                item()
            elif timeout is not None:
                raise Empty
        self.ending = Ending.CANCELLED if self.cancelled else self.end
        return None

    def cancel(self) -> None:
        self.cancelled = True


class Model:
    """Says what it is told to, one utterance after another, and remembers what it was asked."""

    def __init__(self, *said: Said) -> None:
        self._said, self.asked = list(said), list[Request]()

    def begin(self, request: Request, watch: Watch | None, listener: Listener) -> Any:
        self.asked.append(request)
        said = self._said.pop(0)
        if said.frames is None:
            said.frames = round(len(request.text.encode()) / USUAL_BYTES_A_SECOND * FRAME_RATE)
        return said


def speaking(model: Model, text: str = "Some words.", *, hold: bool = False, **changes: Any) -> Speaking:
    return Speaking(Request(text, "me", seed=3), model.begin, replace(Delivery(), **changes), hold=hold)


def test_plain_delivery_changes_no_sample():
    chunks = [silence(0.08), tone(0.16), silence(0.4), tone(0.3)]
    model = Model(Said(list(chunks)))
    heard = list(Speaking(Request("Some words.", "me"), model.begin, PLAIN, hold=False))
    np.testing.assert_array_equal(np.concatenate(heard), np.concatenate(chunks))


def test_silence_at_the_edges_is_trimmed_and_pauses_within_stay():
    spoken = np.concatenate([tone(0.3), silence(0.5), tone(0.3)])
    whole = np.concatenate([silence(0.3), spoken, silence(1.0)])
    chunks = np.array_split(whole, 17)
    heard = np.concatenate(list(speaking(Model(Said(chunks)), even_loudness=False)))
    start = int(np.flatnonzero(np.abs(heard) > 0.005)[0])
    assert start <= 0.011 * SAMPLE_RATE
    np.testing.assert_array_equal(
        heard[start : start + len(spoken) - 100],
        spoken[np.flatnonzero(np.abs(spoken) > 0.005)[0] :][: len(spoken) - 100],
    )
    assert seconds(heard) == pytest.approx(1.1 + 0.15, abs=0.03)


def test_the_first_audible_chunk_leaves_at_once():
    model = Model(Said([silence(0.08), tone(0.16), tone(0.32)]))
    assert len(next(speaking(model))) > 0.1 * SAMPLE_RATE


def test_what_has_not_left_is_said_again_with_another_seed():
    model = Model(Said([silence(0.08), silence(3.0)], Ending.SILENCE), Said([tone(0.5)]))
    speech = speaking(model)
    assert np.abs(np.concatenate(list(speech))).max() > 0.1
    assert speech.ending is Ending.ITSELF
    assert [r.seed for r in model.asked] == [3, reseeded(3, piece=0, attempt=1)]


def test_what_has_left_is_not_said_again_but_ends_softly_and_says_so():
    model = Model(Said([tone(0.5), tone(0.5)], Ending.LOOP))
    speech = speaking(model)
    heard = np.concatenate(list(speech))
    assert speech.ending is Ending.LOOP
    assert len(model.asked) == 1
    assert abs(heard[-1]) < 1e-3


def test_whole_utterances_are_put_right_whenever_they_go_wrong():
    model = Model(Said([tone(0.5)] * 9, Ending.BUDGET), Said([], frames=0), Said([tone(0.5)]))
    speech = speaking(model, hold=True)
    assert seconds(np.concatenate(list(speech))) < 0.7
    assert speech.ending is Ending.ITSELF
    assert len(model.asked) == 3


def test_attempts_come_to_an_end():
    model = Model(*[Said([tone(0.5)], Ending.BUDGET) for _ in range(3)])
    speech = speaking(model, hold=True)
    assert len(np.concatenate(list(speech))) > 0
    assert speech.ending is Ending.BUDGET


def test_what_says_nothing_is_not_asked_for_and_wrapped_lines_are_asked_for_as_one():
    model = Model(Said([tone(0.5)]))
    list(speaking(model, "***\nSome more words\nand others."))
    assert [r.text for r in model.asked] == ["Some more words and others."]


def test_long_texts_are_spoken_in_pieces_with_pauses_between():
    model = Model(Said([tone(2.0), silence(0.4)]), Said([silence(0.3), tone(2.0)]))
    heard = np.concatenate(list(speaking(model, TWO_PIECES)))
    assert " ".join(r.text for r in model.asked).split() == TWO_PIECES.split()
    assert len({r.seed for r in model.asked}) == 2
    audible = np.flatnonzero(np.abs(heard) > 0.005)
    assert np.diff(audible).max() / SAMPLE_RATE == pytest.approx(0.35, abs=0.05)


def test_the_next_piece_begins_before_the_last_one_ends():
    model = Model(Said([tone(1.0), tone(1.0)]), Said([tone(1.0)]))
    next(speech := speaking(model, TWO_PIECES))
    assert len(model.asked) == 2
    speech.close()


def test_who_wants_the_whole_has_all_pieces_begun_at_once():
    model = Model(Said([tone(1.0)]), Said([tone(1.0)]))
    speech = speaking(model, TWO_PIECES, hold=True, trim=False)
    assert len(model.asked) == 2
    assert seconds(np.concatenate(list(speech))) == pytest.approx(2.35, abs=0.1)


def test_a_piece_that_is_refused_stops_those_that_have_begun():
    first = Said([tone(1.0)])

    class Refusing(Model):
        def begin(self, request: Request, watch: Watch | None, listener: Listener) -> Any:
            if self.asked:
                raise ValueError("no")
            return super().begin(request, watch, listener)

    with pytest.raises(ValueError, match="no"):
        speaking(Refusing(first), TWO_PIECES, hold=True)
    assert first.cancelled


def test_pieces_follow_each_other_without_pauses_where_those_are_off():
    model = Model(Said([tone(2.0)]), Said([tone(2.0)]))
    heard = np.concatenate(list(speaking(model, TWO_PIECES, pauses=False, trim=False)))
    assert seconds(heard) == pytest.approx(4.0, abs=0.01)


@pytest.mark.parametrize("wrong", [{"ramp": ()}, {"ramp": (1, 0)}, {"ahead": 0}, {"retries": -1}])
def test_what_could_deliver_nothing_is_refused_before_anybody_speaks(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match="a frame or more"):
        replace(Delivery(), **wrong)


def test_later_pieces_are_brought_to_the_loudness_of_the_first():
    model = Model(Said([tone(2.0, 0.2)]), Said([tone(0.5, 0.25)] * 6))
    heard = np.concatenate(list(speaking(model, TWO_PIECES)))
    assert np.abs(heard[-SAMPLE_RATE:]).max() == pytest.approx(0.2, rel=0.05)
    model = Model(Said([tone(2.0, 0.2)]), Said([tone(0.5, 0.25)] * 6))
    heard = np.concatenate(list(speaking(model, TWO_PIECES, even_loudness=False)))
    assert np.abs(heard).max() == pytest.approx(0.25, rel=0.05)


def test_closing_stops_the_pieces_on_their_way():
    said = [Said([tone(0.5)] * 9), Said([tone(0.5)])]
    speech = speaking(Model(*said), TWO_PIECES)
    next(speech)
    speech.close()
    list(speech)
    assert all(one.cancelled for one in said)


def test_dropping_an_unheard_stream_stops_it():
    said = Said([tone(0.5)])
    speech = speaking(Model(said))
    del speech
    assert said.cancelled


def test_seeds_of_attempts_and_pieces_differ_and_the_first_is_the_requests():
    seeds = {reseeded(5, piece=piece, attempt=attempt) for piece in range(3) for attempt in range(3)}
    assert len(seeds) == 9
    assert reseeded(5, piece=0, attempt=0) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_dropping_a_stream_that_was_heard_half_way_stops_it():
    said = Said([tone(0.5)] * 9)
    speech = speaking(Model(said))
    next(speech)
    gc.disable()  # it is to be stopped at once, not when the garbage is collected
    try:
        del speech
        assert said.cancelled
    finally:
        gc.enable()


def test_a_piece_that_begins_while_the_stream_is_closed_is_cancelled():
    said = [Said([tone(0.5)] * 9), Said([tone(0.5)])]

    class Closing(Model):
        def begin(self, request: Request, watch: Watch | None, listener: Listener) -> Any:
            if self.asked:
                speech.close()  # by another thread, just now
            return super().begin(request, watch, listener)

    speech = speaking(Closing(*said), TWO_PIECES)
    list(speech)
    assert all(one.cancelled for one in said)


def test_a_later_piece_is_put_right_while_there_is_something_to_hear():
    model = Model(Said([tone(LONG)]), Said([tone(0.5)] * 3, Ending.LOOP), Said([tone(0.7)]))
    speech = speaking(model, TWO_PIECES)
    heard = np.concatenate(list(speech))
    assert seconds(heard) == pytest.approx(LONG + 0.35 + 0.7, abs=0.2)
    assert speech.ending is Ending.ITSELF
    assert model.asked[2].text == model.asked[1].text
    assert model.asked[2].seed == reseeded(3, piece=1, attempt=1)


def test_nothing_is_held_back_from_who_has_nothing_to_hear(monkeypatch):
    monkeypatch.setattr(Listener, "unheard", lambda self: 0.0)
    model = Model(Said([tone(LONG)]), Said([tone(0.5)] * 3, Ending.LOOP))
    speech = speaking(model, TWO_PIECES)
    assert seconds(np.concatenate(list(speech))) > LONG + 1.5
    assert speech.ending is Ending.LOOP


def test_without_retries_nothing_is_held_back():
    model = Model(Said([tone(LONG)]), Said([tone(0.5)] * 3, Ending.LOOP))
    assert seconds(np.concatenate(list(speaking(model, TWO_PIECES, retries=0)))) > LONG + 1.5


def paced(share: float) -> Said:
    """A whole piece at so many times the usual pace; how loud it is tells which one it is."""
    return Said([tone(LONG, 0.1 * share)], frames=round(len(PIECE) / USUAL_BYTES_A_SECOND * FRAME_RATE / share))


def levels(speech: Speaking) -> list[float]:
    """Of the pieces that were heard."""
    return [round(10 * float(np.abs(chunk).max()), 1) for chunk in speech if len(chunk) > SAMPLE_RATE]


@pytest.mark.parametrize("away", [1.7, 0.6])
def test_a_piece_out_of_pace_is_said_again(away):
    """It has left words out, or said some twice."""
    model = Model(paced(1.0), paced(away), paced(1.1), paced(0.8))
    assert levels(speaking(model, PIECE * 3, even_loudness=False)) == [1.0, 1.1, 0.8]


def test_the_attempt_nearest_to_the_pace_is_kept():
    model = Model(paced(1.0), paced(1.1), paced(0.9), paced(2.4), paced(1.7), paced(2.2))
    assert levels(speaking(model, PIECE * 4, even_loudness=False)) == [1.0, 1.1, 0.9, 1.7]
    assert len(model.asked) == 6


def test_a_first_piece_out_of_pace_is_outvoted_by_the_attempts():
    model = Model(paced(2.5), paced(1.0), paced(1.1), paced(1.2))
    assert levels(speaking(model, PIECE * 2, even_loudness=False)) == [2.5, 1.0]


def test_attempts_that_nobody_heard_do_not_set_the_pace():
    slow = [paced(0.5), paced(0.51), paced(0.52)]  # numbers, say
    model = Model(paced(1.0), paced(1.1), paced(0.9), *slow, paced(1.2))
    assert levels(speaking(model, PIECE * 5, even_loudness=False)) == [1.0, 1.1, 0.9, 0.5, 1.2]
    assert len(model.asked) == 7


def test_what_was_held_back_is_given_when_time_is_up():
    later = [tone(1.0), tone(2.0), LATE, tone(3.0)]
    model = Model(Said([tone(LONG)]), Said(later))
    heard = np.concatenate(list(speaking(model, TWO_PIECES)))
    assert seconds(heard) == pytest.approx(LONG + 0.35 + 6.0, abs=0.2)


@pytest.mark.parametrize(
    ("first", "heard"), [(paced(1.7), [1.0, 1.7]), (Said([tone(LONG, 0.3)], Ending.LOOP), [1.0, 0.9])]
)
def test_a_whole_attempt_is_taken_where_the_next_one_comes_late_unless_it_is_broken(first, heard):
    model = Model(paced(1.0), first, Said([tone(LONG, 0.09), LATE, tone(1.0, 0.09)]))
    assert levels(speaking(model, PIECE * 2, even_loudness=False)) == heard


def test_a_stream_that_is_closed_while_it_is_held_back_was_cancelled():
    model = Model(Said([tone(LONG)]), paced(1.7), Said([tone(0.5), lambda: speech.close(), tone(0.5)]))
    speech = speaking(model, PIECE * 2)
    assert seconds(np.concatenate(list(speech))) == pytest.approx(LONG, abs=0.5)
    assert speech.ending is Ending.CANCELLED
    assert len(model.asked) == 3


def test_an_engine_that_is_stopped_is_not_asked_again():
    model = Model(Said([tone(LONG)]), Said([tone(0.5)], Ending.CANCELLED))
    speech = speaking(model, TWO_PIECES)
    list(speech)
    assert speech.ending is Ending.CANCELLED


def test_what_breaks_a_piece_that_is_held_back_is_raised():
    model = Model(Said([tone(LONG)]), Said([tone(0.5), RuntimeError("device lost")]))
    with pytest.raises(RuntimeError, match="device lost"):
        list(speaking(model, TWO_PIECES))


def test_a_short_pieces_pace_says_nothing():
    model = Model(paced(1.0), Said([tone(2.0)], frames=12))
    list(speaking(model, PIECE + "Really so, and the sun was up by now."))
    assert len(model.asked) == 2
