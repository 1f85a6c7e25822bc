import pytest

from pipelines.eval.metrics import character_error_rate, normalise, word_error_rate


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Hello, world!", "hello world"),
        ("It\N{RIGHT SINGLE QUOTATION MARK}s  Tom's.", "it's tom's"),
        ("well-known", "wellknown"),
        ("Was? \N{LEFT DOUBLE QUOTATION MARK}Ja\N{RIGHT DOUBLE QUOTATION MARK} \N{EM DASH} Straße", "was ja straße"),
    ],
)
def test_normalisation_is_that_of_seed_tts_eval(text: str, plain: str):
    assert normalise(text) == plain


@pytest.mark.parametrize(
    ("text", "heard", "wer"),
    [
        ("One two three four.", "one two three four", 0.0),
        ("One two three four.", "one too three", 0.5),
        ("One two.", "", 1.0),
        ("One.", "one and two and three", 4.0),
    ],
)
def test_word_errors_per_written_word(text: str, heard: str, wer: float):
    assert word_error_rate(text, heard) == wer


def test_character_errors_per_written_character():
    assert character_error_rate("abcd", "abxd") == 0.25
