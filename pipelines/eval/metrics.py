"""Word and character error rates of one utterance, normalised as seed-tts-eval does (BytedanceSpeech 752f429)."""

import string
import unicodedata

import jiwer

_REMOVED = str.maketrans("", "", string.punctuation.replace("'", ""))


def normalise(text: str) -> str:
    """Lower case, no punctuation but the apostrophe, single spaces. Numbers stay as they are written."""
    plain = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()
    kept = "".join(" " if _is_punctuation(c) else c for c in plain.translate(_REMOVED))
    return " ".join(kept.split())


def _is_punctuation(character: str) -> bool:
    return character != "'" and unicodedata.category(character).startswith("P")


def word_error_rate(text: str, transcript: str) -> float:
    """Errors per written word; above 1 where more was heard than written."""
    return float(jiwer.wer(normalise(text), normalise(transcript)))


def character_error_rate(text: str, transcript: str) -> float:
    """Errors per written character; the measure for languages that do not separate words."""
    return float(jiwer.cer(normalise(text), normalise(transcript)))
