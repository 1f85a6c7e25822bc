"""A script read aloud, and what a recogniser heard of each piece: which words of the script belong to which piece."""

import re
import unicodedata
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

_SNAP = 14  # characters; a recogniser's errors move a boundary by about a word
_PUNCTUATION_GAIN = 8  # a pause is likelier after punctuation, by this many characters
_WITHOUT_SPACES = {"zh", "ja"}
_INSIDE_WORDS = "'-\N{RIGHT SINGLE QUOTATION MARK}"  # punctuation that divides nothing


def align(script: str, heard: Sequence[str], *, language: str) -> list[str]:
    """Divide `script` into one text for each piece, in order; a piece in which nothing was heard gets none.

    Letters are aligned, not words, so that a misheard word still holds its place. Every boundary moves to the nearest
    end of a word, rather one with punctuation.
    """
    letters, at = _letters(script)
    parts = [_letters(text)[0] for text in heard]
    offsets = _offsets(letters, parts)
    ends = _ends(script, language)
    texts, start = [], 0
    for part, offset in zip(parts, offsets, strict=True):
        if not part:
            texts.append("")
            continue
        is_last = offset >= len(letters)
        end = len(script) if is_last else max(start, _snap(at[offset], script, ends))
        texts.append(script[start:end].strip())
        start = end
    return texts


def _letters(text: str) -> tuple[str, list[int]]:
    """What is spoken of a text, and where each character stands in it."""
    found = [(c, i) for i, original in enumerate(text) for c in unicodedata.normalize("NFKC", original).casefold()]
    spoken = [(c, i) for c, i in found if c.isalnum()]
    return "".join(c for c, _ in spoken), [i for _, i in spoken]


def _offsets(letters: str, parts: Sequence[str]) -> list[int]:
    """For the end of each part, its place among the script's letters."""
    joined = "".join(parts)
    place = list(range(len(joined) + 1))
    for code in Levenshtein.opcodes(letters, joined):
        for h in range(code.dest_start, code.dest_end):
            place[h] = min(code.src_start + h - code.dest_start, code.src_end)
        place[code.dest_end] = code.src_end
    offsets, total = [], 0
    for part in parts:
        total += len(part)
        offsets.append(place[total])
    if offsets:
        offsets[-1] = len(letters)
    return offsets


def _ends(script: str, language: str) -> list[int]:
    """Where a text may be divided: after a word and its spaces, or after any character where words have none."""
    if language in _WITHOUT_SPACES:
        return list(range(len(script) + 1))
    return [match.end() for match in re.finditer(r"\S+\s*", script)]


def _snap(place: int, script: str, ends: Sequence[int]) -> int:
    def cost(end: int) -> int:
        before = script[:end].rstrip()[-1:]
        gains = before != "" and unicodedata.category(before).startswith("P") and before not in _INSIDE_WORDS
        return abs(end - place) - (_PUNCTUATION_GAIN if gains else 0)

    near = [end for end in ends if abs(end - place) <= _SNAP]
    return min(near, key=cost) if near else min(ends, key=lambda end: abs(end - place))
