import pytest

from voice.numerals import readings


@pytest.mark.parametrize(
    ("text", "language", "reading"),
    [
        ("24 cups", "en", "twenty four cups"),
        ("1,250 tickets", "en", "one thousand two hundred fifty tickets"),
        ("In 1998", "en", "In nineteen ninety eight"),
        ("In 1998", "en", "In one thousand nine hundred ninety eight"),
        ("In 1998", "en", "In one nine nine eight"),
        ("March 3rd", "en", "March third"),
        ("at 10:45", "en", "at ten forty five"),
        ("3.5 percent", "auto", "three point five percent"),
        ("3,5 Prozent", "de", "drei Komma fünf Prozent"),
        ("1.250", "de", "eintausendzweihundertfünfzig"),
        ("45 minutes", "fr", "quarante-cinq minutes"),
        ("1998年", "zh", "一九九八年"),
        ("45分钟", "zh", "四十五分钟"),
        ("10205", "zh", "一万零二百零五"),
        ("100000000", "zh", "一亿"),
        ("800円", "ja", "八百円"),
        ("45분", "ko", "사십오 분"),
    ],
)
def test_a_numeral_is_read_as_people_read_it(text: str, language: str, reading: str):
    assert reading in readings(text, language)


def test_a_text_without_digits_is_read_as_it_is():
    assert readings("Nothing to count.", "en") == ["Nothing to count."]


def test_a_numeral_that_nobody_says_as_one_is_read_digit_by_digit():
    assert readings("1234567890123", "en") == ["one two three four five six seven eight nine zero one two three"]
