"""Continuous batching: utterances enter and leave slots at any frame, and none waits for another to end.

One thread drives the model while there is something to say. Consumers take chunks from queues of their own: one that is
slow pauses its own utterance and, where others wait for a slot, gives it up for the time being.
"""

import atexit
import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from queue import SimpleQueue
from typing import Protocol

from voice.audio import Waveform
from voice.engine.core import Core, Parked, Utterance
from voice.engine.listener import Clock, Listener
from voice.out_of_memory import is_out_of_memory, no_memory

log = logging.getLogger(__name__)

RAMP = (1, 2, 4, 8, 12)  # frames of the first chunks, then the last number: sound at once, then cheap (nari-qwen3-tts)
AHEAD = 8  # chunks that may lie unheard: 96 frames, 7.7 s
STRETCH = 96  # frames that an utterance may speak before its slot can be asked back: what parking costs is then small
UNHURRIED_SECONDS = 8.0  # that somebody has in hand, or has missed
REGROW_SECONDS = 60.0  # after memory was short, and twice as long after each time that it still is
STOP_SECONDS = 10.0  # for the frame that is being computed when the process ends


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
        listener: Listener | None = None,
        caller: Hashable = None,
        group: Hashable = None,
    ) -> None:
        self.utterance = utterance
        self.group = group or id(self)  # those of one group share its turns, as those of one caller do
        self.caller = caller or self.group
        self.ending: Ending | None = None
        self._ramp, self._ahead, self._watch, self._wake, self._listener = ramp, ahead, watch, wake, listener
        self._entered = 0  # the frame at which it came into its slot,
        self._missed = 0.0  # and what its listener had missed by then, seconds
        self._queue: SimpleQueue[Waveform | Closed] = SimpleQueue()
        self._chunks = 0
        self._decoded = 0  # frames
        self._cancelled = False
        self._failure: Exception | None = None  # of its watch

    # the consumer's side

    def __iter__(self) -> Iterator[Waveform]:
        """Chunks as they come. Raises what broke the utterance. Closing the iterator cancels."""
        try:
            while (chunk := self.take()) is not None:
                yield chunk
        finally:
            self.cancel()

    def take(self, timeout: float | None = None) -> Waveform | None:
        """The next chunk; None after the last. Raises what broke the utterance, queue.Empty if none comes in time."""
        item = self._queue.get(timeout=timeout)
        if not isinstance(item, Closed):
            self._wake.set()
            return item
        self._queue.put(item)  # who asks again is told again
        self.ending = item.ending
        if item.error is not None:
            raise item.error
        return None

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
    def is_live(self) -> bool:
        """Whether somebody listens as it comes; else it may lie unheard, however much it is."""
        return self._ahead is not None

    def enter(self) -> None:
        """It has a slot now."""
        self._entered = len(self.utterance.codes)
        self._missed = self._listener.missed() if self._listener else 0.0

    @property
    def unheard(self) -> float:
        """Seconds of sound that its listener has in hand."""
        return self._listener.unheard() if self._listener else 0.0

    @property
    def can_be_spared(self) -> bool:
        """Whether somebody else may have its slot for a while.

        It has spoken for a stretch, and nobody hears the difference: nobody listens as it comes, or they have much in
        hand, or have missed so much in the meantime that nobody could follow. Who just keeps up keeps the slot.
        """
        if len(self.utterance.codes) - self._entered < STRETCH:
            return False
        if not self.is_live:
            return True
        if self._listener is None:
            return False
        return max(self._listener.unheard(), self._listener.missed() - self._missed) > UNHURRIED_SECONDS

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
        try:
            if self._watch is not None:
                self._watch.heard(samples)
        except Exception as error:
            self._fail(error)
        self._queue.put(samples)

    def verdict(self) -> Ending | None:
        """How the utterance ends with the frame just drawn, if it does."""
        if self.utterance.ended:
            return Ending.ITSELF
        try:
            seen = self._watch(self.utterance) if self._watch is not None else None
        except Exception as error:
            self._fail(error)
            seen = None
        if self._failure is not None:
            return Ending.CANCELLED
        return seen or (Ending.BUDGET if self.utterance.is_over else None)

    def _fail(self, error: Exception) -> None:
        # its own affair: the others go on
        log.exception("watching an utterance failed")
        self._watch, self._failure = None, error

    def close(self, ending: Ending | None, error: Exception | None = None) -> None:
        """Nothing follows."""
        self._queue.put(Closed(ending, error or self._failure))


Entry = tuple[Stream, Parked | None]  # who waits; parked if they have spoken before


class Scheduler:
    """Runs a core for any number of streams."""

    def __init__(self, core: Core, *, clock: Clock = time.monotonic) -> None:
        self._core, self._clock = core, clock
        self._wanted = core.slots  # where there is memory for them
        self._grown_at = self._regrow_at = self._park_at = -math.inf
        self._regrow_seconds = REGROW_SECONDS
        self._waiting: deque[Entry] = deque()
        self._running: dict[int, Stream] = {}  # by slot
        self._reading: deque[int] = deque()  # those of them whose prompts are not read yet
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def submit(
        self,
        utterance: Utterance,
        *,
        ramp: Sequence[int] = RAMP,
        ahead: int | None = AHEAD,
        watch: Watch | None = None,
        listener: Listener | None = None,
        caller: Hashable = None,
        group: Hashable = None,
    ) -> Stream:
        """Queue an utterance; it begins with the next frame in which a slot is free.

        Where more wait than there are slots, the caller with the fewest of their own speaking comes first, and of one
        caller's the group: neither do a hundred requests of one caller keep another's waiting, nor does the next piece
        of a text keep a text that has not begun. Without a group an utterance is one of its own, without a caller the
        group is. Whose listener is told keeps the slot only as long as they need it (`Stream.can_be_spared`).
        """
        stream = Stream(
            utterance,
            ramp=ramp,
            ahead=ahead,
            watch=watch,
            wake=self._wake,
            listener=listener,
            caller=caller,
            group=group,
        )
        with self._lock:
            self._waiting.append((stream, None))
            if self._thread is None:  # the last one ended when it had nothing left to do
                self._thread = threading.Thread(target=self._run, name="voice-engine", daemon=True)
                atexit.register(self.stop)  # a thread that computes while the interpreter goes down aborts it
                self._thread.start()
        self._wake.set()
        return stream

    def stop(self) -> None:
        """End all that is being said within a frame, and the thread. A later utterance starts it again."""
        with self._lock:
            thread = self._thread
            self._stopping = thread is not None
        self._wake.set()
        if thread:
            thread.join(STOP_SECONDS)

    def _run(self) -> None:
        self._regrow_at = -math.inf  # with nothing to say yet
        try:
            while not self._stopping:
                if not self._turn():
                    return
            self._close_all(Ending.CANCELLED)
        except Exception as error:  # of the scheduler itself: nobody may be left waiting
            log.exception("the engine's thread failed")
            self._close_all(None, error)

    def _close_all(self, ending: Ending | None, error: Exception | None = None) -> None:
        # the device is not asked: it may be what failed
        with self._lock:
            left = [*self._running.values(), *(stream for stream, _ in self._waiting)]
            self._running, self._waiting = {}, deque()
            self._reading.clear()
            self._leave()
        for stream in left:
            stream.close(ending, error)

    def _leave(self) -> None:
        # under the lock, together with the last look at who waits: whoever comes next starts another thread
        self._thread, self._stopping = None, False
        atexit.unregister(self.stop)

    def _turn(self) -> bool:
        """One frame, or a wait for something to do. Returns False where nothing is left to say."""
        self._wake.clear()
        self._drop_cancelled()
        if self._core.slots < self._wanted and self._clock() >= self._regrow_at:
            self._grow()
        self._admit()
        if is_reading := bool(self._reading):
            self._read_prompt()
        moving = [s for s, stream in self._running.items() if stream.has_room and s not in self._reading]
        if moving:
            self._frame(sorted(moving))
        if moving or is_reading:
            return True
        with self._lock:
            if not self._running and not self._waiting:
                self._leave()
                return False
        self._wake.wait()
        return True

    def _drop_cancelled(self) -> None:
        for slot, stream in list(self._running.items()):
            if stream.is_cancelled:
                self._end(slot, Ending.CANCELLED)
        with self._lock:
            gone = [entry for entry in self._waiting if entry[0].is_cancelled]
            for entry in gone:
                self._waiting.remove(entry)
        for stream, _ in gone:
            stream.close(Ending.CANCELLED)

    def _admit(self) -> None:
        # one a frame, so that those who speak do not wait for many to begin
        free = [slot for slot in range(self._core.slots) if slot not in self._running]
        while entry := self._take_next(free):
            stream, parked = entry
            slot = free.pop(0)
            try:
                if parked is None:
                    self._core.begin(slot, stream.utterance)
                else:
                    self._core.resume(slot, parked)
            except Exception as error:
                if is_out_of_memory(error):
                    with self._lock:
                        self._waiting.appendleft(entry)
                    self._shrink(error)
                    return
                self._running[slot] = stream
                self._could_not_begin(slot, error)
                return
            self._running[slot] = stream
            stream.enter()
            if parked is None:
                self._reading.append(slot)
            elif ending := stream.verdict():  # only its last samples were still to be decoded
                self._hand_over({slot: ending})
                self._end(slot, ending)
            if len(self._running) > 1:
                return

    def _read_prompt(self) -> None:
        # a stretch of one a frame, in turns: so that a long one holds up neither those who speak nor short ones
        slot = self._reading[0]
        try:
            is_whole = self._core.read_prompt(slot)
        except Exception as error:
            if is_out_of_memory(error):
                self._shrink(error)
                return
            self._could_not_begin(slot, error)
            return
        self._reading.popleft()
        if not is_whole:
            self._reading.append(slot)

    def _could_not_begin(self, slot: int, error: Exception) -> None:
        log.error("an utterance could not begin", exc_info=error)  # this one's affair; the others go on
        self._end(slot, None, error)

    def _speaking(self) -> Counter[Hashable]:
        """How many slots each caller and each group has."""
        of_callers = Counter[Hashable](("caller", stream.caller) for stream in self._running.values())
        return of_callers + Counter[Hashable](("group", stream.group) for stream in self._running.values())

    def _take_next(self, free: list[int]) -> Entry | None:
        """Take who begins now out of the queue, with a slot in `free` for them; None where nobody can."""
        if not self._waiting:
            return None
        with self._lock:
            turns = self._turns()
        if not turns:
            return None
        entry = turns[0]
        if not free:
            if self._clock() < self._park_at:
                return None
            idle = next((slot for slot, stream in self._running.items() if not stream.has_room), None)
            found = self._spared(turns) if idle is None else (entry, idle)
            if found is None or not self._park(found[1]):
                return None
            entry, slot = found
            free.append(slot)
        with self._lock:
            self._waiting.remove(entry)
        return entry

    def _turns(self) -> list[Entry]:
        """Who can go on, under the lock: of the caller, then of the group that speaks least, who came first."""
        ready = [entry for entry in self._waiting if entry[1] is None or entry[0].has_room]
        speaking = self._speaking()
        return sorted(ready, key=lambda entry: _shares(entry[0], speaking))

    def _park(self, slot: int) -> bool:
        # its consumer does not listen, or is in no hurry: it waits at the end
        try:
            parked = self._core.park(slot)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._core.keep_nothing()  # who speaks goes on: fewer slots would have to be parked for, too
            self._park_at = self._clock() + UNHURRIED_SECONDS
            return False
        with self._lock:
            self._waiting.append((self._running.pop(slot), parked))
        return True

    def _spared(self, turns: Sequence[Entry]) -> tuple[Entry, int] | None:
        """Who is the first of those that listen for whom a slot can be spared, and the one that can best be.

        Of another caller it must have more slots, of their own the group must: nobody is sent away for who speaks as
        much already. Who does not listen, or nobody can be sent away for, hides nobody who comes after.
        """
        speaking = self._speaking()
        unhurried = {slot: stream for slot, stream in self._running.items() if stream.can_be_spared}

        def is_spared(stream: Stream, waiting: Stream) -> bool:
            of_caller, of_group = _shares(stream, speaking)
            callers, groups = _shares(waiting, speaking)
            return of_group > groups if stream.caller == waiting.caller else of_caller > callers

        for entry in (entry for entry in turns if entry[0].is_live):
            slots = [slot for slot, stream in unhurried.items() if is_spared(stream, entry[0])]
            if slots:
                return entry, max(slots, key=lambda slot: unhurried[slot].unheard)
        return None

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
        except Exception as error:
            if is_out_of_memory(error):
                self._shrink(error, unread=unread)
                return
            log.exception("a frame failed")  # the device's: all of them were in it
            for slot in list(self._running):
                self._end(slot, None, error)

    def _shrink(self, error: Exception, *, unread: Sequence[int] = ()) -> None:
        """Go on with half the slots; whoever has none waits."""
        slots = self._core.slots
        if slots == 1:
            self._give_up(error)
            return
        log.warning("out of device memory (%s): %d slots instead of %d", error, slots // 2, slots)
        if self._clock() - self._grown_at > self._regrow_seconds:  # another shortage
            self._regrow_seconds = REGROW_SECONDS
        self._wait_to_grow()
        for slot in self._vacate(unread=unread):
            self._end(slot, None, no_memory())
        self._resize(slots // 2)
        self._wake.set()

    def _grow(self) -> None:
        """See whether the memory that was short is there again."""
        slots = self._core.slots
        if self._vacate():  # not even for a moment
            self._wait_to_grow()
            return
        self._resize(min(self._wanted, max(1, 2 * slots)))
        if self._core.slots <= slots:
            self._wait_to_grow()
        else:
            self._grown_at, self._regrow_at = self._clock(), self._clock() + REGROW_SECONDS
            log.warning("%d slots again, of %d", self._core.slots, self._wanted)

    def _wait_to_grow(self) -> None:
        self._regrow_at = self._clock() + self._regrow_seconds
        self._regrow_seconds *= 2

    def _vacate(self, *, unread: Sequence[int] = ()) -> list[int]:
        """Send who speaks back to the head of the queue. Returns the slots that there is no memory to save."""
        for slot in self._reading:  # they begin anew
            with self._lock:
                self._waiting.appendleft((self._running.pop(slot), None))
        self._reading.clear()
        left = []
        for slot in sorted(self._running, reverse=True):  # each is in safety before the next: this may fail, too
            try:
                parked = self._core.park(slot, is_read=slot not in unread)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                left.append(slot)
                continue
            with self._lock:
                self._waiting.appendleft((self._running.pop(slot), parked))
        return left

    def _resize(self, slots: int) -> None:
        while True:
            try:
                self._core.resize(slots)
                return
            except Exception as error:
                if not is_out_of_memory(error) or slots <= 1:
                    raise
                slots //= 2

    def _give_up(self, error: Exception) -> None:
        log.error("out of device memory with one slot (%s)", error)
        with self._lock:
            asked = {slot: self._running[slot] for slot in self._running}
            first = self._waiting.popleft() if not asked and self._waiting else None
        for slot in asked:
            self._end(slot, None, no_memory())
        if first:  # the one that could not begin
            first[0].close(None, no_memory())
        self._wake.set()

    def _hand_over(self, endings: dict[int, Ending | None]) -> None:
        waiting = {slot: self._running[slot].due(over=ending is not None) for slot, ending in endings.items()}
        due = {slot: frames for slot, frames in waiting.items() if frames}
        for slot, samples in self._core.samples(due):
            self._running[slot].put(samples, due[slot])

    def _end(self, slot: int, ending: Ending | None, error: Exception | None = None) -> None:
        stream = self._running.pop(slot)
        if slot in self._reading:
            self._reading.remove(slot)
        self._wake.set()  # others want the slot
        try:
            self._core.end(slot)
        finally:  # the device may be what fails, and nobody may be left waiting
            stream.close(ending, error)


def _shares(stream: Stream, speaking: Counter[Hashable]) -> tuple[int, int]:
    """How many slots its caller has, and its group."""
    return speaking["caller", stream.caller], speaking["group", stream.group]
