"""The watchdog: loops and silence are seen while they are drawn, pauses and repeated words are not taken for them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.voice.engine.waveforms import silence, tone
from voice.audio import FRAME_RATE
from voice.engine.core import Utterance
from voice.engine.scheduler import Ending
from voice.engine.watchdog import Drawn, Watchdog, recurrence
from voice.text import USUAL_BYTES_A_SECOND, spoken_bytes

PROSE = "The morning bus was late again, so we walked along the river instead, and came home in the dark."


def utterance(codes: Any) -> Utterance:
    return SimpleNamespace(codes=[torch.as_tensor(frame) for frame in codes])  # type: ignore[return-value]


@pytest.mark.parametrize("period", [1, 3, 12])
def test_the_watchdog_sees_loops(period: int):
    generator = np.random.default_rng(0)
    free = generator.integers(0, 512, (60, 8))
    loop = np.tile(free[-period:], (60, 1))
    assert Watchdog(PROSE)(utterance(free)) is None
    assert Watchdog(PROSE)(utterance(np.concatenate([free, loop]))) is Ending.LOOP


def babble(seed: int, *, frames: int = 200) -> np.ndarray:
    """Frames whose first codes are held for one to three frames, some much more often than others, as in speech."""
    generator = np.random.default_rng(seed)
    weights = 1.0 / np.arange(10, 522)
    first = generator.choice(512, frames, p=weights / weights.sum()).repeat(generator.integers(1, 4, frames))[:frames]
    return np.concatenate([first[:, None], generator.integers(0, 512, (frames, 7))], 1)


def drawn_again(said: np.ndarray, *, period: int, share: float, seed: int) -> np.ndarray:
    """The last frames again and again for 12 s, so large a share of their codes drawn anew."""
    generator = np.random.default_rng(seed)
    loop = np.tile(said[-period:], (150 // period + 1, 1))[:150]
    return np.where(generator.random(loop.shape) < share, generator.permutation(said)[:150], loop)


def verdicts(dog: Watchdog, codes: np.ndarray) -> set[Ending | None]:
    """What is said of it while it grows."""
    growing = utterance(codes)
    frames, growing.codes = growing.codes, []
    found = set()
    for frame in frames:
        growing.codes.append(frame)
        found.add(dog(growing))
    return found


@pytest.mark.parametrize("period", [6, 20, 43])
@pytest.mark.parametrize("share", [0.2, 0.3])
def test_the_watchdog_sees_loops_that_are_drawn_anew(period: int, share: float):
    for seed in range(5):
        said = babble(seed)
        loop = np.concatenate([said, drawn_again(said, period=period, share=share, seed=seed)])
        assert Ending.LOOP in verdicts(Watchdog(PROSE), loop)


def test_the_watchdog_takes_no_babble_for_a_loop_nor_long_pauses():
    for seed in range(20):
        pause = np.tile(babble(seed)[:1], (24, 1))  # again and again, the same
        paused = np.concatenate([np.concatenate([babble(99 * seed + n, frames=40), pause]) for n in range(5)])
        assert verdicts(Watchdog(PROSE), babble(seed)) == verdicts(Watchdog(PROSE), paused) == {None}


def test_what_comes_back_while_the_text_may_last_is_no_loop():
    said = babble(0)
    refrain = np.concatenate([said[:40], drawn_again(said, period=6, share=0.1, seed=0)])  # no, no, no, no, no
    text = "He put down the telephone, looked at me for a long while and said: no, no, no, no."
    due = int(1.5 * FRAME_RATE * spoken_bytes(text) / USUAL_BYTES_A_SECOND)
    assert len(refrain) > due
    assert verdicts(Watchdog(text), refrain[: due - 1]) == {None}
    assert Ending.LOOP in verdicts(Watchdog(text), refrain)


def test_a_text_that_repeats_itself_may_sound_like_that():
    said = babble(0)
    loop = np.concatenate([said, drawn_again(said, period=20, share=0.3, seed=0)])
    for text in (
        "No, no, no, no, no!",
        "One: a bottle of milk. Two: a bottle of milk. Three: a bottle of milk.",
        "101, 102, 103, 104",
    ):
        assert verdicts(Watchdog(text), loop) == {None}


def test_how_much_comes_back_is_a_share_of_what_moves():
    assert recurrence([*range(100)]) == 0.0
    assert recurrence([*range(25)] * 4) == 1.0
    assert recurrence([7] * 100) == 0.0
    assert recurrence([1, 2] * 25) == 0.0  # too short to tell
    half = [*range(25), *range(25), *range(25), *range(100, 125)]  # of the last 50 one half came back
    assert recurrence(half) == 0.5


def test_the_watchdog_sees_silence_but_no_pause():
    dog, nothing = Watchdog(PROSE), utterance([])
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
