import numpy as np
import pytest

from pipelines.eval.delivery import measure, pitches
from tests.sounds import noise, silence, speechlike


@pytest.mark.parametrize("hertz", [80.0, 120.0, 210.0, 330.0])
def test_pitch_is_that_of_the_voice_and_not_its_octave(hertz: float):
    assert measure(speechlike(2.0, pitch=hertz)).pitch_hz == pytest.approx(hertz, rel=0.04)


def test_noise_has_no_pitch():
    assert len(pitches(noise(2.0))) < 3


def test_liveliness_is_the_spread_of_pitch_in_semitones():
    dull = speechlike(2.0, pitch=120)
    lively = np.concatenate([speechlike(1.0, pitch=100), speechlike(1.0, pitch=200)])
    assert measure(dull).pitch_semitones < 0.5
    assert measure(lively).pitch_semitones == pytest.approx(6.0, abs=1.0)


def test_pauses_are_gaps_between_sounds_and_not_what_lies_around_them():
    said, gap = speechlike(1.0), silence(0.5)
    delivery = measure(np.concatenate([gap, said, gap, said, gap, gap]))
    assert delivery.pauses == 1
    assert delivery.pause_share == pytest.approx(0.5 / 2.5, abs=0.03)


def test_half_the_amplitude_is_six_decibels_less_and_clipping_is_counted():
    loud = speechlike(2.0)
    assert measure(loud).level_dbfs - measure(loud / 2).level_dbfs == pytest.approx(6.0, abs=0.1)
    assert measure(np.clip(loud * 20, -1, 1)).clipped_share > 0.05
    assert measure(loud).clipped_share == 0


@pytest.mark.parametrize("samples", [0, 100, 24_000])
def test_silence_of_any_length_is_silent(samples: int):
    assert measure(np.zeros(samples, np.float32)).silent
