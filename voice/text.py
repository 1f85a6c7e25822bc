"""Languages by ISO code, and the written text in the forms that stages compare it in."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from voice.errors import InputError

# ISO 639-1 code -> the name Qwen3-TTS gives the language (codec_language_id in its config). `auto` leaves the tag out.
LANGUAGES = {
    "auto": "auto",
    "zh": "chinese",
    "en": "english",
    "ja": "japanese",
    "ko": "korean",
    "de": "german",
    "fr": "french",
    "ru": "russian",
    "pt": "portuguese",
    "es": "spanish",
    "it": "italian",
}


def language_name(code: str) -> str:
    """The model's name of a language. Raises InputError for a code that no Qwen3-TTS speaks."""
    try:
        return LANGUAGES[code.lower()]
    except KeyError:
        known = ", ".join(sorted(LANGUAGES))
        raise InputError(f"language {code!r} is not one that the model speaks. Use one of {known}.") from None


def same_text_key(text: str) -> str:
    """Equal for texts that sound the same but for case, punctuation and spacing: repeated takes share it."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", folded))


USUAL_BYTES_A_SECOND = 15.0  # of Latin prose, and of Chinese at 3 bytes a sign
# As long as the word that is read for it. num2words spells numbers of one to ten digits in 4 to 10 bytes a digit in the
# languages of Latin letters, in 3 to 5 in Japanese and Korean; "percent", "dollars", "plus" and "equals" have 4 to 7.
# Zeros are shorter: a million has six
SPELLED_BYTES, ZERO_BYTES = 7, 4
_SPELLED = re.compile(r"[\d½¼¾²³%‰$€£¥₩₽+=×÷±≈≠<>≤≥&@^°§#]")


def spoken_bytes(text: str) -> int:
    """How much there is to say: the UTF-8 bytes of a text, its digits and the symbols that are words counted as words.

    Letters that are said one by one (BBC) count as letters: the budget has room for three times as many.
    """
    return len(_SPELLED.sub("x" * SPELLED_BYTES, text.replace("0", "x" * ZERO_BYTES)).encode())


PIECE_BYTES = 450  # about 30 s of speech; models drift after some minutes, and each piece has a cache of its own
CLAUSE_PAUSE, SENTENCE_PAUSE, PARAGRAPH_PAUSE = 0.12, 0.35, 0.7  # seconds, as readers make them

_WIDE_END = "。！？"
_CLOSING = "\"'”’»」』）)]›"
_CLAUSE_ENDS = "，、；：,;:—–"
# an end, what closes behind it, and the space after it; wide marks need no space. A row of marks is tried from its
# first one only: from each of them, 100,000 would take minutes
_END = re.compile(
    rf"(?:(?<![.!?…])[.!?…]+(?:\s?»)?[{re.escape(_CLOSING)}]*(?=\s|$)|[{_WIDE_END}…]+[{re.escape(_CLOSING)}]*)\s*|\n\s*"
)
# words that end in a full stop within a sentence: en, de, fr, es, it, pt, ru
_WORDS = (
    "mr mrs ms dr prof st jr sr vs e.g i.e vol fig approx dept inc ltd gen col capt rev hon "
    "z.b d.h bzw ca nr str evtl ggf inkl sog u.a o.ä usf vgl hr "
    "mme mlle p.ex av bd éd chap "
    "sra srta dra ud uds p.ej núm pág "
    "sig sig.ra dott avv ing pag "
    "exmo exma eng "
    "т.е т.д т.п т.к г гг ул д кв им стр рис см руб тыс млн млрд проф"
)
_ABBREVIATIONS = frozenset(_WORDS.split())
LOOK = 12  # characters around an end that tell whether it is one
_GERMAN_MONTHS = (
    "Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September", "Oktober", "November",
    "Dezember",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text that is spoken at once, and the silence after it."""

    text: str
    pause_seconds: float


def split_sentences(text: str) -> list[str]:
    """Sentences of any of the ten languages, each with its mark; breaks of lines end one, too."""
    return [sentence for sentence, _ in _sentences(text)]


def _sentences(text: str) -> Iterator[tuple[str, bool]]:
    """Sentences, and whether a paragraph ends with each."""
    start = 0
    for end in _END.finditer(text):
        if end.group().strip() and _goes_on(text, end):
            continue
        if sentence := text[start : end.end()].strip():
            yield sentence, "\n" in text[end.start() : end.end()]
        start = end.end()
    if rest := text[start:].strip():
        yield rest, True


def _goes_on(text: str, end: re.Match[str]) -> bool:
    mark, following = end.group().strip(), text[end.end() : end.end() + LOOK]
    if "\n" in end.group() or not following:
        return False
    if following[0].islower():
        return True
    word = re.split(r"[\s(\"'„“«]", text[max(0, end.start() - LOOK) : end.start()])[-1]
    return mark == "." and (
        word.lower() in _ABBREVIATIONS
        or (len(word) == 1 and word.isupper())  # an initial
        or (word.isdigit() and following.startswith(_GERMAN_MONTHS))
    )


def split_pieces(text: str, *, limit_bytes: int = PIECE_BYTES) -> list[Piece]:
    """Sentences joined to pieces of at most `limit_bytes`; longer ones are cut at clauses, spaces, or anywhere."""
    pieces: list[Piece] = []
    for sentence, ends_paragraph in _sentences(text):
        pause = PARAGRAPH_PAUSE if ends_paragraph else SENTENCE_PAUSE
        parts = list(_cut(sentence, limit_bytes))
        for number, part in enumerate(parts, start=1):
            last = pieces[-1] if pieces else None
            joined = f"{last.text} {part}" if last and not _is_wide(last.text) else f"{last.text if last else ''}{part}"
            own = pause if number == len(parts) else CLAUSE_PAUSE
            if last and last.pause_seconds < PARAGRAPH_PAUSE and len(joined.encode()) <= limit_bytes:
                pieces[-1] = Piece(joined, own)
            else:
                pieces.append(Piece(part, own))
    return pieces


def _is_wide(text: str) -> bool:
    return text[-1] in _WIDE_END + "，、；："


def _cut(sentence: str, limit_bytes: int) -> Iterator[str]:
    while len(sentence.encode()) > limit_bytes:
        room = sentence.encode()[:limit_bytes].decode(errors="ignore")
        clause = max(room.rfind(mark) for mark in _CLAUSE_ENDS)
        at = clause + 1 if clause > len(room) // 3 else room.rfind(" ") + 1 or len(room)
        yield sentence[:at].strip()
        sentence = sentence[at:].strip()
    if sentence:
        yield sentence
