import pytest

from voice.errors import InputError
from voice.text import PIECE_BYTES, language_name, same_text_key, split_pieces, split_sentences, spoken_bytes


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
    "sentences",
    [
        ["Dr. Smith paid $3.50 to J. K. Rowling.", "Did he?", "Yes!"],
        ["Wir treffen uns am 3. Oktober, z.B. um 8 Uhr.", "Oder nicht?"],
        ["M. Dupont est venu.", "« Vraiment ? »", "Oui."],
        ["¿Qué hora es?", "¡Las tres!", "El Sr. Gómez espera."],
        ["Il dott. Rossi parla.", "Che bello!"],
        ["A Sra. Silva chegou.", "Já?"],
        ["Он жил на ул. Ленина, т.е. рядом.", "Правда?"],
        ["안녕하세요.", "잘 지내세요?"],
        ['She said "Stop!" and left.', "Then … nothing."],
    ],
    ids=["en", "de", "fr", "es", "it", "pt", "ru", "ko", "quotes"],
)
def test_sentences_are_found_where_they_end(sentences: list[str]):
    assert split_sentences(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentences", [["你好！", "他说：「走吧。」", "好的。"], ["今日は。", "元気ですか？"]], ids=["zh", "ja"]
)
def test_sentences_without_spaces_between_are_found(sentences: list[str]):
    assert split_sentences("".join(sentences)) == sentences


def test_lines_end_sentences_and_paragraphs_have_longer_pauses():
    assert split_sentences("A title\n\nA text. More") == ["A title", "A text.", "More"]
    title, rest = split_pieces("A title\n\nA text. More")
    assert (title.text, rest.text) == ("A title", "A text. More")
    assert title.pause_seconds > 0.5


def test_a_short_text_is_one_piece():
    assert [p.text for p in split_pieces("One. Two? Three!")] == ["One. Two? Three!"]


@pytest.mark.parametrize(
    "text",
    [
        "One sentence of some length. " * 100,
        "words without any mark " * 100,
        "a" * 2_000,
        "没有标点" * 300,
        "第一，第二。" * 200,
    ],
)
def test_pieces_are_short_and_lose_nothing(text: str):
    pieces = split_pieces(text)
    assert len(pieces) > 1
    assert all(0 < len(piece.text.encode()) <= PIECE_BYTES for piece in pieces)
    assert "".join("".join(p.text for p in pieces).split()) == "".join(text.split())


def test_a_hundred_thousand_characters_are_split_in_no_time_that_matters():
    assert len(split_pieces("Some words, then more. " * 4_400)) > 200
    assert "".join(p.text for p in split_pieces("." * 100_000 + "x")).replace(" ", "") == "." * 100_000 + "x"


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
