import pytest

from pipelines.data.align import align

SCRIPT = (
    "The morning bus was late again, so we walked along the river. Could you turn the lamp a little? "
    "I left seventeen oranges on the counter, and now there are only four! It was a fine day."
)


@pytest.mark.parametrize(
    ("language", "script", "heard", "texts"),
    [
        (
            "en",
            SCRIPT,
            [
                "the mourning us was late a gain",
                "so we walk to long the driver",
                "could you turn the lamb a little",
                "i left seven teen or ranges on the counter and know their only for",
                "it was a find day",
            ],
            [
                "The morning bus was late again,",
                "so we walked along the river.",
                "Could you turn the lamp a little?",
                "I left seventeen oranges on the counter, and now there are only four!",
                "It was a fine day.",
            ],
        ),
        ("en", "One two three. Four.", ["one two three", "", "four"], ["One two three.", "", "Four."]),
        ("de", "Grüße aus Köln. Bis bald!", ["gruse aus koln", "bis balt"], ["Grüße aus Köln.", "Bis bald!"]),
        ("zh", "今天天气很好。我们去公园吧。", ["今天天汽很好", "我们去公元吧"], ["今天天气很好。", "我们去公园吧。"]),
        ("en", "Only this.", ["only this"], ["Only this."]),
    ],
    ids=["misheard words", "nothing heard", "umlauts", "no spaces", "one piece"],
)
def test_each_piece_gets_its_part_of_the_script(language: str, script: str, heard: list[str], texts: list[str]):
    assert align(script, heard, language=language) == texts


def test_no_word_of_the_script_is_lost_or_given_twice():
    heard = ["the mourning us was late", "a gain so we walked", "noise", "could you turn", "it was a fine day"]
    assert " ".join(align(SCRIPT, heard, language="en")).split() == SCRIPT.split()
