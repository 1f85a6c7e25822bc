"""Where sentences end in a text of any of the ten languages. tests/voice/test_sentences.py is the table.

No language is asked for: texts mix them. Where a rule has to guess, the sentence goes on: the voice pauses at a full
stop by itself, but no pause is right inside a sentence.
"""

import re
import unicodedata
from collections.abc import Iterator

_SPACELESS = "\u2e80-\ua4cf\uf900-\ufaff\uff00-\uffef"  # scripts without spaces between words, and their marks
_HANGUL = "\u1100-\u11ff\uac00-\ud7ff"
_SIGN = re.compile(rf"[^\W\d_a-zA-Z](?<=[{_SPACELESS}{_HANGUL}])")
_SPACELESS_SIGN = re.compile(f"[{_SPACELESS}]")
_SPACELESS_WRAP = re.compile(rf"(?<=[{_SPACELESS}])\n(?=[{_SPACELESS}])")
_BULLET = re.compile(r"(?:[-+*•‣◦▪·]\s|[—–]|\(?\d{1,3}[.)]\s|\(?[a-z]\)\s)\s*")

# Columns; a wide sign counts three, as in spoken_bytes. Verses and items are shorter than the first, and a line that is
# longer than the last one is a paragraph that nobody has wrapped
SHORTEST_WRAPPED, LONGEST_WRAPPED = 60, 120
ITEM_WORDS = 2  # a line of no more, without a mark, may be an item, though the next one begins with a small letter

_WIDE_MARKS = "。！？｡"
_MARKS = ".!?…" + _WIDE_MARKS
_CLOSING = re.escape("\"'”’»›」』）)]》〉】*_") + "\U0001f000-\U0001faff\u2600-\u27bf\ufe0f\u200d"
# These open a quotation in some languages and close it in others: behind a mark, and before no word, they close it
_EITHER = "“‘«"
# A row of marks, what closes behind it, the space after it. A row is tried from its first mark only: from each of them,
# 100,000 would take minutes
_END = re.compile(rf"(?<![{_MARKS}])([{_MARKS}]+)((?:\s?[»›](?!\w)|[{_EITHER}](?!\w)|[{_CLOSING}])*)(\s*)")
_ENDED = re.compile(rf"[{_MARKS}](?:\s?»|[{_EITHER}{_CLOSING}])*$")
_MARKED = re.compile(rf"[{_MARKS}][\W_]*$")  # whatever closes or decorates it
_OPEN_END = re.compile(r"(?:\s[—–-]|[\s,;:，、；：—])+$")
LOOK = 16  # characters around an end that tell whether it is one

# Behind a quotation these go on with its sentence: Japanese and Korean particles, Chinese "he said"
_CARRIES_ON = re.compile(r"[とっはがをにのもでなへ]|이?라[고는며]|하?고\s|하[며는]|\w{0,4}[说說道问問喊叫答]")

# A name, a number or an example follows these: no sentence ends with them
_LEADING_WORDS = (
    "mr mrs ms messrs dr prof st mt ft vs e.g i.e cf vol fig approx dept gen col capt lt sgt rev hon sen gov rep "
    "z.b d.h bzw ca nr abb tab evtl ggf inkl sog vgl hrsg fa fr "
    "mme mlle mm mgr ste p.ex ex av bd boul éd chap "
    "sr sra srta dra gral lic ud uds dña p.ej ej núm pág "
    "sig sigg sig.ra dott dott.ssa prof.ssa avv ing arch pag "
    "exmo exma profa eng dep séc "
    "т.е т.к ул пл пр кв стр рис гл ст св проф акад просп"
)
# These end in a full stop and may be a sentence's last word. Those of one letter are seen by their form, as are those
# with full stops between letters
_TRAILING_WORDS = "jr inc ltd co corp etc al usw usf hr o.ä jh mio mrd tel cía ecc гг вв см им руб долл тыс млн млрд др"
# Behind an abbreviation these begin a sentence: pronouns, articles and the like, with which hardly a name begins. Not
# "I", which is a capital inside sentences, too
_STARTING_WORDS = (
    "the he she it we they you this that these those there but and so then when if what why how my our his her its "
    "der die das er sie es wir ihr ein eine und aber doch dann dies diese dieser dieses "
    "il elle ils elles le la les nous vous je ce cette mais et un une puis "
    "el los las él ella ellos yo pero luego una lo gli lui lei loro noi ma poi "
    "os as ele ela eles eu não mas um uma "
    "он она оно они мы вы это но в на потом затем"
)
_LEADING, _TRAILING, _STARTING = (frozenset(w.split()) for w in (_LEADING_WORDS, _TRAILING_WORDS, _STARTING_WORDS))
_BEFORE_NUMBERS = re.compile(
    r"no|nos|nº|art|abs|kap|pp|sec|ch|\w*str|jan|feb|mar|apr|jun|jul|aug|sept?|oct|okt|nov|dec|dez"
)
# An initial, an ordinal (1. Weltkrieg, Ludwig XIV.), letters with full stops between (U.S., Ph.D.), EE. UU.
_ABBREVIATED = re.compile(r"[^\W\d_]|\d{1,2}|[IVX]{2,}|(?:[^\W\d_]{1,3}\.)+[^\W\d_]{1,3}|([A-Z])\1")
_LETTER = re.compile(r"[^\W_]")  # or digit
_FIRST = re.compile(rf"(?:[^\w{_MARKS}]|_)*([^\W_])")  # letter or digit, before any other mark
_FIRST_WORD = re.compile(r"\W*([^\W\d_]+)(?![\w.])")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, each with its marks."""
    return [sentence.strip() for stretch, _ in stretches(text) for sentence in sentences(stretch)]


def stretches(text: str) -> Iterator[tuple[str, bool]]:
    """Lines that are read as one, wrapped ones joined, and whether a paragraph ends with them.

    What says nothing (a rule, a row of emoji) is left out, as an empty line is.
    """
    held = list[str]()
    for line in [*map(str.strip, text.splitlines()), ""]:
        if held and not (says_something(line) and _runs_on(held[-1], line)):
            yield _unwrapped(held), not says_something(line) or _columns(held[-1]) > LONGEST_WRAPPED
            held = []
        if says_something(line):
            held.append(line)


def sentences(stretch: str) -> Iterator[str]:
    """The sentences of a stretch, each with the space behind it: together they are the stretch."""
    start, bullet = 0, _BULLET.match(stretch)
    said = _LETTER.search(stretch, bullet.end() if bullet else 0)  # marks before it are no sentence
    for end in _END.finditer(stretch, said.start() if said else 0):
        is_number = stretch[start : min(start + LOOK, end.start())].isdigit()  # of an item
        if not is_number and _is_end(stretch, end):
            yield stretch[start : end.end()]
            start = end.end()
    yield stretch[start:]


def closed(stretch: str) -> str:
    """With a full stop where a title or an item has no end mark: without one a model may not come to an end."""
    if _MARKED.search(stretch, max(0, len(stretch) - LOOK)):
        return stretch
    open_ended = _OPEN_END.sub("", stretch)
    return open_ended + ("。" if _SPACELESS_SIGN.match(open_ended[-1:]) else ".")


def says_something(text: str) -> bool:
    """Whether there is a letter or a digit in it."""
    return _LETTER.search(text) is not None


def _unwrapped(lines: list[str]) -> str:
    return _SPACELESS_WRAP.sub("", "\n".join(lines)).replace("\n", " ")


def _runs_on(before: str, line: str) -> bool:
    """Whether a line goes on in the next one, or ends with a sentence whose paragraph does."""
    if _BULLET.match(line):
        return False
    if (first := _LETTER.search(line)) and first[0].islower():
        is_item = len(before.split()) <= ITEM_WORDS and not _ENDED.search(before) and not _SIGN.search(before)
        if (is_item and not before.endswith(",")) or before.endswith((":", "：")):
            return False
        return not re.search(r"(?<!\.)\.$", before) or _is_abbreviation(_word_before(before[:-1]))
    shortest = 0 if _ENDED.search(before, max(0, len(before) - LOOK)) else SHORTEST_WRAPPED
    return shortest <= _columns(before) <= LONGEST_WRAPPED


def _columns(line: str) -> int:
    return sum(3 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def _is_end(text: str, end: re.Match[str]) -> bool:
    marks, closing, space = end.groups()
    following = text[end.end() : end.end() + LOOK]
    before = text[max(0, end.start() - LOOK) : end.start()]
    first = _FIRST.match(following)
    if not first or following[0] in ",;:，、；：" or _is_part(before, closing, following):
        return False
    if any(mark in marks for mark in _WIDE_MARKS):
        return True
    if not space:
        return not closing and _is_between_signs(before, marks, first[1])
    if first[1].islower():
        return False
    if "!" in marks or "?" in marks or _begins_sentence(following):
        return not (marks == "." and _word_before(before).lower() in _LEADING)
    return marks == "." and not _is_abbreviation(_word_before(before), before_digit=first[1].isdigit())


def _is_part(before: str, closing: str, following: str) -> bool:
    """Whether a mark ends only a part of a sentence: (!), [...], a title, a quotation that somebody says."""
    if not closing:
        return False
    return before.endswith(("(", "[", "（")) or "》" in closing or bool(_CARRIES_ON.match(following))


def _is_between_signs(before: str, marks: str, first: str) -> bool:
    """Whether half-width marks without a space behind them stand in a text of signs."""
    behind, ahead = _SIGN.match(before[-1:]), _SIGN.match(first)
    return bool(behind and ahead) if marks == "." else bool(behind or ahead) and not marks.startswith((".", "…"))


def _begins_sentence(following: str) -> bool:
    word = _FIRST_WORD.match(following)
    return word is not None and word[1][0].isupper() and word[1].lower() in _STARTING


def _word_before(text: str) -> str:
    return re.split(r"[\s(\[\"'„“«»‘¿¡–—-]", text[-LOOK:])[-1]


def _is_abbreviation(word: str, *, before_digit: bool = False) -> bool:
    lower = word.lower()
    if before_digit and (word.isdigit() or _BEFORE_NUMBERS.fullmatch(lower)):
        return True
    if lower in _LEADING or lower in _TRAILING:
        return True
    return not _SIGN.match(word) and _ABBREVIATED.fullmatch(word) is not None
