"""The watchdog: loops and silence are seen while they are drawn, pauses and repeated words are not taken for them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.voice.engine.waveforms import silence, tone
from voice.engine.core import Utterance
from voice.engine.scheduler import Ending
from voice.engine.watchdog import Drawn, Watchdog


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


def drawn(share: float = 1.0, *, text_bytes: int = 300, ending: Ending = Ending.ITSELF) -> Drawn:
    """An utterance at so many times the usual pace."""
    return Drawn(text_bytes, round(text_bytes / 15 * 12.5 / share), ending)


@pytest.mark.parametrize("ending", [e for e in Ending if e is not Ending.ITSELF])
def test_what_is_not_complete_is_the_worst(ending: Ending):
    assert drawn(ending=ending).fault([]) == drawn(6.0).fault([]) > drawn(4.0).fault([drawn()] * 3) > 0


def test_pace_is_judged_beside_the_median_of_others():
    others = [drawn(0.9), drawn(1.0), drawn(1.1), drawn(4.0)]
    assert drawn(1.4).fault(others) == drawn(0.75).fault(others) == 0
    assert drawn(2.0).fault(others) > drawn(1.7).fault(others) > 0
    assert drawn(0.6).fault(others) > 0
    assert drawn(2.0).fault([]) == 0


def test_short_texts_and_what_is_not_complete_have_no_pace():
    assert drawn(text_bytes=40).pace is None
    assert drawn(ending=Ending.LOOP).pace is None
    assert drawn(6.0).pace is None  # over before it can have said its text
    assert drawn(3.0, text_bytes=40).fault([drawn()]) == 0


def test_a_text_of_numbers_is_in_pace_with_the_words_it_is_read_as():
    def said(text: str, *, as_long_as: str) -> Drawn:
        stream = SimpleNamespace(utterance=utterance([[0]] * round(len(as_long_as) / 15 * 12.5)), ending=Ending.ITSELF)
        return Drawn.of(text, stream)  # type: ignore[arg-type]

    spelled = "Two thousand one hundred and forty-seven, four hundred and eighty-three, six hundred and forty-eight."
    numbers = said("2147, 483, 648.", as_long_as=spelled)
    assert numbers.fault([said(spelled, as_long_as=spelled)]) == 0
    assert said("2147, 483, 648.", as_long_as=spelled * 3).fault([numbers]) > 0
