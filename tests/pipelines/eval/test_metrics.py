import pytest

from pipelines.eval.metrics import Stretch, character_error_rate, compare, normalise, word_error_rate


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


@pytest.mark.parametrize(
    ("text", "spoken", "heard"),
    [
        ("He has 50 coins.", "", "he has fifty coins"),
        ("He has fifty coins.", "", "He has 50 coins."),
        ("Born in 1986.", "", "born in nineteen eighty-six"),
        ("Dr. Hall weighs 4 kg.", "Doctor Hall weighs four kilograms.", "doctor hall weighs 4 kilograms"),
        ("Dr. Hall weighs 4 kg.", "Doctor Hall weighs four kilograms.", "Dr. Hall weighs 4 kg"),
    ],
)
def test_what_is_said_right_is_right_however_a_recogniser_writes_it(text: str, spoken: str, heard: str):
    assert word_error_rate(text, heard, spoken=spoken) == 0


def test_errors_are_shown_where_they_are():
    comparison = compare("The red fox jumps over 2 dogs.", "the rat fox over two big dogs")
    assert [(s.written, s.heard) for s in comparison.stretches() if not s.is_right] == [
        ("red", "rat"),
        ("jumps", ""),
        ("", "big"),
    ]
    assert (comparison.errors, comparison.length) == (3, 7)


def test_a_text_of_signs_alone_is_no_crash():
    assert word_error_rate("…", "") == 0
    assert word_error_rate("…", "something") == 1
    assert compare("Word.", "").stretches() == [Stretch("word", "")]


@pytest.mark.parametrize(
    ("text", "spoken", "heard"),
    [
        ("Dr. Smith lives in Elm St.", "Doctor Smith lives in Elm Street.", "doctor smith lives in elm st"),
        ("Room 101 was built in 1998.", "", "room one oh one was built in nineteen ninety eight"),
        ("Room 404 was built in 1998.", "", "room four zero four was built in nineteen ninety eight"),
        (
            "It took 48 min. at 10 a.m.",
            "It took forty-eight minutes at ten in the morning.",
            "it took 48 minutes at 10 am",
        ),
    ],
)
def test_readings_mix_within_a_sentence(text: str, spoken: str, heard: str):
    errors = compare(text, heard, spoken=spoken).errors
    assert errors <= ("oh" in heard.split())


def test_mixing_readings_forgives_no_wrong_word():
    comparison = compare(
        "Dr. Smith lives in Elm St.", "doctor smith leaves in elm st", spoken="Doctor Smith lives in Elm Street."
    )
    assert (comparison.errors, comparison.length) == (1, 6)


def test_traditional_and_simplified_signs_are_the_same_words():
    assert word_error_rate("这个软件很清楚。", "這個軟件很清楚", language="zh") == 0


def test_readings_mix_in_languages_without_spaces_too():
    text, heard = "1998年有1998人。", "一九九八年有一千九百九十八人"
    comparison = compare(text, heard, language="zh")
    assert (comparison.errors, comparison.cer) == (0, 0)


def test_a_comma_between_signs_is_no_error():
    assert character_error_rate("你好\uff0c世界。", "你好世界", language="zh") == 0
