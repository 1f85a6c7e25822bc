"""What is kept for speed alone, because it may be wanted again: what was wanted last, up to so many bytes."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from torch import Tensor

K = TypeVar("K")
V = TypeVar("V", bound=Sequence[Tensor])


class Kept(Generic[K, V]):
    """Tensors by key. The newest stay, however large they are. Any thread may ask."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._taken = most_bytes, 0
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """What is kept, if it is; it is then wanted last."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: K, value: V) -> None:
        """Keep it, and for its sake what was wanted long ago no longer."""
        with self._lock:
            self._remove(key)
            self._values[key] = value
            self._taken += _bytes(value)
            while self._taken > self._most and len(self._values) > 1:
                self._remove(next(iter(self._values)))

    def drop(self, is_gone: Callable[[K], bool]) -> None:
        """Keep nothing under such keys."""
        with self._lock:
            for key in [key for key in self._values if is_gone(key)]:
                self._remove(key)

    def clear(self) -> None:
        """Keep nothing."""
        self.drop(lambda _: True)

    def _remove(self, key: K) -> None:
        if key in self._values:
            self._taken -= _bytes(self._values.pop(key))


def _bytes(value: Sequence[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in value)
