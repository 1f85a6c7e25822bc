"""Delivery: what leaves is pleasant, what is wrong is put right before it leaves, and each part can be off."""

import gc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from voice.audio import FRAME_SAMPLES, SAMPLE_RATE, Waveform, seconds
from voice.engine.core import Utterance
from voice.engine.delivery import PLAIN, Delivery, Shaper, Speaking, Watchdog, reseeded
from voice.engine.scheduler import Ending, Watch
from voice.request import Request

TWO_PIECES = "This is a sentence of some length. " * 20  # 700 bytes


def tone(length: float, level: float = 0.2) -> Waveform:
    return (level * np.sin(np.arange(round(length * SAMPLE_RATE)) / 10)).astype(np.float32)


def silence(length: float) -> Waveform:
    return np.zeros(round(length * SAMPLE_RATE), np.float32)


@dataclass
class Said:
    """A stream that has been drawn already."""

    chunks: list[Waveform]
    end: Ending = Ending.ITSELF
    ending: Ending | None = None
    cancelled: bool = False

    @property
    def utterance(self) -> Any:
        return SimpleNamespace(codes=[None] * round(sum(map(len, self.chunks)) / FRAME_SAMPLES))

    def __iter__(self) -> Iterator[Waveform]:
        for chunk in self.chunks:
            if self.cancelled:
                self.ending = Ending.CANCELLED
                return
            yield chunk
        self.ending = self.end

    def cancel(self) -> None:
        self.cancelled = True


class Model:
    """Says what it is told to, one utterance after another, and remembers what it was asked."""

    def __init__(self, *said: Said) -> None:
        self._said, self.asked = list(said), list[Request]()

    def begin(self, request: Request, watch: Watch | None) -> Any:
        self.asked.append(request)
        return self._said.pop(0)


def speaking(model: Model, text: str = "Some words.", *, hold: bool = False, **changes: Any) -> Speaking:
    return Speaking(Request(text, "me", seed=3), model.begin, replace(Delivery(), **changes), hold=hold)


def test_plain_delivery_changes_no_sample():
    chunks = [silence(0.08), tone(0.16), silence(0.4), tone(0.3)]
    model = Model(Said(chunks))
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
    model = Model(Said([tone(0.5)] * 9, Ending.BUDGET), Said([], Ending.ITSELF), Said([tone(0.5)]))
    speech = speaking(model, hold=True)
    assert seconds(np.concatenate(list(speech))) < 0.7
    assert speech.ending is Ending.ITSELF
    assert len(model.asked) == 3


def test_attempts_come_to_an_end():
    model = Model(*[Said([tone(0.5)], Ending.BUDGET) for _ in range(3)])
    speech = speaking(model, hold=True)
    assert len(np.concatenate(list(speech))) > 0
    assert speech.ending is Ending.BUDGET


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


def utterance(codes: Any) -> Utterance:
    return SimpleNamespace(codes=[torch.as_tensor(frame) for frame in codes])  # type: ignore[return-value]


@pytest.mark.parametrize("period", [1, 3, 12])
def test_the_watchdog_sees_loops(period: int):
    generator = np.random.default_rng(0)
    free = generator.integers(0, 512, (60, 8))
    loop = np.tile(free[-period:], (60, 1))
    assert Watchdog()(utterance(free)) is None
    assert Watchdog()(utterance(np.concatenate([free, loop]))) is Ending.LOOP


def test_the_watchdog_sees_silence_but_no_pause():
    dog, nothing = Watchdog(), utterance([])
    for _ in range(20):
        dog.heard(silence(0.1))
    assert dog(nothing) is None
    dog.heard(tone(0.1))
    dog.heard(silence(2.4))
    assert dog(nothing) is None
    dog.heard(silence(0.2))
    assert dog(nothing) is Ending.SILENCE


def test_seeds_of_attempts_and_pieces_differ_and_the_first_is_the_requests():
    seeds = {reseeded(5, piece=piece, attempt=attempt) for piece in range(3) for attempt in range(3)}
    assert len(seeds) == 9
    assert reseeded(5, piece=0, attempt=0) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_shaper_gives_back_all_it_kept():
    shaper = Shaper(Delivery(even_loudness=False))
    heard = [shaper.push(chunk) for chunk in np.array_split(tone(1.0), 7)]
    assert seconds(np.concatenate([*heard, shaper.end_piece(broken=False, pause_seconds=0)])) == pytest.approx(
        1.0, abs=0.01
    )


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
        def begin(self, request: Request, watch: Watch | None) -> Any:
            if self.asked:
                speech.close()  # by another thread, just now
            return super().begin(request, watch)

    speech = speaking(Closing(*said), TWO_PIECES)
    list(speech)
    assert all(one.cancelled for one in said)
