"""The sounds of a text read aloud, as units that can be counted; a pair of neighbours is written `first-second`.

| language | units | what they leave out |
|---|---|---|
| English | phonemes and diphones, from the dictionary in pocketsphinx's wheel | stress; other readings than the first |
| Chinese | initials, and finals with their tones after sandhi, from pypinyin | pairs |
| Korean | jamo of each syllable's onset, vowel and coda | assimilation: the spelling counts |
| Japanese | morae in kana | kanji, unless the sentence is a shipped one: its reading is shipped too |
| others | letters and letter pairs within words | all that the spelling does not show |
"""

import functools
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

PAIR = "-"

# what ARPAbet's names mean, for who reads a report: the sound of each in a word
EXAMPLES = {
    "AA": "hot", "AE": "cat", "AH": "cup", "AO": "law", "AW": "now", "AY": "my", "B": "boy", "CH": "chin", "D": "day",
    "DH": "this", "EH": "bed", "ER": "bird", "EY": "say", "F": "fun", "G": "go", "HH": "hat", "IH": "sit", "IY": "see",
    "JH": "jam", "K": "key", "L": "leg", "M": "man", "N": "no", "NG": "sing", "OW": "go", "OY": "boy", "P": "pen",
    "R": "red", "S": "sun", "SH": "shoe", "T": "ten", "TH": "thin", "UH": "book", "UW": "blue", "V": "van", "W": "wet",
    "Y": "yes", "Z": "zoo", "ZH": "measure",
}  # fmt: skip

_PHRASE_END = re.compile(r"[^\w'\s-]+")  # a pause: sounds on its two sides do not touch
_WORD = re.compile(r"[\w']+")


@dataclass(frozen=True, slots=True)
class Sounds:
    """What a text sounds like, in order, and the words of which that is not known."""

    units: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inventory:
    """How one language is read and what its units are called."""

    name: str
    read: Callable[[str], Sounds]


def inventory(language: str) -> Inventory:
    """How the sounds of a language are counted."""
    match language:
        case "en":
            return Inventory("phonemes and diphones", _english)
        case "zh":
            return Inventory("initials and finals with tones", _chinese)
        case "ko":
            return Inventory("jamo", _korean)
        case "ja":
            return Inventory("morae", _japanese)
        case _:
            return Inventory("letters and letter pairs (the spelling: an approximation)", _spelling)


def is_pair(unit: str) -> bool:
    """Whether a unit is two neighbours."""
    return PAIR in unit


def _with_pairs(singles: Iterable[str]) -> list[str]:
    chain = list(singles)
    return chain + [PAIR.join(pair) for pair in itertools.pairwise(chain)]


def _english(text: str) -> Sounds:
    units, unknown = list[str](), list[str]()
    for phrase in _PHRASE_END.split(_plain(text)):
        chain = list[str]()
        for word in (w.strip("'") for w in _WORD.findall(phrase)):
            pronounced = _dictionary().get(word)
            if pronounced:
                chain += pronounced.split()
            elif word:
                unknown.append(word)
                units += _with_pairs(chain)
                chain.clear()
        units += _with_pairs(chain)
    return Sounds(tuple(units), tuple(unknown))


@functools.cache
def _dictionary() -> dict[str, str]:
    # 134 860 words, BSD licence; alternatives stand under `word(2)` and are never looked up
    from pocketsphinx import get_model_path

    lines = Path(get_model_path("en-us/cmudict-en-us.dict")).read_text(encoding="utf-8").splitlines()
    return {word: phonemes for word, _, phonemes in (line.partition(" ") for line in lines)}


_HAN = re.compile(r"[㐀-鿿]+")


def _chinese(text: str) -> Sounds:
    from pypinyin import Style, lazy_pinyin

    units = list[str]()
    for run in _HAN.findall(text):
        initials = lazy_pinyin(run, style=Style.INITIALS, strict=True)
        finals = lazy_pinyin(run, style=Style.FINALS_TONE3, neutral_tone_with_five=True, tone_sandhi=True, v_to_u=True)
        units += [unit for syllable in zip(initials, finals, strict=True) for unit in syllable if unit]
    return Sounds(tuple(units), tuple(re.findall(r"[^\W_]+", _HAN.sub(" ", text))))


_ONSETS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_CODAS = " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"
_CODA_MARK = "받침"  # the Korean word for a coda, since onset and coda share letters
_HANGUL = re.compile(r"[가-힣]")


def _korean(text: str) -> Sounds:
    text = unicodedata.normalize("NFC", text)
    units = list[str]()
    for syllable in _HANGUL.findall(text):
        # the order of Unicode's syllable block: 19 onsets, 21 vowels, 27 codas or none
        onset, rest = divmod(ord(syllable) - ord("가"), 21 * 28)
        vowel, coda = divmod(rest, 28)
        units += [_ONSETS[onset], _VOWELS[vowel]] + ([_CODAS[coda] + _CODA_MARK] if coda else [])
    return Sounds(tuple(units), tuple(re.findall(r"[^\W_]+", _HANGUL.sub(" ", text))))


_KANA = re.compile(r"[ぁ-ゖー]")
_MORA = re.compile(r"[^ゃゅょぁぃぅぇぉゎ][ゃゅょぁぃぅぇぉゎ]?")


def _japanese(text: str) -> Sounds:
    folded = "".join(_to_hiragana(c) for c in unicodedata.normalize("NFKC", text))
    units = [mora for run in re.findall(r"[ぁ-ゖー]+", folded) for mora in _MORA.findall(run)]
    return Sounds(tuple(units), tuple(re.findall(r"[^\W_]+", _KANA.sub(" ", folded))))


def _to_hiragana(character: str) -> str:
    return chr(ord(character) - (ord("ァ") - ord("ぁ"))) if "ァ" <= character <= "ヶ" else character


def _spelling(text: str) -> Sounds:
    units, unknown = list[str](), list[str]()
    for word in _WORD.findall(_plain(text)):
        if re.search(r"[\d_]", word):
            unknown.append(word)
        else:
            units += _with_pairs(word.replace("'", ""))
    return Sounds(tuple(units), tuple(unknown))


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
