"""Which checkpoint is kept: the last one, unless an earlier one is better beyond the noise of those who listen."""

import numpy as np
import pytest

from pipelines.train.choice import highest, kept, tired
from pipelines.train.listening import Heard
from tests.pipelines.train.voices import heard, take_of


def noisy(rng: np.random.Generator, levels: list[float], *, noise: float) -> list[Heard]:
    hard = rng.normal(0, 0.3, 4)  # some sentences are harder than others, whoever says them
    return [heard(n, *(level + hard + rng.normal(0, noise, 4))) for n, level in enumerate(levels, start=1)]


def kept_step(listenings: list[Heard], confidence: float = 0.95) -> int:
    one = kept(listenings, confidence=confidence)
    assert one is not None
    return one.step


def test_the_highest_is_the_first_of_equals_and_never_the_untrained_model():
    listenings = [heard(0, 0.9), heard(5, 0.60), heard(10, 0.65), heard(15, 0.65)]
    assert highest(listenings) is listenings[2]
    assert highest(listenings[:1]) is None
    assert kept(listenings[:1], confidence=0.95) is None


def test_an_earlier_one_is_kept_where_it_is_better_beyond_doubt():
    clearly = [heard(1, 0.81, 0.52, 0.70, 0.64), heard(2, 0.80, 0.50, 0.71, 0.65), heard(3, 0.41, 0.12, 0.30, 0.23)]
    assert kept_step(clearly) == 1
    barely = [heard(1, 0.81, 0.52, 0.70, 0.64), heard(2, 0.80, 0.50, 0.71, 0.65), heard(3, 0.80, 0.51, 0.69, 0.64)]
    assert kept_step(barely) == 3


@pytest.mark.parametrize("broken", [1, 2, 3, 4])
def test_a_last_checkpoint_that_breaks_down_on_some_sentences_is_not_kept(broken: int):
    whole = [heard(0, 0.5, 0.6, 0.5, 0.4), heard(1, 0.8, 0.7, 0.75, 0.7), heard(2, 0.75, 0.75, 0.8, 0.65)]
    last = [0.78, 0.72, 0.76, 0.7]
    last[:broken] = [sim - 1.0 for sim in last[:broken]]
    assert kept_step([*whole, heard(3, *last)]) < 3
    assert kept_step([*whole, heard(3, *last)], confidence=1.0) == 3


def test_how_hard_the_sentences_are_is_no_noise():
    equally = [heard(0, 0.6, -0.2, 0.2), heard(1, 0.9, 0.1, 0.5), heard(2, 0.8, 0.0, 0.4)]  # 0.1 lower, each of them
    assert kept_step(equally) == 1


def test_nothing_is_known_of_the_noise_of_one_sentence_said_often():
    assert kept_step([heard(1, 0.9), heard(2, 0.1)]) == 2
    often = [Heard(step, tuple(take_of(step, "en_1", n, sim) for n in range(9))) for step, sim in ((1, 0.9), (2, 0.1))]
    assert kept_step(often) == 2


def test_the_last_of_epochs_that_are_alike_is_nearly_always_kept():
    rng = np.random.default_rng(0)
    trainings = [noisy(rng, [0.3] * 9, noise=0.2) for _ in range(1_000)]
    lucky = sum(kept_step(one) != 9 for one in trainings)
    assert 0 < lucky <= 50  # of 1,000; the highest alone would be another one nearly nine times in ten
    assert sum(highest(one) is not one[-1] for one in trainings) > 850


def test_a_training_that_ended_badly_is_nearly_always_seen():
    rng = np.random.default_rng(1)
    trainings = [noisy(rng, [0.3, 0.5, 0.5, -0.3], noise=0.15) for _ in range(300)]
    assert sum(kept_step(one) in (2, 3) for one in trainings) > 285


def test_word_errors_weigh_as_much_as_similarity_and_babble_only_once():
    assert heard(5, 0.7, wer=0.2).score == pytest.approx(0.5)
    assert heard(5, 0.7, wer=9.0).score == pytest.approx(-0.3)
    assert heard(5, 0.7, 0.5, wer=9.0).by_sentence == pytest.approx({"en_0": -0.3, "en_1": -0.5})


def test_a_training_stops_after_listenings_without_a_higher_score():
    listenings = [heard(0, 0.5), heard(5, 0.8), heard(10, 0.7), heard(15, 0.8)]
    assert tired(listenings, patience=2)
    assert not tired(listenings, patience=3)
    assert not tired(listenings, patience=None)
    assert not tired([heard(0, 0.5)], patience=1)
