"""What the layers of the codec remember of each stream."""

from jaxtyping import Int64
from torch import Tensor

Rows = slice | Int64[Tensor, " rows"]
SavedCodec = list[Tensor]


class Memory:
    """What the layers remember of each slot, and the order in which a chunk passes them."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._tensors = tensors  # each (slots, ...)
        self._rows: Rows = slice(0)
        self._new: list[Tensor] = []

    def open(self, rows: Rows) -> None:
        """Start at the first layer, with the slots of the chunk's rows."""
        self._rows, self._new = rows, []

    def take(self) -> Tensor:
        """What the next layer remembers."""
        return self._tensors[len(self._new)][self._rows]

    def put(self, past: Tensor) -> None:
        """What it shall remember once the chunk is through: one that fails half way leaves no trace."""
        self._new.append(past)

    def close(self) -> None:
        """The chunk is through."""
        for tensor, past in zip(self._tensors, self._new, strict=False):
            tensor[self._rows] = past
        self._new = []

    def reset(self, slot: int) -> None:
        """Forget everything: zeros are what the decoder pads the past with."""
        for tensor in self._tensors:
            tensor[slot].zero_()

    def save(self, slot: int) -> SavedCodec:
        """A copy of what is remembered of one slot."""
        return [tensor[slot].clone() for tensor in self._tensors]

    def load(self, slot: int, saved: SavedCodec) -> None:
        """Go on in a slot from a copy."""
        for tensor, past in zip(self._tensors, saved, strict=True):
            tensor[slot].copy_(past)
