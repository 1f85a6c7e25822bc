"""From exact chunks to what is pleasant to hear: long texts in pieces, trimmed edges, pauses, one loudness, retries.

Every part can be off; with all of them off what comes out is what the model said, sample by sample.
"""

import hashlib
import math
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from queue import Empty

from voice.audio import Waveform
from voice.engine.listener import Listener
from voice.engine.scheduler import AHEAD, RAMP, Ending, Stream, Watch
from voice.engine.shaper import Shaper
from voice.engine.watchdog import Drawn, Watchdog
from voice.pieces import Piece, split_pieces
from voice.request import Request

MARGIN_SECONDS = 1.0  # of sound that a listener still has when nothing more is held back: an attempt may need as long
PATIENCE_SECONDS = 5.0  # for which a piece is held back at most, whatever is unheard: nobody likes a silent connection

Begin = Callable[[Request, Watch | None, Listener], Stream]


@dataclass(frozen=True, slots=True)
class Delivery:
    """Which parts are on."""

    ramp: tuple[int, ...] = RAMP  # frames of the first chunks; the last number goes on
    ahead: int | None = AHEAD  # chunks that may lie unheard; None for any number
    budget: bool = True  # frames from the text; without, as many as a slot has room for
    split: bool = True  # what is longer than a piece, may not fit into a slot; what says nothing is left out
    pauses: bool = True  # between the pieces
    trim: bool = True
    even_loudness: bool = True
    watch: bool = True
    retries: int = 2

    def __post_init__(self) -> None:
        """Raise ValueError for what no stream could be delivered by."""
        if not self.ramp or min(self.ramp) < 1 or (self.ahead is not None and self.ahead < 1) or self.retries < 0:
            raise ValueError(f"chunks hold a frame or more, one may lie unheard, retries are not negative: {self}")


PLAIN = Delivery(trim=False, even_loudness=False, watch=False, retries=0)  # what evaluation hears


def reseeded(seed: int, *, piece: int, attempt: int) -> int:
    """The seed of a piece's attempt: the request's own for the first."""
    if piece == attempt == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {piece} {attempt}".encode()).digest()[:8]) >> 1


@dataclass(slots=True)
class Attempt:
    """A piece that was held back until it was whole."""

    drawn: Drawn
    chunks: list[Waveform]


class Speaking:
    """A request being spoken: iterate over its chunks. Closing or dropping it stops the model within a frame."""

    def __init__(self, request: Request, begin: Begin, delivery: Delivery, *, hold: bool) -> None:
        # apart, for the chunks' generator holds it: else a dropped one would speak on until garbage is collected
        self._pieces = Pieces(request, begin, delivery, hold=hold)
        self._chunks = self._pieces.spoken()

    @property
    def ending(self) -> Ending | None:
        """How it came to its end, once it has."""
        return self._pieces.ending

    def __iter__(self) -> Iterator[Waveform]:
        """Chunks as they come."""
        return self

    def __next__(self) -> Waveform:
        """The next chunk."""
        return next(self._chunks)

    def close(self) -> None:
        """Stop within one frame. Any thread may ask for it; whoever waits for a chunk is told the end."""
        self._pieces.close()

    def __del__(self) -> None:
        if hasattr(self, "_pieces"):  # a request that was refused has none
            self.close()


class Pieces:
    """A text's pieces, one after another, each begun before the last one has been heard."""

    def __init__(self, request: Request, begin: Begin, delivery: Delivery, *, hold: bool) -> None:
        self.ending: Ending | None = None
        self._request, self._begin, self._delivery = request, begin, delivery
        self._hold = hold  # every piece until it is whole: then even its end can be put right
        self._listener = Listener(speed=request.playback_speed)
        self._said: list[Drawn] = []  # of each piece what was heard
        pieces = split_pieces(request.text) if delivery.split else []
        self._pieces = pieces or [Piece(request.text, 0.0)]
        self._closed, self._closing = False, threading.Lock()
        self._streams: dict[int, Stream] = {}  # by piece
        # who wants the whole of it need not wait for one piece after the other; else a bad request is refused at once
        self._start_all(len(self._pieces) if hold else 1)

    def close(self) -> None:
        """Cancel what speaks; nothing begins after it."""
        with self._closing:
            self._closed = True
            for stream in self._streams.values():
                stream.cancel()

    def _start_all(self, count: int) -> None:
        try:
            for number in range(count):
                self._start(number, 0)
        except Exception:
            self.close()
            raise

    def _start(self, number: int, attempt: int) -> Stream:
        stream = self._begin_piece(number, attempt)
        with self._closing:
            self._streams[number] = stream
            if self._closed:
                stream.cancel()
        return stream

    def _begin_piece(self, number: int, attempt: int) -> Stream:
        seed = reseeded(self._request.seed, piece=number, attempt=attempt)
        text = self._pieces[number].text
        dog = Watchdog(text) if self._delivery.watch else None
        return self._begin(replace(self._request, text=text, seed=seed), dog, self._listener)

    def spoken(self) -> Generator[Waveform, None, None]:
        """The chunks of all pieces."""
        for chunk in self._shaped():
            self._listener.hand_over(chunk)
            yield chunk

    def _shaped(self) -> Generator[Waveform, None, None]:
        shaper = Shaper(trim=self._delivery.trim, even_loudness=self._delivery.even_loudness)
        endings = list[Ending]()
        try:
            for number, piece in enumerate(self._pieces):
                endings.append((yield from self._speak(number, shaper)))
                if self._closed:
                    break
                pauses = self._delivery.pauses and number < len(self._pieces) - 1
                rest = shaper.end_piece(
                    broken=endings[-1] is not Ending.ITSELF, pause_seconds=piece.pause_seconds if pauses else 0.0
                )
                if len(rest):
                    yield rest
        finally:
            self.close()
        self.ending = next((e for e in endings if e is not Ending.ITSELF), Ending.ITSELF)

    def _speak(self, number: int, shaper: Shaper) -> Generator[Waveform, None, Ending]:
        """Yield a piece's chunks; return how it ended. The next piece is begun as soon as this one is heard.

        While it can be held back, it is drawn again until nothing is wrong with it, or the best attempt is taken.
        """
        tried, until = list[Attempt](), self._patience()
        for attempt in range(self._delivery.retries + 1):
            stream = self._streams.get(number) or self._start(number, attempt)
            held, is_whole = self._hold_back(stream, until)
            if is_whole:
                tried.append(Attempt(self._end(number, stream), held))
                if not self._is_faulty(tried[-1].drawn):
                    break
            elif any(one.drawn.is_complete for one in tried):  # better than what nobody has heard yet
                self._drop(number, stream)
                break
            else:
                drawn, has_left = yield from self._pass_on(number, held, stream, shaper)
                if has_left or attempt == self._delivery.retries or not self._is_faulty(drawn):
                    self._said.append(drawn)
                    return drawn.ending
                shaper.end_piece(broken=True, pause_seconds=0.0)  # forget it
        return (yield from self._give(number, self._best(tried), shaper))

    def _best(self, tried: Sequence[Attempt]) -> Attempt:
        # should what was said before be what is out of the way, the attempts agree with each other and outvote it
        def fault(one: Attempt) -> float:
            return one.drawn.fault([*self._said, *(other.drawn for other in tried if other is not one)])

        return min(tried, key=fault)

    def _give(self, number: int, chosen: Attempt, shaper: Shaper) -> Generator[Waveform, None, Ending]:
        """Yield what was held back."""
        if self._closed:
            return Ending.CANCELLED
        self._said.append(chosen.drawn)
        self._begin_next(number)
        shaper.foresee(chosen.chunks)
        for chunk in chosen.chunks:
            if len(shaped := shaper.push(chunk)):
                yield shaped
        return chosen.drawn.ending

    def _pass_on(
        self, number: int, held: Sequence[Waveform], stream: Stream, shaper: Shaper
    ) -> Generator[Waveform, None, tuple[Drawn, bool]]:
        """Yield a piece's chunks as they come; return how it ended, and whether anything has left."""
        has_left = False
        for chunk in chain(held, stream):
            self._begin_next(number)
            if len(shaped := shaper.push(chunk)):
                has_left = True
                yield shaped
        self._begin_next(number)
        return self._end(number, stream), has_left

    def _patience(self) -> float:
        """Until when a piece can be held back."""
        spare = math.inf if self._hold else min(self._listener.unheard() - MARGIN_SECONDS, PATIENCE_SECONDS)
        return time.monotonic() + spare if self._delivery.retries else -math.inf

    def _hold_back(self, stream: Stream, until: float) -> tuple[list[Waveform], bool]:
        """A piece's chunks up to some time, and whether they are all of it."""
        held = list[Waveform]()
        while (spare := until - time.monotonic()) > 0:
            try:
                chunk = stream.take(None if spare == math.inf else spare)
            except Empty:
                break
            if chunk is None:
                return held, True
            held.append(chunk)
        return held, False

    def _drop(self, number: int, stream: Stream) -> None:
        stream.cancel()
        with self._closing:
            del self._streams[number]

    def _end(self, number: int, stream: Stream) -> Drawn:
        with self._closing:
            del self._streams[number]
        return Drawn.of(self._pieces[number].text, stream)

    def _is_faulty(self, drawn: Drawn) -> bool:
        # what was cancelled, here or by whoever stops the engine, is not asked for again
        return not self._closed and drawn.ending is not Ending.CANCELLED and drawn.fault(self._said) > 0

    def _begin_next(self, number: int) -> None:
        if number + 1 < len(self._pieces) and number + 1 not in self._streams and not self._closed:
            self._start(number + 1, 0)
