"""A listener hears what is handed over as time passes, and misses what comes late."""

import pytest

from tests.voice.engine.waveforms import tone
from voice.engine.listener import Listener


def test_a_listener_hears_what_is_handed_over_as_time_passes():
    now = [100.0]
    listener = Listener(clock=lambda: now[0])
    assert listener.unheard() == 0.0
    listener.hand_over(tone(3.0))
    assert listener.unheard() == pytest.approx(3.0)
    now[0] += 2.0
    assert listener.unheard() == pytest.approx(1.0)
    now[0] += 2.0
    assert listener.unheard() == 0.0  # waiting
    listener.hand_over(tone(3.0))
    assert listener.unheard() == pytest.approx(3.0)


def test_at_twice_the_speed_there_is_half_as_much_in_hand():
    listener = Listener(speed=2.0, clock=lambda: 0.0)
    listener.hand_over(tone(3.0))
    assert listener.unheard() == pytest.approx(1.5)


def test_what_is_missed_adds_up_from_the_first_chunk_on():
    now = [0.0]
    listener = Listener(clock=lambda: now[0])
    now[0] = 50.0  # until there was anything
    assert listener.missed() == 0.0
    listener.hand_over(tone(1.0))
    now[0] = 53.0
    assert listener.missed() == pytest.approx(2.0)
    listener.hand_over(tone(1.0))
    assert listener.missed() == pytest.approx(2.0)
    now[0] = 55.0
    assert listener.missed() == pytest.approx(3.0)
