"""Written text: what is derived from the word lists reads as English, and sides never share a sentence."""

import random
import re

import pytest

from pipelines.pretrain.sentences import Sentences, conjugate, is_held_out, ordinal, plural, spell


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety-nine"),
        (100, "one hundred"),
        (101, "one hundred and one"),
        (2_000, "two thousand"),
        (90_012, "ninety thousand and twelve"),
        (345_678, "three hundred and forty-five thousand six hundred and seventy-eight"),
    ],
)
def test_numbers_are_spelled_as_they_are_spoken(number, words):
    assert spell(number) == words


@pytest.mark.parametrize(
    ("number", "word"), [(1, "first"), (12, "twelfth"), (20, "twentieth"), (23, "twenty-third"), (31, "thirty-first")]
)
def test_ordinals(number, word):
    assert ordinal(number) == word


@pytest.mark.parametrize(
    ("noun", "expected"),
    [("cat", "cats"), ("mouse/mice", "mice"), ("box", "boxes"), ("city", "cities"), ("day", "days")],
)
def test_plurals(noun, expected):
    assert plural(noun) == expected


@pytest.mark.parametrize(
    ("verb", "form", "expected"),
    [
        ("go/went/gone", "past", "went"),
        ("go/went/gone", "participle", "gone"),
        ("carry", "past", "carried"),
        ("carry", "gerund", "carrying"),
        ("stop", "past", "stopped"),
        ("stop", "gerund", "stopping"),
        ("like", "gerund", "liking"),
        ("tie", "gerund", "tying"),
        ("watch", "present", "watches"),
        ("open", "past", "opened"),
    ],
)
def test_verbs(verb, form, expected):
    assert conjugate(verb, form) == expected


def test_the_same_state_draws_the_same_sentences():
    one, other = (Sentences(random.Random(3)) for _ in range(2))
    assert [one.draw(held_out=False) for _ in range(50)] == [other.draw(held_out=False) for _ in range(50)]


def test_no_sentence_is_both_trained_on_and_held_out():
    sentences = Sentences(random.Random(0))
    train = {sentences.draw(held_out=False) for _ in range(3_000)}
    held_out = {sentences.draw(held_out=True) for _ in range(200)}
    assert not train & held_out
    assert all(is_held_out(text.upper().replace(",", "")) for text in held_out)  # however it is written


@pytest.mark.parametrize("unordered", [0.0, 1.0])
def test_every_sentence_is_filled_in_and_begins_with_a_capital(unordered):
    sentences = Sentences(random.Random(1), unordered=unordered)
    for text in (sentences.draw(held_out=False) for _ in range(2_000)):
        # unordered ones write two words as a name, "tree_stump is ..."; elsewhere `_` is of a slot that was not filled
        filled = re.sub(r"(?<=[A-Za-z])_(?=[A-Za-z][a-z' -]* is )", " ", text) if unordered else text
        assert not set(filled) & set("{}_/"), text
        assert text.lstrip('"')[0].isupper() or text[0].isdigit(), text


def test_words_that_do_not_exist_are_spelled_as_english_is():
    sentences = Sentences(random.Random(2))
    words = {sentences._made_up() for _ in range(500)}
    assert len(words) > 400  # hardly any is met twice
    assert all(word.isalpha() and set(word) & set("aeiouy") for word in words)
