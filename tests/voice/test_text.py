import pytest

from voice.errors import InputError
from voice.text import language_name, same_text_key


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
