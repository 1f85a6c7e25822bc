"""From exact chunks to what is pleasant to hear: long texts in pieces, trimmed edges, pauses, one loudness, retries.

Every part can be off; with all of them off what comes out is what the model said, sample by sample.
"""

import hashlib
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np

from voice.audio import FRAME_RATE, SAMPLE_RATE, Waveform
from voice.engine.core import Utterance
from voice.engine.scheduler import AHEAD, RAMP, Ending, Stream, Watch
from voice.request import Request
from voice.text import Piece, split_pieces

AUDIBLE = 0.005  # -46 dBFS; the first frame of Qwen3-TTS lies below it (research: about 80 ms)
ONSET_SECONDS, TAIL_SECONDS = 0.01, 0.15  # of near silence that stay: soft onsets, the room's decay
FADE_SECONDS = 0.01  # where an utterance is broken off
LOUDNESS_LIMIT = 10 ** (3 / 20)  # +-3 dB: evens out pieces of one voice, leaves expression alone
LOUDNESS_SECONDS = 0.5  # of sound before a piece's loudness is known

LOOP_SECONDS, SILENCE_SECONDS = 2.0, 2.5  # said again code for code, and nothing said: longer than any pause in speech
LONGEST_LOOP = 12  # frames of a period
FEWEST_SHARE = 0.2  # of the usual pace: an utterance that is over before can't have said the text
USUAL_BYTES_A_SECOND = 15.0  # as in the frame budget

Begin = Callable[[Request, Watch | None], Stream]


@dataclass(frozen=True, slots=True)
class Delivery:
    """Which parts are on."""

    ramp: tuple[int, ...] = RAMP
    ahead: int | None = AHEAD  # chunks that may lie unheard; None for any number
    split: bool = True  # texts longer than a piece; a longer one may not fit into a slot
    trim: bool = True
    even_loudness: bool = True
    watch: bool = True
    retries: int = 2


PLAIN = Delivery(trim=False, even_loudness=False, watch=False, retries=0)  # what evaluation hears


def reseeded(seed: int, *, piece: int, attempt: int) -> int:
    """The seed of a piece's attempt: the request's own for the first."""
    if piece == attempt == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} {piece} {attempt}".encode()).digest()[:8]) >> 1


class Watchdog:
    """Sees loops and silence while an utterance is drawn."""

    def __init__(self) -> None:
        self._silent = 0  # samples

    def heard(self, samples: Waveform) -> None:
        """Listen to a chunk."""
        audible = np.flatnonzero(np.abs(samples) > AUDIBLE)
        self._silent = len(samples) - 1 - int(audible[-1]) if len(audible) else self._silent + len(samples)

    def __call__(self, utterance: Utterance) -> Ending | None:
        """What is wrong with an utterance, if anything is."""
        if self._silent > SILENCE_SECONDS * SAMPLE_RATE:
            return Ending.SILENCE
        return Ending.LOOP if self._loops(utterance) else None

    @staticmethod
    def _loops(utterance: Utterance) -> bool:
        length = round(LOOP_SECONDS * FRAME_RATE)
        if len(utterance.codes) < length + LONGEST_LOOP:
            return False
        recent = np.stack([c.numpy() for c in utterance.codes[-length - LONGEST_LOOP :]])
        return any(np.array_equal(recent[p:][-length:], recent[:-p][-length:]) for p in range(1, LONGEST_LOOP + 1))


class Shaper:
    """Trims the edges of pieces and holds their loudness; keeps back what may turn out to be an edge."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._kept = np.zeros(0, np.float32)
        self._begun = False
        self._target: float | None = None  # RMS of the first piece
        self._energy, self._heard, self._gain = 0.0, 0, 1.0

    def push(self, chunk: Waveform) -> Waveform:
        """Take a chunk of the current piece and give what can leave."""
        chunk = self._level(chunk) if self._delivery.even_loudness else chunk
        if not self._delivery.trim:
            return chunk
        samples = np.concatenate([self._kept, chunk])
        audible = np.flatnonzero(np.abs(samples) > AUDIBLE)
        if not self._begun:
            start = max(0, (audible[0] if len(audible) else len(samples)) - round(ONSET_SECONDS * SAMPLE_RATE))
            samples, audible = samples[start:], audible - start
            self._begun = len(audible) > 0
        end = int(audible[-1]) + 1 if len(audible) else 0
        end = max(0, end - round(FADE_SECONDS * SAMPLE_RATE))
        self._kept = samples[end:]
        return samples[:end]

    def end_piece(self, *, broken: bool, pause_seconds: float) -> Waveform:
        """Give what was kept back, and the silence before the next piece."""
        kept = self._kept[: round((FADE_SECONDS + TAIL_SECONDS) * SAMPLE_RATE)].copy()
        if broken:
            fade = min(len(kept), round(FADE_SECONDS * SAMPLE_RATE))
            kept = kept[:fade] * np.linspace(1, 0, fade, dtype=np.float32)
        if self._target is None and self._heard > LOUDNESS_SECONDS * SAMPLE_RATE:
            self._target = (self._energy / self._heard) ** 0.5
        self._kept, self._begun = np.zeros(0, np.float32), False
        self._energy, self._heard = 0.0, 0
        silence = round(max(0.0, pause_seconds - (TAIL_SECONDS if self._delivery.trim else 0.0)) * SAMPLE_RATE)
        return np.concatenate([kept, np.zeros(silence, np.float32)])

    def _level(self, chunk: Waveform) -> Waveform:
        sound = chunk[np.abs(chunk) > AUDIBLE]
        self._energy += float(np.square(sound, dtype=np.float64).sum())
        self._heard += len(sound)
        if self._target is None or self._heard < LOUDNESS_SECONDS * SAMPLE_RATE:
            return chunk * np.float32(self._gain) if self._target is not None else chunk
        level = (self._energy / self._heard) ** 0.5
        gain = float(np.clip(self._target / level, 1 / LOUDNESS_LIMIT, LOUDNESS_LIMIT))
        ramp = np.linspace(self._gain, gain, len(chunk), dtype=np.float32)
        self._gain = gain
        return np.clip(chunk * ramp, -1, 1)


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
        self._hold = hold  # until a piece is whole: then even its end can be put right
        pieces = split_pieces(request.text) if delivery.split else []
        self._pieces = pieces if len(pieces) > 1 else [Piece(request.text, 0.0)]
        self._closed, self._closing = False, threading.Lock()
        self._streams: dict[int, Stream] = {}  # by piece
        self._start(0, 0)  # refuses a bad request at once

    def close(self) -> None:
        """Cancel what speaks; nothing begins after it."""
        with self._closing:
            self._closed = True
            for stream in self._streams.values():
                stream.cancel()

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
        dog = Watchdog() if self._delivery.watch else None
        return self._begin(replace(self._request, text=text, seed=seed), dog)

    def spoken(self) -> Generator[Waveform, None, None]:
        """The chunks of all pieces."""
        shaper, endings = Shaper(self._delivery), list[Ending]()
        try:
            for number, piece in enumerate(self._pieces):
                ending = yield from self._speak(number, shaper)
                endings.append(ending)
                if self._closed:
                    break
                last = number == len(self._pieces) - 1
                rest = shaper.end_piece(
                    broken=ending is not Ending.ITSELF, pause_seconds=0.0 if last else piece.pause_seconds
                )
                if len(rest):
                    yield rest
        finally:
            self.close()
        self.ending = next((e for e in endings if e is not Ending.ITSELF), Ending.ITSELF)

    def _speak(self, number: int, shaper: Shaper) -> Generator[Waveform, None, Ending]:
        """Yield a piece's chunks; return how it ended. The next piece is begun as soon as this one is heard."""
        for attempt in range(self._delivery.retries + 1):
            stream = self._streams.get(number) or self._start(number, attempt)
            left, held = False, list[Waveform]()
            may_retry = attempt < self._delivery.retries and not self._closed
            for chunk in stream:
                if self._hold and may_retry:
                    held.append(chunk)
                    continue
                self._begin_next(number)
                if len(shaped := shaper.push(chunk)):
                    left = True
                    yield shaped
            with self._closing:
                del self._streams[number]
            ending = stream.ending or Ending.CANCELLED
            if may_retry and not self._closed and not left and self._is_bad(number, stream):
                shaper.end_piece(broken=True, pause_seconds=0.0)  # forget it
                continue
            self._begin_next(number)
            for chunk in held:
                if len(shaped := shaper.push(chunk)):
                    yield shaped
            return ending
        raise AssertionError("the last attempt returns")

    def _begin_next(self, number: int) -> None:
        if number + 1 < len(self._pieces) and number + 1 not in self._streams and not self._closed:
            self._start(number + 1, 0)

    def _is_bad(self, number: int, stream: Stream) -> bool:
        expected = FRAME_RATE * len(self._pieces[number].text.encode()) / USUAL_BYTES_A_SECOND
        too_short = len(stream.utterance.codes) < FEWEST_SHARE * expected
        return stream.ending is not Ending.ITSELF or too_short
