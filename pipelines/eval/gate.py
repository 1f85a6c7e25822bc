"""Which voice ships: the fine-tuned one has to win, the zero-shot one is what a doubt leaves."""

import math
from dataclasses import dataclass
from enum import StrEnum

from pipelines.eval.ballot import Poll
from pipelines.eval.bootstrap import Interval
from pipelines.eval.settings import System

# Resampling n sentences never leaves their range, so that by chance alone a whole interval lies above 0 where all n do:
# once in 2**n. From six on that is rarer than the 2.5 % that each end of a 95 % interval allows.
FEWEST_SENTENCES = 6


class Outcome(StrEnum):
    """What the comparison showed."""

    FINETUNED_WINS = "fine-tuned wins"
    ZERO_SHOT_WINS = "zero-shot wins"
    NO_DIFFERENCE = "no difference shown"


@dataclass(frozen=True, slots=True)
class Margins:
    """How much counts, from conf/eval/."""

    sim: float  # gain in similarity that a training must surely exceed
    wer: float  # loss of intelligibility that is borne
    runaway: float  # larger share of runaways that is borne
    votes: int  # of the listening test, before it counts


@dataclass(frozen=True, slots=True)
class Evidence:
    """Differences fine-tuned minus zero-shot, and how the owner voted between the two."""

    sim: Interval
    wer: Interval
    runaway: Interval
    sentences: int
    poll: Poll


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome, why, and what gets packaged."""

    outcome: Outcome
    reason: str

    @property
    def winner(self) -> System:
        """The system that ships."""
        return System.FINETUNED if self.outcome is Outcome.FINETUNED_WINS else System.ZERO_SHOT


def decide(evidence: Evidence, margins: Margins) -> Decision:
    """Judge by the figures; where they show no difference, by the owner's ears.

    A listening test never overturns what was shown, and stands for similarity only: a voice that may be less
    intelligible by more than the margin does not ship because it sounds nice.
    """
    decision = _by_figures(evidence, margins)
    intelligible = evidence.sentences >= FEWEST_SENTENCES and evidence.wer.high <= margins.wer
    open_question = decision.outcome is Outcome.NO_DIFFERENCE and intelligible and _are_numbers(evidence)
    if open_question and evidence.poll.prefers(at_least=margins.votes):
        heard = f"the figures show no difference ({decision.reason.rstrip('.')}), but you preferred it in a blind test"
        return Decision(Outcome.FINETUNED_WINS, f"{heard}: {evidence.poll}.")
    return decision


def _by_figures(evidence: Evidence, margins: Margins) -> Decision:
    """Fine-tuned wins only where similarity is better with its whole interval above the margin, WER is surely not worse
    by more than its margin, and runaways are not surely more frequent. Zero-shot wins where one of them is surely the
    other way round. Fewer than six sentences show nothing.
    """
    sim, wer, runaway = evidence.sim, evidence.wer, evidence.runaway
    if evidence.sentences < FEWEST_SENTENCES:
        few = f"only {evidence.sentences} sentences were spoken, and fewer than {FEWEST_SENTENCES} prove nothing"
        return Decision(Outcome.NO_DIFFERENCE, f"{few}. Raise text_limit in conf/eval/.")
    if not _are_numbers(evidence):
        return Decision(Outcome.NO_DIFFERENCE, "a figure is not a number, so nothing is shown. Look at scores/*.csv.")
    if wer.low > margins.wer:
        return Decision(Outcome.ZERO_SHOT_WINS, f"fine-tuning made it less intelligible: WER {says(wer)}.")
    if runaway.low > margins.runaway:
        return Decision(Outcome.ZERO_SHOT_WINS, f"fine-tuning made it run away more often: share {says(runaway)}.")
    if sim.high < 0:
        return Decision(Outcome.ZERO_SHOT_WINS, f"fine-tuning made it less like you: similarity {says(sim)}.")
    if sim.low <= margins.sim:
        beyond = f", which may be no more than {margins.sim:g}" if margins.sim else ", which may be nothing"
        return Decision(Outcome.NO_DIFFERENCE, f"similarity changed by {says(sim)}{beyond}.")
    if wer.high > margins.wer:
        worse = f"WER {says(wer)} may be worse by more than {margins.wer:g}"
        return Decision(Outcome.NO_DIFFERENCE, f"it is more like you (similarity {says(sim)}), but {worse}.")
    return Decision(
        Outcome.FINETUNED_WINS, f"it is more like you (similarity {says(sim)}), and WER {says(wer)} is no worse."
    )


def _are_numbers(evidence: Evidence) -> bool:
    return all(math.isfinite(end) for i in (evidence.sim, evidence.wer, evidence.runaway) for end in (i.low, i.high))


def says(interval: Interval) -> str:
    """A difference with its interval, in figures."""
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
