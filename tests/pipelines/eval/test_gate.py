import pytest

from pipelines.eval.bootstrap import Interval, mean_interval
from pipelines.eval.gate import Outcome, decide
from pipelines.eval.settings import System

BETTER, WORSE, UNSURE = (0.02, 0.08), (-0.08, -0.02), (-0.02, 0.05)


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
    def interval(ends: tuple[float, float]) -> Interval:
        return Interval(sum(ends) / 2, *ends, detectable=0.1)

    decision = decide(interval(sim), interval(wer), sentences=30, wer_margin=0.05)
    assert decision.outcome is outcome
    assert decision.winner == (System.FINETUNED if outcome is Outcome.FINETUNED_WINS else System.ZERO_SHOT)
    assert decision.reason.endswith(".")


@pytest.mark.parametrize(("sentences", "outcome"), [(5, Outcome.NO_DIFFERENCE), (6, Outcome.FINETUNED_WINS)])
def test_a_handful_of_sentences_proves_nothing(sentences: int, outcome: Outcome):
    sim = {f"s{i}": 0.1 + 0.01 * i for i in range(sentences)}  # each of them better
    intervals = [mean_interval(values, resamples=200, seed=0) for values in (sim, dict.fromkeys(sim, 0.0))]
    decision = decide(*intervals, sentences=sentences, wer_margin=0.05)
    assert decision.outcome is outcome
