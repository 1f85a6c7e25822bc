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
class CharacterErrors:
    """Each kind a share of the characters that are written, spaces between words included."""

    substitutions: float
    deletions: float
    insertions: float

    @property
    def rate(self) -> float:
        """CER."""
        return self.substitutions + self.deletions + self.insertions


@torch.inference_mode()
def transcribe(waveform: Waveform, recogniser: Recogniser) -> str:
    """What is most probably said, in small letters, as it sounds: no dictionary makes words of it."""
    batch = Batch.of([Heard.of(waveform, "")])
    return letters(recogniser(batch.audio, batch.real), batch)[0]


def character_errors(texts: Sequence[str], waveforms: Sequence[Waveform], recogniser: Recogniser) -> CharacterErrors:
    """Compare what is written with what is heard, over all texts together; punctuation does not count."""
    heard = [normalise(transcribe(waveform, recogniser)) for waveform in waveforms]
    found = jiwer.process_characters([normalise(text) for text in texts], heard)
    written = found.hits + found.substitutions + found.deletions
    return CharacterErrors(found.substitutions / written, found.deletions / written, found.insertions / written)
