"""One frame of all slots: draw codebook 0, then the rest, then read the frame. No host synchronisation within."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from voice.engine import sampling
from voice.engine.linear import Precision
from voice.engine.predictor import Predictor
from voice.engine.sampling import FEWEST_FRAMES, Rows
from voice.engine.slots import Slots
from voice.engine.talker import Talker

ALL = slice(None)
CONTROL_ROWS = 1_024  # the vocabulary's last rows: upstream never draws them, but for the end


@dataclass(frozen=True, slots=True)
class Draws:
    """What the slots in use ask of sampling; it changes what a frame costs, not what it draws."""

    width: int | None
    nucleus: bool


class Frames:
    """Talker, code predictor and the slots' buffers."""

    def __init__(self, model: Any, *, slots: int, positions: int, precision: Precision, dtype: torch.dtype) -> None:
        config = model.config.talker_config
        self.talker = Talker(model.talker, slots=slots, positions=positions, precision=precision, dtype=dtype)
        predictor = model.talker.code_predictor
        self.predictor = Predictor(predictor, model.talker, slots=slots, precision=precision, dtype=dtype)
        device = self.talker.device
        self.end_code = config.codec_eos_token_id
        ids = torch.arange(config.vocab_size, device=device)
        self._ends = ids == self.end_code
        self._suppressed = (ids >= config.vocab_size - CONTROL_ROWS) & ~self._ends
        self._padding = self.talker.embed_text(torch.tensor([model.config.tts_pad_token_id]))
        self._vocabulary = config.vocab_size
        self._allocate_slots(slots)

    def allocate(self, slots: int) -> None:
        """Begin anew with so many slots."""
        self.talker.allocate(slots)
        self.predictor.allocate(slots)
        self._allocate_slots(slots)

    def release(self) -> None:
        """Give the slots' memory back; `allocate` makes it anew."""
        self.talker.release()
        self.predictor.release()
        vars(self).pop("slots", None)  # not there where allocating has failed

    def _allocate_slots(self, slots: int) -> None:
        positions, groups = self.talker.positions, self.predictor.groups
        self.slots = Slots.of(
            slots, positions=positions, groups=groups, vocabulary=self._vocabulary, like=self.talker.like
        )
        self._rows = torch.arange(slots, device=self.talker.device)

    def draw(self, draws: Draws, rows: Rows = ALL) -> None:
        """Draw the next frame of some slots into `slots.codes`. A frame that begins with `end_code` is none."""
        s = self.slots
        uniform = s.uniforms[self._rows[rows], s.frame[rows]]
        talker, predictor = s.settings.at(rows), s.predictor_settings.at(rows)

        def choose(logits: Tensor, book: int) -> Tensor:
            settings = predictor if book else talker
            return sampling.draw(logits, uniform[:, book], settings, width=draws.width, nucleus=draws.nucleus)

        first = choose(self.allowed(rows), 0)
        s.codes[rows] = self.predictor.predict(s.hidden[rows], first, choose)

    def allowed(self, rows: Rows = ALL) -> Float[Tensor, "rows vocabulary"]:
        """Logits of codebook 0 as they are drawn from, but for temperature, top-k and top-p."""
        s = self.slots
        banned = self._suppressed | (self._ends & (s.frame[rows] < FEWEST_FRAMES)[:, None])
        return sampling.penalise(s.logits[rows], s.said[rows], s.settings.at(rows)).masked_fill(banned, -torch.inf)

    def read(self, attend: Any) -> None:
        """Let the talker read the drawn frames of all slots: then logits and hidden states are those of the next.

        Slots that are not active stand still. Nothing here depends on the host, so a CUDA graph can do it.
        """
        s = self.slots
        hidden, logits = self.talker.step(self._frame_inputs(ALL), attend, s.at)
        moves = s.active[:, None]
        s.hidden.copy_(torch.where(moves, hidden, s.hidden))
        s.logits.copy_(torch.where(moves, logits, s.logits))
        first = s.codes[:, 0]
        s.said[self._rows, first] = s.said[self._rows, first] | s.active
        s.frame.add_(s.active)
        s.at.add_(s.active)

    def read_some(self, slots: Sequence[int], at: Sequence[int]) -> None:
        """As `read`, for some slots alone, by the CPU's own kernels."""
        s, rows = self.slots, torch.tensor(slots)
        s.hidden[rows], s.logits[rows] = self.talker.step_native(self._frame_inputs(rows), slots, at)
        s.said[rows, s.codes[rows, 0]] = True
        s.frame[rows] += 1
        s.at[rows] += 1

    def _frame_inputs(self, rows: Rows) -> Float[Tensor, "rows width"]:
        s, frame = self.slots, self.slots.frame[rows]
        text = s.beside[self._rows[rows], frame.clamp(max=s.beside.shape[1] - 1)]
        text = torch.where((frame < s.beside_length[rows])[:, None], text, self._padding)
        return self.predictor.embed(s.codes[rows]) + text

    def read_codes(self, codes: Int64[Tensor, "frames codebooks"]) -> Float[Tensor, "frames width"]:
        """Frames of a reference as the talker reads them."""
        return self.predictor.embed(codes.to(self.talker.device))
