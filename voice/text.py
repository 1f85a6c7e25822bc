"""Languages by ISO code, and the written text in the forms that stages compare it in."""

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
