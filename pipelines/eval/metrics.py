"""Word and character errors of one utterance, normalised as seed-tts-eval does (BytedanceSpeech 752f429).

In addition to its protocol numerals are spelled out on both sides: it counts "fifty" against "50" as an error
(BytedanceSpeech/seed-tts-eval#12).
"""

import re
import string
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import jiwer
from opencc import OpenCC

from voice.numerals import readings

# Chinese and Japanese put no spaces between words: each sign counts as one, as in seed-tts-eval
_SIGN = re.compile("([\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
_SPACED = re.compile(rf"\s*{_SIGN.pattern}\s*")
_REMOVED = str.maketrans("", "", string.punctuation.replace("'", ""))


def normalise(text: str) -> str:
    """Lower case, no punctuation but the apostrophe, single spaces."""
    plain = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()
    kept = "".join(" " if _is_punctuation(c) else c for c in plain.translate(_REMOVED))
    return " ".join(kept.split())


@cache
def _converter() -> OpenCC:
    return OpenCC("t2s")


def _simplified(text: str) -> str:
    return str(_converter().convert(text))


def _is_punctuation(character: str) -> bool:
    return character != "'" and unicodedata.category(character).startswith("P")


def _split(plain: str) -> list[str]:
    """Words as they are counted: in Chinese and Japanese one for each sign."""
    return _SIGN.sub(r" \1 ", plain).split()


@dataclass(frozen=True)
class Comparison:
    """A text beside what was heard, both normalised and in the readings that fit best."""

    written: str
    heard: str

    @cached_property
    def _words(self) -> jiwer.WordOutput:
        return jiwer.process_words(" ".join(_split(self.written)), " ".join(_split(self.heard)))

    @property
    def errors(self) -> int:
        """Words that are wrong, missing or too many."""
        return self._words.substitutions + self._words.deletions + self._words.insertions

    @property
    def length(self) -> int:
        """Words written."""
        return len(_split(self.written))

    @property
    def wer(self) -> float:
        """Errors per written word; above 1 where more was heard than written."""
        return self.errors / max(1, self.length)

    @property
    def cer(self) -> float:
        """Errors per written character; spaces beside Chinese and Japanese signs are none."""
        written, heard = (_SPACED.sub(r"\1", text) for text in (self.written, self.heard))
        return float(jiwer.cer(written, heard)) if written else float(bool(heard))

    def stretches(self) -> "list[Stretch]":
        """The text word for word, as runs that were understood and runs that were not."""
        written, heard = _split(self.written), _split(self.heard)
        [chunks] = self._words.alignments
        return [
            Stretch(
                " ".join(written[c.ref_start_idx : c.ref_end_idx]), " ".join(heard[c.hyp_start_idx : c.hyp_end_idx])
            )
            for c in chunks
        ]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Words of the text beside what was heard in their place; one of the two may be empty."""

    written: str
    heard: str

    @property
    def is_right(self) -> bool:
        """Whether both are the same."""
        return self.written == self.heard


def compare(text: str, transcript: str, *, spoken: str = "", language: str = "en") -> Comparison:
    """Compare a text, or the way it is read aloud, with what was heard; of all readings those that fit best.

    Readings mix word for word: whoever writes "Dr." for one abbreviation may write "Street" for the next, and say one
    number as a year and another digit by digit.
    """
    if language == "zh":  # a recogniser may write either script; seed-tts-eval compares in simplified signs, too
        text, transcript, spoken = (_simplified(t) for t in (text, transcript, spoken))
    written = list(dict.fromkeys(normalise(r) for t in (text, spoken) if t for r in readings(t, language)))
    heard = list(dict.fromkeys(normalise(r) for r in readings(transcript, language)))
    best = min((Comparison(w, h) for w in written for h in heard), key=lambda pair: pair.wer)
    if best.errors:
        for other in written:
            best = _mixed(best, other, lambda mixture, pair: Comparison(mixture, pair.heard), of=best.written)
        for other in heard:
            best = _mixed(best, other, lambda mixture, pair: Comparison(pair.written, mixture), of=best.heard)
    return best


def _mixed(best: Comparison, other: str, compared: Callable[[str, Comparison], Comparison], *, of: str) -> Comparison:
    """Exchange those stretches of a reading for another's that make fewer errors."""
    parts = Comparison(of, other).stretches()
    chosen = [part.written for part in parts]
    for number, part in enumerate(parts):
        if not part.is_right:
            tried = [*chosen[:number], part.heard, *chosen[number + 1 :]]
            pair = compared(" ".join(filter(None, tried)), best)
            if pair.wer < best.wer:
                chosen, best = tried, pair
    return best


def word_error_rate(text: str, transcript: str, *, spoken: str = "", language: str = "en") -> float:
    """Errors per written word, in Chinese and Japanese per sign; above 1 where more was heard than written."""
    return compare(text, transcript, spoken=spoken, language=language).wer


def character_error_rate(text: str, transcript: str, *, spoken: str = "", language: str = "en") -> float:
    """Errors per written character."""
    return compare(text, transcript, spoken=spoken, language=language).cer
