"""Word and character error rates of one utterance, normalised as seed-tts-eval does (BytedanceSpeech 752f429)."""

import re
import string
import unicodedata

import jiwer

# Chinese and Japanese put no spaces between words: each sign counts as one, as in seed-tts-eval
_SIGN = re.compile("([\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
_REMOVED = str.maketrans("", "", string.punctuation.replace("'", ""))


def normalise(text: str) -> str:
    """Lower case, no punctuation but the apostrophe, single spaces. Numbers stay as they are written."""
    plain = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()
    kept = "".join(" " if _is_punctuation(c) else c for c in plain.translate(_REMOVED))
    return " ".join(kept.split())


def _is_punctuation(character: str) -> bool:
    return character != "'" and unicodedata.category(character).startswith("P")


def word_error_rate(text: str, transcript: str) -> float:
    """Errors per written word, in Chinese and Japanese per sign; above 1 where more was heard than written."""
    return float(jiwer.wer(_words(normalise(text)), _words(normalise(transcript))))


def _words(plain: str) -> str:
    return " ".join(_SIGN.sub(r" \1 ", plain).split())


def character_error_rate(text: str, transcript: str) -> float:
    """Errors per written character."""
    return float(jiwer.cer(normalise(text), normalise(transcript)))
