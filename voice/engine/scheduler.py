"""Continuous batching: utterances enter and leave slots at any frame, and none waits for another to end.

One thread drives the model while there is something to say. Consumers take chunks from queues of their own: one that is
slow pauses its own utterance and, where others wait for a slot, gives it up for the time being.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from queue import SimpleQueue
from typing import Protocol

import torch

from voice.audio import Waveform
from voice.engine.core import Core, Parked, Utterance
from voice.errors import InputError

log = logging.getLogger(__name__)

RAMP = (1, 2, 4, 8, 12)  # frames of the first chunks, then the last number: sound at once, then cheap (nari-qwen3-tts)
AHEAD = 8  # chunks that may lie unheard: 96 frames, 7.7 s


class Ending(StrEnum):
    """How an utterance came to its end."""

    ITSELF = "itself"
    BUDGET = "budget"  # it would have gone on
    LOOP = "loop"
    SILENCE = "silence"
    CANCELLED = "cancelled"


class Watch(Protocol):
    """Looks after an utterance while it is drawn."""

    def heard(self, samples: Waveform) -> None:
        """Listen to a chunk."""
        ...

    def __call__(self, utterance: Utterance) -> Ending | None:
        """Say whether it should end here, and why."""
        ...


@dataclass(frozen=True, slots=True)
class Closed:
    """The last thing in a stream's queue."""

    ending: Ending | None
    error: Exception | None = None


class Stream:
    """An utterance on its way, and the queue that its chunks come out of."""

    def __init__(
        self,
        utterance: Utterance,
        *,
        ramp: Sequence[int],
        ahead: int | None,
        watch: Watch | None,
        wake: threading.Event,
    ) -> None:
        self.utterance = utterance
        self.ending: Ending | None = None
        self._ramp, self._ahead, self._watch, self._wake = ramp, ahead, watch, wake
        self._queue: SimpleQueue[Waveform | Closed] = SimpleQueue()
        self._chunks = 0
        self._decoded = 0  # frames
        self._cancelled = False

    # the consumer's side

    def __iter__(self) -> Iterator[Waveform]:
        """Chunks as they come. Raises what broke the utterance. Closing the iterator cancels."""
        try:
            while not isinstance(item := self._queue.get(), Closed):
                self._wake.set()
                yield item
            self.ending = item.ending
            if item.error is not None:
                raise item.error
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Stop within one frame."""
        self._cancelled = True
        self._wake.set()

    # the scheduler's side

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody wants the rest."""
        return self._cancelled

    @property
    def is_fresh(self) -> bool:
        """Whether nothing of it has been drawn."""
        return not self.utterance.codes

    @property
    def has_room(self) -> bool:
        """Whether a further chunk may be made."""
        return self._ahead is None or self._queue.qsize() < self._ahead

    def due(self, *, over: bool) -> int:
        """Frames that should become a chunk now."""
        waiting = len(self.utterance.codes) - self._decoded
        return waiting if over or waiting >= self._ramp[min(self._chunks, len(self._ramp) - 1)] else 0

    def put(self, samples: Waveform, frames: int) -> None:
        """Hand over a chunk."""
        self._chunks, self._decoded = self._chunks + 1, self._decoded + frames
        if self._watch is not None:
            self._watch.heard(samples)
        self._queue.put(samples)

    def verdict(self) -> Ending | None:
        """How the utterance ends with the frame just drawn, if it does."""
        if self.utterance.ended:
            return Ending.ITSELF
        if self._watch is not None and (seen := self._watch(self.utterance)):
            return seen
        return Ending.BUDGET if self.utterance.is_over else None

    def close(self, ending: Ending | None, error: Exception | None = None) -> None:
        """Nothing follows."""
        self._queue.put(Closed(ending, error))


class Scheduler:
    """Runs a core for any number of streams."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._waiting: deque[tuple[Stream, Parked | None]] = deque()
        self._running: dict[int, Stream] = {}  # by slot
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def submit(
        self, utterance: Utterance, *, ramp: Sequence[int] = RAMP, ahead: int | None = AHEAD, watch: Watch | None = None
    ) -> Stream:
        """Queue an utterance; it begins with the next frame in which a slot is free."""
        stream = Stream(utterance, ramp=ramp, ahead=ahead, watch=watch, wake=self._wake)
        with self._lock:
            self._waiting.append((stream, None))
            if self._thread is None:  # the last one ended when it had nothing left to do
                self._thread = threading.Thread(target=self._run, name="voice-engine", daemon=True)
                self._thread.start()
        self._wake.set()
        return stream

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception as error:  # of the scheduler itself: nobody may be left waiting
            log.exception("the engine's thread failed")
            self._end_all(error)
            with self._lock:
                left, self._waiting, self._thread = self._waiting, deque(), None
            for stream, _ in left:
                stream.close(None, error)

    def _turn(self) -> bool:
        """One frame, or a wait for something to do. Returns False where nothing is left to say."""
        self._wake.clear()
        self._drop_cancelled()
        self._admit()
        moving = [slot for slot, stream in self._running.items() if stream.has_room]
        if moving:
            self._frame(sorted(moving))
            return True
        with self._lock:
            if not self._running and not self._waiting:
                self._thread = None
                return False
        self._wake.wait()
        return True

    def _drop_cancelled(self) -> None:
        for slot, stream in list(self._running.items()):
            if stream.is_cancelled:
                self._end(slot, Ending.CANCELLED)
        with self._lock:
            gone = [stream for stream, _ in self._waiting if stream.is_cancelled]
            self._waiting = deque(entry for entry in self._waiting if not entry[0].is_cancelled)
        for stream in gone:
            stream.close(Ending.CANCELLED)

    def _admit(self) -> None:
        # one a frame, so that those who speak do not wait for many prompts to be read
        free = [slot for slot in range(self._core.slots) if slot not in self._running]
        while self._waiting and (free or self._park_one(free)):
            with self._lock:
                entry = next((e for e in self._waiting if e[1] is None or e[0].has_room), None)
                if entry is None:
                    return
                self._waiting.remove(entry)
            stream, parked = entry
            slot = free.pop(0)
            try:
                if parked is None:
                    self._core.begin(slot, stream.utterance)
                else:
                    self._core.resume(slot, parked)
            except torch.OutOfMemoryError as error:
                self._core.end(slot)
                self._shrink(error, waiting=(stream, parked))
                return
            except Exception as error:  # this one's; the others go on
                log.exception("an utterance could not begin")
                self._core.end(slot)
                stream.close(None, error)
                self._wake.set()  # the others still want the slot
                return
            self._running[slot] = stream
            if parked is not None and (ending := stream.verdict()):  # only its last samples were still to be decoded
                self._hand_over({slot: ending})
                self._end(slot, ending)
            if len(self._running) > 1:
                return

    def _park_one(self, free: list[int]) -> bool:
        # a slot whose consumer does not listen is given to one that waits; its utterance waits at the end
        for slot, stream in self._running.items():
            if not stream.has_room:
                with self._lock:
                    self._waiting.append((stream, self._core.park(slot)))
                del self._running[slot]
                free.append(slot)
                return True
        return False

    def _frame(self, moving: list[int]) -> None:
        # an utterance's first frame is heard before the talker reads it
        whole = self._core.runs_whole_frames and not any(self._running[slot].is_fresh for slot in moving)
        unread: list[int] = []
        try:
            if whole:
                self._core.frame(moving)
            else:
                self._core.draw(moving)
                unread = moving
            endings = {slot: self._running[slot].verdict() for slot in moving}
            self._hand_over(endings)
            for slot, ending in endings.items():
                if ending is not None:
                    self._end(slot, ending)
            if not whole:
                self._core.read([slot for slot in moving if endings[slot] is None])
        except torch.OutOfMemoryError as error:
            self._shrink(error, unread=unread)
        except Exception as error:  # the device's: all of them were in it
            log.exception("a frame failed")
            self._end_all(error)

    def _end_all(self, error: Exception) -> None:
        for slot in list(self._running):
            self._end(slot, None, error)

    def _shrink(
        self, error: Exception, *, unread: Sequence[int] = (), waiting: tuple[Stream, Parked | None] | None = None
    ) -> None:
        """Go on with half the slots; whoever has none waits."""
        slots = self._core.slots
        if slots == 1:
            wanted = InputError(
                "the device has too little memory for one utterance. Free some, or use a smaller model."
            )
            self._end_all(wanted)
            if waiting:
                waiting[0].close(None, wanted)
            return
        log.warning("out of device memory (%s): %d slots instead of %d", error, slots // 2, slots)
        running = self._running.items()
        parked = [(stream, self._core.park(slot, is_read=slot not in unread)) for slot, stream in running]
        self._running = {}
        self._core.resize(slots // 2)
        with self._lock:
            self._waiting.extendleft(reversed([*parked, *([waiting] if waiting else [])]))
        self._wake.set()

    def _hand_over(self, endings: dict[int, Ending | None]) -> None:
        waiting = {slot: self._running[slot].due(over=ending is not None) for slot, ending in endings.items()}
        due = {slot: frames for slot, frames in waiting.items() if frames}
        for slot, samples in self._core.samples(due).items():
            self._running[slot].put(samples, due[slot])

    def _end(self, slot: int, ending: Ending | None, error: Exception | None = None) -> None:
        stream = self._running.pop(slot)
        self._core.end(slot)
        stream.close(ending, error)
