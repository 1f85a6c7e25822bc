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
        ("今天天气很好。", "今天天气真好", 1 / 6),  # signs, not one word as long as the sentence
        ("東京タワーへ行く OK", "東京タワへ行く okay", 2 / 9),
        ("오늘 날씨가 좋다", "오늘 날씨 좋다", 1 / 3),  # Korean has spaces
    ],
)
def test_word_errors_per_written_word(text: str, heard: str, wer: float):
    assert word_error_rate(text, heard) == pytest.approx(wer)


def test_character_errors_per_written_character():
    assert character_error_rate("abcd", "abxd") == 0.25
