import pytest

from pipelines.eval.ballot import Poll
from pipelines.eval.bootstrap import Interval, mean_interval
from pipelines.eval.gate import Decision, Evidence, Margins, Outcome, decide
from pipelines.eval.settings import System

BETTER, WORSE, UNSURE = (0.02, 0.08), (-0.08, -0.02), (-0.02, 0.05)
SAME = (-0.01, 0.01)
MARGINS = Margins(sim=0.0, wer=0.05, runaway=0.02, votes=20)
NO_VOTES, LOVED, HATED = Poll(0, 0, 0), Poll(18, 4, 2), Poll(4, 18, 2)


def judged(
    sim: tuple[float, float],
    wer: tuple[float, float],
    *,
    runaway: tuple[float, float] = SAME,
    poll: Poll = NO_VOTES,
    margins: Margins = MARGINS,
) -> Decision:
    intervals = [Interval(sum(ends) / 2, *ends, detectable=0.1) for ends in (sim, wer, runaway)]
    return decide(Evidence(*intervals, sentences=30, poll=poll), margins)


@pytest.mark.parametrize(
    ("sim", "wer", "outcome"),
    [
        (BETTER, (-0.03, 0.02), Outcome.FINETUNED_WINS),
        (BETTER, (0.02, 0.04), Outcome.FINETUNED_WINS),  # surely worse, but within the margin
        (BETTER, (-0.03, 0.06), Outcome.NO_DIFFERENCE),  # may be worse by more than the margin
        (BETTER, (0.06, 0.09), Outcome.ZERO_SHOT_WINS),  # surely worse by more than the margin
        (UNSURE, (-0.09, -0.02), Outcome.NO_DIFFERENCE),
        ((0.0, 0.05), (-0.01, 0.01), Outcome.NO_DIFFERENCE),
        (WORSE, (-0.09, -0.02), Outcome.ZERO_SHOT_WINS),
    ],
)
def test_the_fine_tuned_voice_ships_only_if_it_surely_wins(sim, wer, outcome: Outcome):
    decision = judged(sim, wer)
    assert decision.outcome is outcome
    assert decision.winner == (System.FINETUNED if outcome is Outcome.FINETUNED_WINS else System.ZERO_SHOT)
    assert decision.reason.endswith(".")


def test_a_gain_has_to_be_larger_than_its_margin():
    demanding = Margins(sim=0.03, wer=0.05, runaway=0.02, votes=20)
    assert judged(BETTER, SAME, margins=demanding).outcome is Outcome.NO_DIFFERENCE
    assert judged((0.04, 0.08), SAME, margins=demanding).outcome is Outcome.FINETUNED_WINS


def test_a_voice_that_surely_runs_away_more_often_does_not_ship():
    assert judged(BETTER, SAME, runaway=(0.03, 0.1)).outcome is Outcome.ZERO_SHOT_WINS
    assert judged(BETTER, SAME, runaway=(0.01, 0.1)).outcome is Outcome.FINETUNED_WINS


@pytest.mark.parametrize(
    ("sim", "wer", "poll", "outcome"),
    [
        (UNSURE, SAME, LOVED, Outcome.FINETUNED_WINS),
        (UNSURE, SAME, HATED, Outcome.NO_DIFFERENCE),  # zero-shot ships anyway
        (UNSURE, SAME, Poll(12, 10, 0), Outcome.NO_DIFFERENCE),  # a coin does that
        (UNSURE, SAME, Poll(9, 0, 30), Outcome.NO_DIFFERENCE),  # too few that chose
        (BETTER, (0.06, 0.09), LOVED, Outcome.ZERO_SHOT_WINS),  # less intelligible stays less intelligible
        (WORSE, SAME, LOVED, Outcome.ZERO_SHOT_WINS),
        (BETTER, SAME, HATED, Outcome.FINETUNED_WINS),
    ],
)
def test_votes_break_a_no_difference_and_nothing_else(sim, wer, poll: Poll, outcome: Outcome):
    assert judged(sim, wer, poll=poll).outcome is outcome


def test_votes_ship_no_voice_that_may_be_less_intelligible():
    assert judged(UNSURE, (-0.01, 0.06), poll=LOVED).outcome is Outcome.NO_DIFFERENCE
    few = [Interval(0.0, -0.01, 0.01, detectable=0.1)] * 3
    assert decide(Evidence(*few, sentences=5, poll=LOVED), MARGINS).outcome is Outcome.NO_DIFFERENCE


@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_is_not_a_number_shows_nothing(which: int):
    ends = [BETTER, SAME, SAME]
    ends[which] = (float("nan"), float("nan"))
    sim, wer, runaway = ends
    decision = judged(sim, wer, runaway=runaway, poll=LOVED)
    assert decision.outcome is Outcome.NO_DIFFERENCE
    assert decision.winner is System.ZERO_SHOT


@pytest.mark.parametrize(("sentences", "outcome"), [(5, Outcome.NO_DIFFERENCE), (6, Outcome.FINETUNED_WINS)])
def test_a_handful_of_sentences_proves_nothing(sentences: int, outcome: Outcome):
    sim = {f"s{i}": 0.1 + 0.01 * i for i in range(sentences)}  # each of them better
    same = dict.fromkeys(sim, 0.0)
    intervals = [mean_interval(values, resamples=200, seed=0) for values in (sim, same, same)]
    assert decide(Evidence(*intervals, sentences=sentences, poll=NO_VOTES), MARGINS).outcome is outcome
