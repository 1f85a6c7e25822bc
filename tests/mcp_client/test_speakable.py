"""What a person would say: the table is the specification."""

import pytest

from mcp_client import speakable as client
from mcp_client.speakable import pieces, speakable
from voice import sentences

WRAPPED = "The quick brown fox jumps over the lazy dog, goes home, and sees"  # as wide as wrapped prose
CASES = [
    ("Hello there.", "Hello there."),
    ("# Title\n\nText.", "Title.\n\nText."),
    ("- **one**\n- two", "one.\ntwo."),
    ("1. first\n2) second", "first.\nsecond."),
    ("- [x] done\n- [ ] open", "done.\nopen."),
    ("```python\nx = 1\n```\nDone.", "Code omitted.\n\nDone."),
    ("~~~\nx\n~~~", "Code omitted."),
    ("```\nunclosed", "Code omitted."),
    ("Use `foo_bar` now", "Use foo bar now"),
    ("call `getUserName()`", "call get User Name"),
    ("See [the docs](http://x.y/z).", "See the docs."),
    ("![a cat](cat.png)", "Image: a cat."),
    ("Go to https://www.example.com/a?b=1.", "Go to a link to example dot com."),
    ("key at https://u:secret@h.org/x", "key at a link to h dot org"),
    ("Edit /usr/local/lib/foo.py please", "Edit foo.py please"),
    ("in src/a/b.ts, and/or 1/2", "in b.ts, and/or 1/2"),
    ("|a|b|\n|-|-|\n|1|2|\n|3|4|\nAfter", "A table of 2 rows: a, b.\nAfter"),
    ("Great 🎉 work", "Great work"),
    ("✅ Tests pass\n❌ Lint", "done, Tests pass\nfailed, Lint"),
    ("<speak>Hi <break time='1s'/>there</speak>", "Hi\n\nthere"),
    ("<|im_end|>Hi<!-- no -->", "Hi"),
    ("5 < 6 and 7 > 3", "5 < 6 and 7 > 3"),
    ("***both*** and _it_ and ~~gone~~", "both and it and gone"),
    ("snake_case_name stays", "snake_case_name stays"),
    ("> quoted\n> more", "quoted\nmore"),
    ("---\nText\n***", "Text"),
    ("x -> y", "x to y"),
    ("bell\x07here, zero\u200bwidth", "bell here, zerowidth"),
    ("me@ex.com", "me at ex dot com"),
    ("A claim[^1].\n\n[^1]: Source", "A claim.\n\nSource"),
    ("Don\u2019t", "Don't"),
    ("中文，没有标记。", "中文，没有标记。"),  # noqa: RUF001
    ("half \ud800 char", "half char"),
    ("Wait!!!!!!", "Wait!"),
    (f"{WRAPPED}\nand its friend.\nMore.", f"{WRAPPED} and its friend.\nMore."),
    (f"{WRAPPED}\n{WRAPPED}\nMary.", f"{WRAPPED} {WRAPPED} Mary."),
    (f"- {WRAPPED}\n  **Mary**\n- two", f"{WRAPPED} Mary.\ntwo."),
    (f"> {WRAPPED}\n> Mary.", f"{WRAPPED} Mary."),
    (f"**{WRAPPED}\nMary** goes.", f"{WRAPPED} Mary goes."),
    (
        "今天早上我们一起去了公园看见了很多人在那里散步还有\n孩子。",
        "今天早上我们一起去了公园看见了很多人在那里散步还有孩子。",
    ),
    ("今天早上我们一起去了公园看见了很多人在那里\n\n散步。", "今天早上我们一起去了公园看见了很多人在那里。\n\n散步。"),
    (f"# {WRAPPED}\nText.", f"{WRAPPED}.\nText."),
    (f"{WRAPPED}:\n- one\n1. two", f"{WRAPPED}:\none.\ntwo."),
    (f"{WRAPPED}.\n\n{WRAPPED}\n---\nText", f"{WRAPPED}.\n\n{WRAPPED}.\n\nText"),
    (f"{WRAPPED}  \nJane\n❌ Lint", f"{WRAPPED}.\nJane\nfailed, Lint"),
    (f"{WRAPPED}<br>Jane\n\n{WRAPPED}\n|a|b|\n|-|-|", f"{WRAPPED}.\n\nJane\n\n{WRAPPED}.\n\nA table of 0 rows: a, b."),
    ("\u3000" * 30 + "\nText.", "Text."),
    ("-" * 70 + "\nText.", "Text."),
    (
        "https://github.com/some/very/long/path/that/goes/on/and/on/main.py\nThen run it.",
        "a link to github dot com\nThen run it.",
    ),
    ("Shall I compare thee\nTo a summer's day", "Shall I compare thee\nTo a summer's day"),
]


@pytest.mark.parametrize(("written", "said"), CASES)
def test_a_written_text_is_said_so(written: str, said: str):
    assert speakable(written) == said


@pytest.mark.parametrize(("written", "said"), CASES)
def test_what_can_be_said_stays_as_it_is(written: str, said: str):
    assert speakable(said) == said


def test_hostile_text_takes_no_time_worth_speaking_of():
    for part in ("*", "_", "`", "[", "<a", "|", "```\n", "(", "a/", "> ", "https://a", "**a "):
        speakable(part * 5_000)


def test_pieces_end_at_sentences_and_lose_nothing():
    text = "One two. " * 50
    parts = list(pieces(text, 100))
    assert all(len(part) <= 100 and part.endswith(".") for part in parts)
    assert " ".join(parts) == text.strip()


def test_what_the_client_keeps_apart_the_service_does_not_join():
    assert client.SHORTEST_WRAPPED == sentences.SHORTEST_WRAPPED
    for line in ("The quick brown fox", "今天早上", "오늘 아침에", "カタカナ、ｶﾀｶﾅ", "Ёлка «ёж»"):
        assert client._columns(line) == sentences._columns(line)
