"""Which voice ships: the fine-tuned one has to win, the zero-shot one is what a doubt leaves."""

from dataclasses import dataclass
from enum import StrEnum

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
class Decision:
    """The outcome, why, and what gets packaged."""

    outcome: Outcome
    reason: str

    @property
    def winner(self) -> System:
        """The system that ships."""
        return System.FINETUNED if self.outcome is Outcome.FINETUNED_WINS else System.ZERO_SHOT


def decide(sim: Interval, wer: Interval, *, sentences: int, wer_margin: float) -> Decision:
    """Judge the differences fine-tuned minus zero-shot.

    Fine-tuned wins only where similarity is better with its whole interval above 0, and WER is surely not worse by
    more than the margin (its interval's upper end). Zero-shot wins where either is surely the other way round. Fewer
    than six sentences show nothing.
    """
    if sentences < FEWEST_SENTENCES:
        few = f"only {sentences} sentences were spoken, and fewer than {FEWEST_SENTENCES} prove nothing"
        return Decision(Outcome.NO_DIFFERENCE, f"{few}. Raise text_limit in conf/eval/.")
    if wer.low > wer_margin:
        return Decision(Outcome.ZERO_SHOT_WINS, f"fine-tuning made it less intelligible: WER {_says(wer)}.")
    if sim.high < 0:
        return Decision(Outcome.ZERO_SHOT_WINS, f"fine-tuning made it less like you: similarity {_says(sim)}.")
    if sim.low <= 0:
        return Decision(Outcome.NO_DIFFERENCE, f"similarity changed by {_says(sim)}, which may be nothing.")
    if wer.high > wer_margin:
        worse = f"WER {_says(wer)} may be worse by more than {wer_margin:g}"
        return Decision(Outcome.NO_DIFFERENCE, f"it is more like you (similarity {_says(sim)}), but {worse}.")
    return Decision(
        Outcome.FINETUNED_WINS, f"it is more like you (similarity {_says(sim)}), and WER {_says(wer)} is no worse."
    )


def _says(interval: Interval) -> str:
    return f"{interval.mean:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
