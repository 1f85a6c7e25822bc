"""How a code is drawn: the library's logits processors in its order, then one uniform number a draw.

    repetition penalty -> no end before the second frame -> suppressed ids -> temperature -> top-k -> top-p

Every slot has settings of its own. Its uniform numbers come from its seed before it starts, so neither the device nor
what shares the batch can change them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from voice.engine import native
from voice.request import Drawing, Sampling

Rows = slice | Int64[Tensor, " rows"]

FEWEST_FRAMES = 2  # upstream's min_new_tokens
# what they are called in a generation_config.json
TALKER_KEYS = {name: name for name in ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty")}
PREDICTOR_KEYS = {name: f"subtalker_{name}" for name in ("temperature", "top_k", "top_p")}
PREDICTOR_KEYS["do_sample"] = "subtalker_dosample"
NARROW = 64  # candidates that are enough for every usual top_k; sorting the whole vocabulary costs time


def uniforms(seed: int, frames: int, groups: int) -> Float[np.ndarray, "frames groups"]:
    """One number in [0, 1) for each draw of an utterance, the same on every device (Philox, counter-based)."""
    generator = np.random.Generator(np.random.Philox(key=seed % 2**64))
    return generator.random((frames, groups), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Settings:
    """Sampling of each slot, on the device."""

    temperature: Float[Tensor, "slots 1"]
    top_k: Int64[Tensor, "slots 1"]
    top_p: Float[Tensor, "slots 1"]
    penalty: Float[Tensor, "slots 1"]
    greedy: Bool[Tensor, "slots 1"]

    @classmethod
    def of(cls, slots: int, device: torch.device) -> "Settings":
        """Those of idle slots."""
        floats = [torch.ones(slots, 1, device=device) for _ in range(3)]
        top_k = torch.ones(slots, 1, dtype=torch.int64, device=device)
        return cls(floats[0], top_k, floats[1], floats[2], torch.ones(slots, 1, dtype=torch.bool, device=device))

    def at(self, rows: Rows) -> "Settings":
        """Those of some slots."""
        return Settings(
            self.temperature[rows], self.top_k[rows], self.top_p[rows], self.penalty[rows], self.greedy[rows]
        )

    def set(self, slot: int, drawing: Drawing, *, penalty: float = 1.0) -> None:
        """Give a slot its own."""
        self.temperature[slot] = drawing.temperature if drawing.do_sample else 1.0
        self.top_k[slot] = drawing.top_k if drawing.top_k > 0 else torch.iinfo(torch.int64).max
        self.top_p[slot] = drawing.top_p
        self.penalty[slot] = penalty
        self.greedy[slot] = not drawing.do_sample


def of_checkpoint(generation: Mapping[str, Any] | None) -> Sampling:
    """What a generation_config.json says; as upstream, the published values stand for what it does not."""
    said = generation or {}
    talker, predictor = (
        {name: said[key] for name, key in keys.items() if key in said} for keys in (TALKER_KEYS, PREDICTOR_KEYS)
    )
    return Sampling(**talker, predictor=Drawing(**predictor))


def drawings(sampling: Sampling) -> tuple[Drawing, Drawing]:
    """Of the talker and of the code predictor."""
    return sampling, sampling.predictor or sampling


def candidates(drawing: Drawing) -> int | None:
    """How many candidates a draw looks at; None for the whole vocabulary."""
    return NARROW if not drawing.do_sample or 0 < drawing.top_k <= NARROW else None


def penalise(
    logits: Float[Tensor, "slots vocabulary"], said: Bool[Tensor, "slots vocabulary"], settings: Settings
) -> Float[Tensor, "slots vocabulary"]:
    """Make codes that were drawn before less likely."""
    return torch.where(said, torch.where(logits < 0, logits * settings.penalty, logits / settings.penalty), logits)


def likeliest(logits: Float[Tensor, "slots vocabulary"], width: int) -> Int64[Tensor, "slots width"]:
    """The codes with the highest logits, the highest first; of equal ones the smaller code.

    `topk` and `argmax` leave open which of equal values they choose, and it changes with the number of rows. In bf16
    many are equal, so each logit is compared as an integer that holds its bits, and behind them its code's rank.
    """
    vocabulary = logits.shape[1]
    bits = (logits.float() + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    ranked = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long() << 32
    behind = torch.arange(vocabulary - 1, -1, -1, device=logits.device)
    return (ranked + behind).topk(min(width, vocabulary), sorted=True).indices


def warp(
    logits: Float[Tensor, "slots vocabulary"], settings: Settings, *, width: int | None, nucleus: bool
) -> tuple[Float[Tensor, "slots width"], Int64[Tensor, "slots width"]]:
    """Temperature, top-k and top-p: what is left, the likeliest first, and which codes they are.

    `width` bounds the candidates, `nucleus` says whether any slot wants top-p: both change the cost, not the outcome.
    """
    codes = likeliest(logits, width or logits.shape[1])
    width = codes.shape[1]
    values = logits.gather(1, codes) / settings.temperature
    least = values.gather(1, (settings.top_k - 1).clamp(max=width - 1))
    values = values.masked_fill(values < least, -torch.inf)
    if width > NARROW:  # equals of the k-th stay, but not beyond what a slot with a narrow top-k sees when it is alone
        beyond = torch.arange(width, device=values.device) >= NARROW
        values = values.masked_fill(beyond & (settings.top_k <= NARROW), -torch.inf)
    if nucleus:
        rest = values.softmax(1).flip(1).cumsum(1).flip(1)  # of a candidate and all less likely ones, as upstream sums
        dropped = (rest <= 1 - settings.top_p) & (settings.top_p < 1)
        dropped[:, 0] = False
        values = values.masked_fill(dropped, -torch.inf)
    return values, codes


def draw(
    logits: Float[Tensor, "slots vocabulary"],
    uniform: Float[Tensor, " slots"],
    settings: Settings,
    *,
    width: int | None,
    nucleus: bool,
) -> Int64[Tensor, " slots"]:
    """Draw a code for each slot by inverting its distribution; greedy slots take the likeliest."""
    if logits.device.type == "cpu" and native.library():
        return native.draw(
            logits, uniform, temperature=settings.temperature, top_p=settings.top_p, top_k=settings.top_k,
            greedy=settings.greedy, width=width or logits.shape[1],
        )  # fmt: skip
    values, codes = warp(logits, settings, width=width, nucleus=nucleus)
    summed = values.softmax(1).cumsum(1)
    at = (summed <= uniform[:, None] * summed[:, -1:]).sum(1, keepdim=True).clamp(max=values.shape[1] - 1)
    return torch.where(settings.greedy, codes[:, :1], codes.gather(1, at))[:, 0]
