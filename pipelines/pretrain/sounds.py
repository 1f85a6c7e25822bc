"""What codes sound like, as numbers to start learning from.

From random embeddings every code must be learnt by itself: a recogniser of codes stays at 0.74 letter errors
for 600 steps from random ones, and is at 0.47 after 200 from these (docs/log.md).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pipelines.pretrain.material import CHECKPOINT_FOLDER
from voice.engine.vocoder import code_tables, code_vectors
from voice.upstream import Qwen3TTSTokenizer

Sounds = Float[Tensor, "codebooks size dimensions"]


def read_sounds(material: Path) -> Sounds:
    """What each code adds to its frame, in the codec that `material` was encoded with.

    The first codebook learns letters: its codes add next to nothing to the sound, how far apart they are is what they
    tell. So these are its own vectors, in dimensions of their own, and as loud as all others together.
    """
    codec = Qwen3TTSTokenizer.from_pretrained(str(material / CHECKPOINT_FOLDER / "speech_tokenizer"))
    heard = code_tables(codec.model.decoder)[1:]
    [letters] = codec.model.decoder.quantizer.rvq_first.vq.layers
    told = code_vectors(letters._codebook).detach()[None]
    told = told * (_power(heard).sum() / _power(told)).sqrt()
    return torch.cat([F.pad(told, (heard.shape[-1], 0)), F.pad(heard, (0, told.shape[-1]))])


def _power(tables: Sounds) -> Float[Tensor, " codebooks"]:
    return (tables - tables.mean(dim=1, keepdim=True)).square().sum(dim=2).mean(dim=1)


def embeddings(sounds: Sounds, *, width: int, frame_rms: float) -> Float[Tensor, "codebooks size width"]:
    """Embeddings as far apart as the codes sound; all codes of a frame together have the power of `frame_rms`."""
    spread = sounds - sounds.mean(dim=1, keepdim=True)
    rows = spread @ torch.randn(sounds.shape[-1], width, generator=torch.Generator().manual_seed(0))
    return rows * (frame_rms / rows.square().mean(dim=(1, 2)).sum().sqrt())
