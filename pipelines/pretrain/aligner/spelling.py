"""What the recogniser makes of speech, letter by letter.

A judge of words loses most of what a small model says, and cannot tell what was left out from what was mumbled. Letters
can be counted. It is no judge of `nano`, though: the codec learnt to be heard by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import torch

from pipelines.eval.metrics import normalise
from pipelines.pretrain.aligner.data import Batch, Heard
from pipelines.pretrain.aligner.model import Recogniser
from pipelines.pretrain.aligner.train import letters
from voice.audio import Waveform


@dataclass(frozen=True, slots=True)
class Misspelt:
    """Letters that were misheard, each kind a share of those that are written."""

    wrong: float
    left_out: float
    added: float

    @property
    def all(self) -> float:
        """Letter error rate."""
        return self.wrong + self.left_out + self.added


@torch.inference_mode()
def spell(waveform: Waveform, recogniser: Recogniser) -> str:
    """What is most probably said, in small letters, as it sounds: no dictionary makes words of it."""
    batch = Batch.of([Heard.of(waveform, "")])
    return letters(recogniser(batch.audio, batch.real), batch)[0]


def misspelt(texts: Sequence[str], waveforms: Sequence[Waveform], recogniser: Recogniser) -> Misspelt:
    """Compare what is written with what is heard, over all letters together; punctuation does not count."""
    heard = [normalise(spell(waveform, recogniser)) for waveform in waveforms]
    found = jiwer.process_characters([normalise(text) for text in texts], heard)
    written = found.hits + found.substitutions + found.deletions
    return Misspelt(found.substitutions / written, found.deletions / written, found.insertions / written)
