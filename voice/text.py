"""Languages by ISO code, the written text in the form that stages compare it in, and how much of it there is to say."""

import re
import unicodedata

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


def usual_seconds(spoken: int) -> float:
    """How long a reader takes for so many bytes to say."""
    return spoken / USUAL_BYTES_A_SECOND


_STRETCH = 8  # letters: longer than a word that prose says twice


def said_again(text: str) -> float:
    """The share of a text's stretches of eight letters that were there before: 0.00 to 0.02 of prose, more of refrains.

    Digits count as one and the same: "101, 102, 103" sounds alike.
    """
    letters = re.sub(r"\d", "0", same_text_key(text))
    stretches = [letters[at : at + _STRETCH] for at in range(len(letters) - _STRETCH + 1)]
    return 1.0 - len(set(stretches)) / len(stretches) if stretches else 0.0
