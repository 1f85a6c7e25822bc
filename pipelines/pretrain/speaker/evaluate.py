"""Does the encoder tell apart speakers that it never heard?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from pipelines.pretrain.corpus import clip_waveform
from pipelines.pretrain.speaker.data import Voices, log_mel
from voice.audio import Waveform

Cosines = Float[np.ndarray, " pairs"]


@dataclass(frozen=True, slots=True)
class Separation:
    """How far one speaker's clips are from others'. Means of cosines, and of pairs."""

    same: float
    different: float
    equal_error_rate: float  # where as many same pairs are below the threshold as different ones above
    nearest_is_own: float  # share of clips whose nearest other clip is by the same speaker


@torch.inference_mode()
def embed(encoder: Any, waveforms: Sequence[Waveform]) -> Float[np.ndarray, "clips dimensions"]:
    """Embeddings of whole clips, one at a time, as the stock model makes them."""
    encoder.eval()
    return np.stack([encoder(log_mel(torch.from_numpy(w)[None]))[0].numpy() for w in waveforms])


def separation(embeddings: Float[np.ndarray, "clips dimensions"], who: Sequence[str]) -> Separation:
    """Compare every clip with every other one."""
    directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines, names = directions @ directions.T, np.asarray(who)
    own = names[:, None] == names
    upper = np.triu(np.ones_like(own), 1).astype(bool)
    same, different = cosines[own & upper], cosines[~own & upper]
    np.fill_diagonal(cosines, -np.inf)
    nearest = names[cosines.argmax(axis=1)] == names
    return Separation(
        float(same.mean()), float(different.mean()), equal_error_rate(same, different), float(nearest.mean())
    )


def equal_error_rate(same: Cosines, different: Cosines) -> float:
    """The share of wrong decisions at the threshold where both kinds of pairs have as many."""
    thresholds = np.unique(np.concatenate([same, different]))
    missed = np.searchsorted(np.sort(same), thresholds) / len(same)
    accepted = 1 - np.searchsorted(np.sort(different), thresholds) / len(different)
    best = np.abs(missed - accepted).argmin()
    return float((missed[best] + accepted[best]) / 2)


def judge(encoder: Any, voices: Voices, *, each: int) -> Separation:
    """Measure on the first `each` clips of every speaker."""
    pairs = [(speaker, pair) for speaker in voices.speakers for pair in voices.clips(speaker)[:each]]
    embeddings = embed(encoder, [clip_waveform(*pair) for _, pair in pairs])
    return separation(embeddings, [speaker for speaker, _ in pairs])
