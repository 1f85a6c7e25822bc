"""Long texts in pieces that are spoken one after another, and the pauses between them."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from voice.sentences import closed, says_something, sentences, stretches
from voice.text import spoken_bytes

PIECE_BYTES = 450  # about 30 s of speech; models drift after some minutes, and each piece has a cache of its own
CLAUSE_PAUSE, SENTENCE_PAUSE, PARAGRAPH_PAUSE = 0.12, 0.35, 0.7  # seconds, as readers make them

# Half-width marks need a space or another script behind them, dashes no digit: 1,234 and 10:30 and 1990-2000 stay whole
_CLAUSE_END = re.compile(r"[，、；：。！？]|[—–](?!\d)|[,;:!?…][\"'”’»›)\]]*(?=\s|[^\x00-\x7f])")
_SPACE = re.compile(r"(?<!\d) | (?!\d)")  # not that of 10 000


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text that is spoken at once, and the silence after it."""

    text: str
    pause_seconds: float


def split_pieces(text: str, *, limit_bytes: int = PIECE_BYTES) -> list[Piece]:
    """Sentences joined to pieces of at most `limit_bytes` to say; longer ones are cut at clauses, spaces, anywhere.

    What says nothing has no piece. A text of nothing else has none at all. Titles and items are given a full
    stop, which the limit does not count.
    """
    pieces = list[Piece]()
    for stretch, ends_paragraph in stretches(text):
        *others, last = _pieces(stretch, limit_bytes)
        pause = PARAGRAPH_PAUSE if ends_paragraph else SENTENCE_PAUSE
        pieces += [*others, replace(last, text=closed(last.text), pause_seconds=pause)]
    return pieces


def _pieces(stretch: str, limit_bytes: int) -> list[Piece]:
    pieces, held = list[Piece](), ""
    for part, pause in _parts(stretch, limit_bytes):
        if held and spoken_bytes((held + part).strip()) <= limit_bytes:
            pieces.pop()
        else:
            held = ""
        held += part
        pieces.append(Piece(held.strip(), pause))
    return [piece for piece in pieces if says_something(piece.text)]


def _parts(stretch: str, limit_bytes: int) -> Iterator[tuple[str, float]]:
    """Sentences, cut where they are too long, with the space behind them; and the pause after each."""
    for sentence in sentences(stretch):
        *clauses, last = _cut(sentence, limit_bytes)
        yield from ((clause, CLAUSE_PAUSE) for clause in clauses)
        yield last, SENTENCE_PAUSE


def _cut(sentence: str, limit_bytes: int) -> Iterator[str]:
    start, length = 0, len(sentence.rstrip())
    clauses = [end.end() for end in _CLAUSE_END.finditer(sentence)]
    spaces = [space.end() for space in _SPACE.finditer(sentence)]
    while (full := start + _fitting(sentence[start : start + limit_bytes], limit_bytes)) < length:
        clause, space = _last(clauses, full), _last(spaces, full)
        end = clause if clause > start + (full - start) // 3 else space if space > start else full
        yield sentence[start:end]
        start = end
    yield sentence[start:]


def _last(places: Sequence[int], at_most: int) -> int:
    return places[after - 1] if (after := bisect_right(places, at_most)) else 0


def _fitting(text: str, limit_bytes: int) -> int:
    """How many characters of a text are at most so much to say."""
    return bisect_right(list(accumulate(map(spoken_bytes, text))), limit_bytes)
