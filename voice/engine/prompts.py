"""Prompts on their way into slots, a stretch at a time: a long one holds up the others' frames for no longer than that.

What many texts of a voice begin with (its reference, an instruction) is kept once it has been read.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from voice.engine.kept import Kept
from voice.engine.talker import SavedKeys, Talker
from voice.engine.voices import Voice
from voice.prompt import Situation

KEPT_BYTES = 1 << 30  # a prefix of 200 positions takes 23 MB at 1.7B in bf16
# Positions read at once. On two cores 0.6B takes a second for them, two of its frames (benchmarks/arrivals.py).
STRETCH = {"cpu": 128, "cuda": 512}

Read = tuple[Float[Tensor, " width"], Float[Tensor, " vocabulary"]]  # the last position's hidden state and logits
Key = tuple[Voice, Situation]
Prefill = Callable[[int, int, Float[Tensor, "n width"]], Read]


@dataclass(slots=True, eq=False)
class Reading:
    """A prompt that is being read."""

    inputs: Float[Tensor, "length width"]
    shared: int  # positions that are kept for others
    key: Key  # of these
    at: int = 0  # the next position

    def next_end(self, stretch: int) -> int:
        """Where the next stretch ends.

        What is shared is always read apart from the rest, kept or not, and stretches depend on nothing else: so a
        request's codes do not depend on who came before.
        """
        return min(self.at + stretch, self.shared if self.at < self.shared else len(self.inputs))


class Prompts:
    """Reads prompts into the talker's cache."""

    def __init__(self, talker: Talker, *, gone: Container[Voice] = ()) -> None:
        """Nothing is kept of voices that are `gone`."""
        self._gone = gone
        self._talker, self._stretch = talker, STRETCH[talker.device.type]
        self._readings: dict[int, Reading] = {}  # by slot
        self._prefixes: Kept[Key, SavedKeys] = Kept(KEPT_BYTES)

    def begin(self, slot: int, inputs: Float[Tensor, "length width"], *, shared: int, key: Key) -> None:
        """Take a prompt for a free slot."""
        self._readings[slot] = Reading(inputs, shared, key)

    def read(self, slot: int, prefill: Prefill) -> Read | None:
        """Read the next stretch of a slot's prompt; None if that was not the last."""
        reading = self._readings[slot]
        known = self._prefixes.get(reading.key) if reading.at < reading.shared else None
        if known is not None:  # by now: others may have begun alike
            self._talker.load(slot, known)
            reading.at = reading.shared
        end = reading.next_end(self._stretch)
        read = prefill(slot, reading.at, reading.inputs[reading.at : end])
        reading.at = end
        if end == reading.shared:
            self._prefixes.put(reading.key, self._talker.save(slot, end))
            if reading.key[0] in self._gone:  # perhaps since a moment ago
                self.forget_voice(reading.key[0])
        if end < len(reading.inputs):
            return None
        self.forget(slot)
        return read

    def forget(self, slot: int) -> None:
        """Read no further for a slot."""
        self._readings.pop(slot, None)

    def forget_voice(self, voice: Voice) -> None:
        """Keep nothing of a voice; any thread may say so."""
        self._prefixes.drop(lambda key: key[0] is voice)

    def keep_nothing(self) -> None:
        """Give back the memory of what is kept; any thread may say so."""
        self._prefixes.clear()

    def clear(self) -> None:
        """Forget all slots and all that is kept."""
        self._readings.clear()
        self.keep_nothing()
