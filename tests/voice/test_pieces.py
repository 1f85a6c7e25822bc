import pytest

from voice.pieces import CLAUSE_PAUSE, PARAGRAPH_PAUSE, PIECE_BYTES, SENTENCE_PAUSE, split_pieces
from voice.sentences import closed
from voice.text import spoken_bytes


def texts(text: str, **options: int) -> list[str]:
    return [piece.text for piece in split_pieces(text, **options)]


@pytest.mark.parametrize("text", ["One. Two? Three!", "你好!我是谁?好的!", "One.  Two.", "A line.\nAnother."])
def test_a_short_text_is_one_piece_as_it_is_written(text: str):
    assert texts(text) == [text.replace("\n", " ")]


def test_paragraphs_have_longer_pauses_than_items():
    pieces = split_pieces("A title\n\nA text. More:\n- one\n- two\n\nThe end")
    assert [(piece.text, piece.pause_seconds) for piece in pieces] == [
        ("A title.", PARAGRAPH_PAUSE),
        ("A text. More.", SENTENCE_PAUSE),
        ("- one.", SENTENCE_PAUSE),
        ("- two.", PARAGRAPH_PAUSE),
        ("The end.", PARAGRAPH_PAUSE),
    ]


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("bread and butter", "bread and butter."),
        ("One; two;", "One; two."),
        ("买面包", "买面包。"),
        ("买面包：", "买面包。"),
        ("He got a B-", "He got a B-."),
        ("And then -", "And then."),
        ("빵과 버터", "빵과 버터."),
        ("She said “go!”", "She said “go!”"),
        ("Well…", "Well…"),
        ("Done! 🎉", "Done! 🎉"),
        ("« Vraiment ? »", "« Vraiment ? »"),
    ],
)
def test_what_has_no_end_mark_is_given_a_full_stop(written: str, spoken: str):
    assert texts(written) == [spoken]


def test_what_says_nothing_is_no_piece_but_a_pause():
    pieces = split_pieces("***\nOne.\n---\nTwo! 🎉\n🎉🎉\n...")
    assert [(piece.text, piece.pause_seconds) for piece in pieces] == [
        ("One.", PARAGRAPH_PAUSE),
        ("Two! 🎉", PARAGRAPH_PAUSE),
    ]
    assert split_pieces("*** 🎉") == []


@pytest.mark.parametrize(
    "text",
    [
        "One sentence of some length. " * 100,
        "words without any mark " * 100,
        "a" * 2_000,
        "没有标点" * 300,
        "第一，第二。" * 200,
        "In 1984, 12,345 of 67 % " * 50,
        "1" * 500,
    ],
)
def test_pieces_are_short_and_lose_nothing(text: str):
    pieces = texts(text)
    assert len(pieces) > 1
    assert all(0 < spoken_bytes(piece.rstrip(".。")) <= PIECE_BYTES for piece in pieces)
    assert "".join("".join(pieces).split()).rstrip(".,。，") == "".join(text.split()).rstrip(".,。，")


@pytest.mark.parametrize(
    ("sentence", "parts"),
    [
        ("some words of it, and 1,000 more", ["some words of it,", "and 1,000 more"]),
        ("one word more 1,234,567,890", ["one word more", "1,234,567,890"]),
        ("as late as at 10:30 to go", ["as late as at", "10:30 to go"]),
        ("it is 10 000 000 000 here", ["it is", "10 000 000 000", "here"]),
        ("from then, 1990–1995 it was", ["from then,", "1990–1995 it was"]),
        ("she said “go now!” and went home then", ["she said “go now!”", "and went home then"]),
        ("what is it? asked the man over there", ["what is it?", "asked the man over there"]),
        ("他说你好,我们一起去公园", ["他说你好,", "我们一起去公园"]),
    ],
)
def test_a_long_sentence_is_cut_at_clauses_and_spaces_but_not_in_numbers(sentence: str, parts: list[str]):
    limit = max(spoken_bytes(part) for part in parts) + 1
    *others, last = parts
    assert texts(sentence, limit_bytes=limit) == [*others, closed(last)]
    assert {piece.pause_seconds for piece in split_pieces(sentence, limit_bytes=limit)[:-1]} == {CLAUSE_PAUSE}


def test_a_hundred_thousand_characters_are_split_in_no_time_that_matters():
    assert len(split_pieces("Some words, then more. " * 4_400)) > 200
    assert texts("." * 100_000 + "x")[-1].endswith("x.")
    for part in ("word ", "a", "没", "1", ", ", "1 ", "!\u00a0", "- "):
        split_pieces(part * (100_000 // len(part)))
