"""Whether the words of a take are those of its sentence: an optional recogniser listens."""

from pipelines.data.record.checks import Finding, Severity
from pipelines.data.record.settings import Recording
from pipelines.data.record.take import Take
from pipelines.eval.metrics import character_error_rate, word_error_rate
from voice.asr import ASR, load_asr
from voice.audio import resample
from voice.errors import InputError

_WITHOUT_SPACES = ("zh", "ja")  # written without spaces between words: characters are compared


def open_recogniser(settings: Recording, *, language: str) -> ASR | None:
    """Load the recogniser that `data.asr` names, or none. Raises InputError for another name, or if it cannot load."""
    match settings.asr:
        case "none":
            return None
        case "pocketsphinx":
            return load_asr("pocketsphinx", model="", language=language, device="cpu")
        case "whisper":
            import torch  # here: it takes seconds, and without whisper the page needs none of it

            device = "cuda" if torch.cuda.is_available() else "cpu"
            return load_asr("whisper", model=settings.asr_model, language=language, device=device)
        case other:
            raise InputError(f"data.asr={other} is not a recogniser. Use none, pocketsphinx or whisper.")


def check_words(take: Take, text: str, *, recogniser: ASR, language: str, max_wer: float) -> list[Finding]:
    """Compare what the recogniser hears with the sentence."""
    heard = recogniser.transcribe(resample(take.samples, from_rate=take.rate))
    rate = character_error_rate if language in _WITHOUT_SPACES else word_error_rate
    if rate(text, heard) <= max_wer:
        return []
    said = f"“{heard}”" if heard else "no words"
    message = f"Other words were heard: {said}. Listen to it, and read the sentence again if a word is wrong."
    return [Finding("words", Severity.WARN, message)]
