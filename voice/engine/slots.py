"""What the engine holds of every slot between two frames, in buffers that never move."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from voice.engine.sampling import Settings, drawings
from voice.request import Sampling


@dataclass(frozen=True, slots=True)
class Slots:
    """One row for each slot. A frame reads and writes them in place, so that a CUDA graph can do it."""

    logits: Float[Tensor, "slots vocabulary"]  # codebook 0 of the frame to come
    hidden: Float[Tensor, "slots width"]  # where they came from
    said: Bool[Tensor, "slots vocabulary"]  # codes of codebook 0 drawn so far
    active: Bool[Tensor, " slots"]  # the others stand still: idle, or waiting for a slow consumer
    at: Int64[Tensor, " slots"]  # the next position in the cache
    frame: Int64[Tensor, " slots"]  # frames drawn so far
    uniforms: Float[Tensor, "slots frames codebooks"]
    beside: Float[Tensor, "slots text width"]  # text beside the frames, embedded
    beside_length: Int64[Tensor, " slots"]
    codes: Int64[Tensor, "slots codebooks"]  # the frame drawn last
    settings: Settings  # of codebook 0
    predictor_settings: Settings

    @classmethod
    def of(cls, slots: int, *, positions: int, groups: int, vocabulary: int, like: Tensor) -> "Slots":
        """Idle slots. `like` has the talker's width, dtype and device."""
        width, device = like.shape[-1], like.device

        def counts(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        return cls(
            logits=torch.zeros(slots, vocabulary, device=device),
            hidden=like.new_zeros(slots, width),
            said=torch.zeros(slots, vocabulary, dtype=torch.bool, device=device),
            active=torch.zeros(slots, dtype=torch.bool, device=device),
            at=counts(slots),
            frame=counts(slots),
            uniforms=torch.zeros(slots, positions, groups, device=device),
            beside=like.new_zeros(slots, positions, width),
            beside_length=counts(slots),
            codes=counts(slots, groups),
            settings=Settings.of(slots, device),
            predictor_settings=Settings.of(slots, device),
        )

    def begin(
        self,
        slot: int,
        hidden: Tensor,
        logits: Tensor,
        *,
        at: int,
        beside: Tensor,
        uniforms: Tensor,
        sampling: Sampling,
    ) -> None:
        """Put an utterance whose prompt has been read into a slot."""
        self.hidden[slot], self.logits[slot] = hidden, logits
        self.said[slot], self.at[slot], self.frame[slot] = False, at, 0
        self.uniforms[slot, : len(uniforms)] = uniforms
        self.beside[slot, : len(beside)] = beside
        self.beside_length[slot] = len(beside)
        self._draw_as(slot, sampling)

    def end(self, slot: int) -> None:
        """Leave a slot idle: it stays at position 0 and draws what nobody reads."""
        self.at[slot] = self.frame[slot] = self.beside_length[slot] = 0
        self._draw_as(slot, Sampling(do_sample=False))

    def _draw_as(self, slot: int, sampling: Sampling) -> None:
        talker, predictor = drawings(sampling)
        self.settings.set(slot, talker, penalty=sampling.repetition_penalty)
        self.predictor_settings.set(slot, predictor)

    def save(self, slot: int) -> list[Tensor]:
        """A copy of a slot's rows."""
        return [row[slot].clone() for row in self._rows()]

    def load(self, slot: int, saved: list[Tensor]) -> None:
        """Put a copy into a slot."""
        for row, kept in zip(self._rows(), saved, strict=True):
            row[slot] = kept

    def _rows(self) -> list[Tensor]:
        rows = list[Tensor]()
        for value in (getattr(self, f.name) for f in fields(self)):
            rows += [getattr(value, f.name) for f in fields(value)] if isinstance(value, Settings) else [value]
        return rows
