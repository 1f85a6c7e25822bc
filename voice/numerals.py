"""Numerals spelled out: "48" and "forty-eight" are the same words, whichever of them a recogniser writes.

How digits are meant cannot be seen (1998 may be a year, a number or four digits), so each text has several readings,
and whoever compares takes the one that fits best.
"""

import re
from collections.abc import Callable
from itertools import pairwise

from num2words import num2words

_TIME = re.compile(r"(?<!\d)(\d{1,2}):(\d\d)(?!\d)")
_GROUPED = re.compile(r"(?<=\d)[,.\u00a0\u202f'](?=\d{3}(?!\d))")  # 1,250 or 1.250
_NUMERAL = re.compile(r"(\d+)(?:[.,](\d+))?(st|nd|rd|th)?")
_TENS = re.compile(r"\b(twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)-", re.IGNORECASE)  # else "eightysix"
_YEARS = range(1100, 2100)
_DIGITS_ZH = "零一二三四五六七八九"
_NO_SPACE = ("zh", "ja")


def readings(text: str, language: str) -> list[str]:
    """The ways to read a text's numerals, each once: as numbers, with years as years, digit by digit.

    A text without digits has one reading, itself. `language` is an ISO code; `auto` is read as English.
    """
    text = _TENS.sub(r"\1 ", text)
    if not re.search(r"\d", text):
        return [text]
    code = "en" if language == "auto" else language
    text = _TIME.sub(r"\1 \2", text)
    grouped = _GROUPED.sub("", text)
    styles: list[tuple[str, Callable[[str, str], str]]] = [
        (grouped, _cardinal),
        (grouped, _year),
        (text, _digits),
        (text, _cardinal),  # where a bar of three digits is a decimal after all
    ]
    return list(dict.fromkeys(_spell(source, code, read) for source, read in styles))


def _spell(text: str, code: str, read: Callable[[str, str], str]) -> str:
    def words(match: re.Match[str]) -> str:
        whole, decimals, ordinal = match.groups()
        if ordinal and code == "en":
            spoken = num2words(int(whole), lang=code, to="ordinal")
        elif decimals:
            point = _decimal_word(code)
            spoken = f"{_cardinal(whole, code)}{point}{_digits(decimals, code)}"
        else:
            spoken = read(whole, code)
        plain = spoken.replace("-", " ") if code != "fr" else spoken
        return plain if code in _NO_SPACE else f" {plain} "

    return re.sub(r"\s+", " ", _NUMERAL.sub(words, text)).strip()


def _decimal_word(code: str) -> str:
    if code == "zh":
        return "点"
    inside = str(num2words(1.5, lang=code))
    ends = [str(num2words(n, lang=code)) for n in (1, 5)]
    middle = inside.removeprefix(ends[0]).removesuffix(ends[1])
    return middle if middle != inside else " "


def _cardinal(number: str, code: str) -> str:
    if len(number) > 12:  # nobody says that as one number
        return _digits(number, code)
    if code == "zh":
        return _cardinal_zh(int(number))
    words = str(num2words(int(number), lang=code)).replace(",", "")
    return words.replace(" and ", " ") if code == "en" else words  # one hundred [and] one: most speakers leave it out


def _year(number: str, code: str) -> str:
    if len(number) != 4 or int(number) not in _YEARS:
        return _cardinal(number, code)
    if code in ("zh", "ko", "ja"):
        return _digits(number, code) if code == "zh" else _cardinal(number, code)
    return str(num2words(int(number), lang=code, to="year")).replace(" and ", " ")


def _digits(number: str, code: str) -> str:
    if code == "zh":
        return "".join(_DIGITS_ZH[int(d)] for d in number)
    return ("" if code == "ja" else " ").join(str(num2words(int(d), lang=code)) for d in number)


def _cardinal_zh(number: int) -> str:
    """Chinese has groups of four digits, a sign for each place, and one zero for any gap inside."""
    if number == 0:
        return _DIGITS_ZH[0]
    groups = [number // 10**place % 10**4 for place in range(0, 16, 4)]
    words = ""
    for index in reversed(range(4)):
        if groups[index]:
            gap = words and (groups[index] < 1_000 or not groups[index + 1])
            words += (_DIGITS_ZH[0] if gap else "") + _group_zh(groups[index]) + ("", "万", "亿", "兆")[index]
    return words.removeprefix("一") if words.startswith("一十") else words


def _group_zh(group: int) -> str:
    digits = [(group // 10**place % 10, unit) for place, unit in ((3, "千"), (2, "百"), (1, "十"), (0, ""))]
    said = [(place, _DIGITS_ZH[d] + unit) for place, (d, unit) in enumerate(digits) if d]
    words = said[0][1]
    for (before, _), (place, word) in pairwise(said):
        words += (_DIGITS_ZH[0] if place - before > 1 else "") + word
    return words
