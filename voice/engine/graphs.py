"""A frame as one CUDA graph: some 3,000 kernels that the host launches at once. Prompts, in a few by their length.

A graph is recorded for each bound on the cache's length that attention reads and each way of sampling, when it is first
wanted. Everything it touches stays where it is: the weights, `Slots`, the caches, the buffers of a prompt. Recorded
while no slot is active, a frame changes nothing that a later one would not write again; nor does a prompt read twice.
"""

from collections.abc import Callable, Hashable

import torch
from jaxtyping import Float
from torch import Tensor

from voice.engine.frames import Draws, Frames
from voice.engine.prompts import STRETCH, Read

SHORTEST = 256  # positions; each further bound is twice the last
WARM_UPS = 2  # runs before recording: libraries choose their kernels and take their memory

BUCKETS = (32, 128, STRETCH["cuda"])  # positions to which a prompt's stretch is padded

Key = tuple[Hashable, ...]


class Graphs:
    """Recorded frames of one model."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._graphs: dict[Key, torch.cuda.CUDAGraph] = {}
        self._memory = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()
        talker, largest = frames.talker, BUCKETS[-1]
        self._inputs = talker.like.new_zeros(largest, talker.like.shape[-1])
        self._at = torch.zeros(largest, dtype=torch.int64, device=talker.device)
        self._slot, self._last = (torch.zeros(1, dtype=torch.int64, device=talker.device) for _ in range(2))
        self._hidden, self._logits = (row[0].clone() for row in (frames.slots.hidden, frames.slots.logits))

    def frame(self, draws: Draws, longest: int) -> None:
        """Draw and read a frame of all active slots."""
        length = self._bound(longest)

        def run() -> None:
            self._frames.draw(draws)
            self._read(length)

        self._replay(("frame", draws, length), run)

    def draw(self, draws: Draws) -> None:
        """Draw alone: the first frame of an utterance is heard before the talker goes on."""
        self._replay(("draw", draws, 0), lambda: self._frames.draw(draws))

    def read(self, longest: int) -> None:
        """Read alone."""
        length = self._bound(longest)
        self._replay(("read", None, length), lambda: self._read(length))

    def prefill(self, slot: int, start: int, inputs: Float[Tensor, "n width"]) -> Read:
        """As `Talker.prefill`. What it returns is overwritten by the next one."""
        talker, count = self._frames.talker, len(inputs)
        bucket = next((size for size in BUCKETS if size >= count), None)
        if bucket is None or start + bucket > talker.positions:  # padding has no room there
            return talker.prefill(slot, start, inputs)
        self._inputs[:count] = inputs
        self._inputs[count:bucket] = 0
        torch.arange(start, start + bucket, out=self._at[:bucket])
        self._slot.fill_(slot)
        self._last.fill_(count - 1)

        def run() -> None:
            read = talker.read_padded(
                self._inputs[:bucket], self._slot, self._at[:bucket], self._last, talker.positions
            )
            for buffer, result in zip((self._hidden, self._logits), read, strict=True):
                buffer.copy_(result)

        # all positions are looked at: masked ones cost little beside the weights, and three graphs are soon recorded
        self._replay(("prompt", bucket), run)
        return self._hidden, self._logits

    def _read(self, length: int) -> None:
        self._frames.read(self._frames.talker.attend_by_mask(self._frames.slots.at, length))

    def _bound(self, longest: int) -> int:
        """How many positions attention reads if the longest slot has so many before this step."""
        bound = SHORTEST
        while bound <= longest:
            bound *= 2
        return min(bound, self._frames.talker.positions)

    def _replay(self, key: Key, run: Callable[[], None]) -> None:
        if key not in self._graphs:
            self._graphs[key] = self._record(run)
        self._graphs[key].replay()

    def _record(self, run: Callable[[], None]) -> torch.cuda.CUDAGraph:
        active = self._frames.slots.active
        kept = active.clone()
        active.zero_()
        try:
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UPS):
                    run()
            torch.cuda.current_stream().wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            # thread-local: another thread may decode a reference meanwhile, and take memory for it
            with torch.cuda.graph(graph, pool=self._memory, stream=self._stream, capture_error_mode="thread_local"):
                run()
        finally:  # a recording that runs out of memory leaves no slot asleep
            active.copy_(kept)
        return graph
