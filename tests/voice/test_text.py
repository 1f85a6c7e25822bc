import pytest

from voice.errors import InputError
from voice.text import language_name, said_again, same_text_key, spoken_bytes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello, world!", "hello world"),
        ("Straße", "STRASSE"),
        ("It's  fine.", "it's fine"),
    ],
)
def test_texts_that_sound_the_same_have_one_key(one: str, other: str):
    assert same_text_key(one) == same_text_key(other)


def test_texts_that_differ_in_a_word_have_two_keys():
    assert same_text_key("I read it.") != same_text_key("I reads it.")


def test_an_unknown_language_is_refused_with_those_that_exist():
    assert language_name("EN") == "english"
    with pytest.raises(InputError, match="auto, de, en"):
        language_name("tlh")


@pytest.mark.parametrize(
    "text", ["", "Plain prose, it's all; isn't it?", "Größer — а это по-русски.", "你好，世界。", "안녕 BBC"]
)
def test_of_prose_there_is_as_much_to_say_as_is_written(text: str):
    assert spoken_bytes(text) == len(text.encode())


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("2^31 = 2,147,483,648", "two to the power of thirty-one equals two billion one hundred and forty-seven "
         "million four hundred and eighty-three thousand six hundred and forty-eight"),
        ("In 1984, 37 of 1,000.", "In nineteen eighty-four, thirty-seven of one thousand."),
        ("5% of $1,250,000", "five percent of one million two hundred and fifty thousand dollars"),
        ("0800 000 125", "oh eight hundred, oh oh oh, one two five"),
        ("3,14 € + 21 £", "drei Euro vierzehn plus einundzwanzig Pfund"),
        ("Le 14/07/1789", "Le quatorze juillet mille sept cent quatre-vingt-neuf"),
    ],
)  # fmt: skip
def test_of_digits_and_symbols_there_is_about_as_much_to_say_as_of_their_words(written: str, spelled: str):
    assert 0.6 < spoken_bytes(written) / spoken_bytes(spelled) < 1.5


def test_more_text_is_more_to_say():
    one, other = "On 3 May: ", "75 % of 2.5 £, full-width ４２."
    assert spoken_bytes(one + other) == spoken_bytes(one) + spoken_bytes(other)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("The morning bus was late again, so we walked along the river instead.", 0.0, 0.0),
        ("I have a dream that one day this nation will rise up. I have a dream today.", 0.1, 0.3),
        ("火车晚点了，我们沿着河边走回家。晚上下雨，但是没有人想待在屋里。", 0.0, 0.0),
        ("No, no, no, no, no!", 0.5, 1.0),
        ("101, 102, 103, 104, 105", 0.5, 1.0),
        ("我爱你，我爱你，我爱你，我爱你", 0.3, 1.0),
        ("Short.", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_how_much_of_a_text_is_said_again(text: str, low: float, high: float):
    assert low <= said_again(text) <= high
