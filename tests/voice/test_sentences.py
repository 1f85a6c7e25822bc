"""Where sentences end: the tables are the specification."""

import pytest

from voice.sentences import split_sentences, stretches

# A bar is where a sentence ends, and where the space is
SPACED = {
    "en": [
        "Dr. Smith paid $3.50 to J. K. Rowling.|Did he?|Yes!",
        "See No. 5 and Fig. 2 at 10:30.|No.|It is on p. 12, vol. 3.",
        "The U.S. Army left at 5 a.m. sharp.|Version 3.14 is at https://example.com/a?b=c.d, Mr. White.",
        "We met at 5 p.m.|We left at six.|He lives in the U.S.|They visit him.",
        "She has a Ph.D. from M.I.T. and likes e.g. Apple and Acme Inc.|She works.",
        "George W. Bush vs. The State of Texas on Jan. 5.|But go to www.bbc.co.uk.|It is free.",
        'She said "Stop!" and left.|Then … nothing.',
        "“‘Stop!’ he said.”|“Why?” she asked.|(Nobody knew.)|So they went.",
        "Well... maybe.|I waited… and waited... Monday came.|The end.",
        "Great!|🎉 Next one.👍|Really?!|Yes!!!|**No!**|Done.",
        "He was born in 1990.|Then came 1991.|It rained.|He is 5.|She is 6.",
        "The king [...] died (!) Today.|Really?|Apples, pears, etc. were sold.|It rained.",
        "1. The first thing.|2. The second one.|Another one.",
        "Sen. Smith, Gov. Brown and Rep. Lee met Sgt. Miller in Ft. Worth.|Smith et al. (2020) agree.",
    ],
    "de": [
        "Wir treffen uns am 3. Oktober, z.B. um 8 Uhr.|Oder nicht?",
        "„Komm!“|Er ging.|»Nein!«|Sie blieb.|„Darf ich?“, fragte sie.|Er sagte: „Ja.“|Dann ging er.",
        "Am 1. Weltkrieg lag es nicht.|Der 2. Mann kam, z. B. Hans, mit Dr. Meier.|Das war am 3.10. um 8.30 Uhr.",
        "Die Hauptstr. 5 liegt bei Nr. 7, ca. 300 m weiter.|Es kostet 3,14 Euro.|Ludwig XIV. König von Frankreich.",
        "Äpfel, Birnen usw. sind da.|Nüsse usw.|Die gibt es dort.",
        "Die Fa. Bosch verdient 3 Mio. Euro, Fr. Schmidt 2 Mrd. Dollar.|Siehe Abb. 3 und Tab. 4 im 19. Jh. Teil zwei.",
    ],
    "fr": [
        "M. Dupont est venu.|« Vraiment ? »|Oui.",
        "Quoi\u202f?|Non\u00a0!|«\u00a0Je pars\u00a0!\u00a0» dit-il.|Mme Curie, p. ex. Marie, est là.",
        "— Ça va ?|Très bien, merci.|Il est parti…|Elle reste.|Voir p. 5 et art. 3.",
    ],
    "es": [
        "¿Qué hora es?|¡Las tres!|El Sr. Gómez espera.",
        "Los EE. UU. Unidos y los EE. UU. de hoy.|Vive en EE. UU.|Ella no.",
        "El Gral. Franco y el Lic. Pérez, de García y Cía. Limitada.|Ya está.",
        "¡Hola! ¿qué tal?|Bien.|La pág. 5 y el núm. 3 de D. Juan, p. ej. Tenorio.|¿Sí?",
    ],
    "it": [
        "Il dott. Rossi parla.|Che bello!",
        "La S.p.A. Fiat produce auto, moto ecc. e basta.|Poi il sig. Bianchi va.",
        "«Vieni!» disse.|Perché?|Costa 3,50 euro.",
    ],
    "pt": [
        "A Sra. Silva chegou.|Já?",
        "O Sr. Costa e a Dra. Lima vão.|Custa R$ 3,50.|Ele disse: “Vamos!”|Ela foi.",
        "A pág. 3, o art. 5 etc.|Eles sabem.",
    ],
    "ru": [
        "Он жил на ул. Ленина, т.е. рядом.|Правда?",
        "В 1999 г.|Он уехал в г. Москву.|А. С. Пушкин и т. д. и т. п.|Это всё.",
        "Он стоит на пл. Ленина, см. гл. 3 и ст. 5.|Это стоит 5 млн долл. США.",
        "«Стой!» — сказал он.|«Да?»|Она ушла.|Стоит 5 руб. за кг.",
    ],
    "ko": [
        "안녕하세요.|잘 지내세요?|네.|알겠습니다.",
        '"가자!"라고 말했다.|"간다." 라고 했다.|음... 그래요.|3.5배입니다.',
    ],
}
UNSPACED = {
    "zh": [
        "你好！|他说：「走吧。」|好的。",
        "你好!|我是谁?|好的!|价格是3.14元。|他用Node.js写的。",
        "“走吧！”他说。|我们看了《你好，李焕英！》很好。|他走了。|“你好！”|她笑了。",
        "我……我不知道。|真的吗？！|当然。🎉|好。",
    ],
    "ja": [
        "今日は。|元気ですか？",
        "「行くよ…。」と言った。|「はい。」|彼は頷いた。|（笑）そして…帰った。",
        "「『やめろ！』と彼は言った。」|終わり。|とても静かだ。",
    ],
    "ko": ["안녕하세요.|반갑습니다!|정말요?|네."],
}


@pytest.mark.parametrize("marked", [row for rows in SPACED.values() for row in rows])
def test_sentences_are_found_where_they_end(marked: str):
    assert split_sentences(marked.replace("|", " ")) == marked.split("|")


@pytest.mark.parametrize("marked", [row for rows in UNSPACED.values() for row in rows])
def test_sentences_without_spaces_between_are_found(marked: str):
    assert split_sentences(marked.replace("|", "")) == marked.split("|")


WRAPPED = "The quick brown fox jumps over the lazy dog, goes home, and sees"  # as wide as wrapped prose


@pytest.mark.parametrize(
    ("before", "line", "joint"),
    [
        ("The lazy dog and then", "it goes home.", " "),
        ("„Komm!“", "sagte er.", " "),
        ("Там жил мой старый", "друг.", " "),
        (WRAPPED, "Mary.", " "),
        (WRAPPED, "12 monkeys.", " "),
        ("A sentence.", "Another one of its paragraph.", " "),
        ("She spoke to Dr.", "Smith.", " "),
        ("They cost approx.", "five pounds.", " "),
        ("Really good,", "he said.", " "),
        ("2024年苹果公司在美国推出了全新的", "iPhone 手机。", " "),
        ("그는 오늘 아침 일찍 일어나서 가까운 공원까지 천천히 걸어가고", "있었다.", " "),
        ("今天早上我们一起去了公园，看见了很多人在那里散步，还有", "孩子。", ""),
        ("私は昨日の午後に友達と一緒に近くの公園まで歩いて行って、", "帰った。", ""),
    ],
)
def test_a_line_that_goes_on_in_the_next_one_is_joined_to_it(before: str, line: str, joint: str):
    assert list(stretches(f"{before}\n{line}")) == [(before + joint + line, True)]
    assert list(stretches(f"{before}  \r\n\t{line}")) == [(before + joint + line, True)]


@pytest.mark.parametrize(
    "lines",
    [
        ["A title", "The text begins."],
        ["Shall I compare thee to a summer's day?", "- no"],
        ["Tyger Tyger, burning bright,", "In the forests of the night;", "What immortal hand or eye"],
        ["Jane Doe", "221B Baker Street", "London", "NW1 6XE"],
        ["Milk", "2 eggs", "Bread"],
        [WRAPPED, "- an item", "* another", "3. a third", "(b) a fourth"],
        ["—¿Vienes?", "—No."],
        ["静夜思", "床前明月光", "疑是地上霜"],
        ["나의 살던 고향은", "꽃피는 산골"],
        ["Run the tests.", "fix what fails."],
        ["你", "好", "吗"],
    ],
)
def test_titles_items_verses_and_addresses_stay_apart(lines: list[str]):
    assert [text for text, _ in stretches("\n".join(lines))] == lines


@pytest.mark.parametrize(
    "between", ["\n\n", "\n \t\n", "\n\n\n", "\n***\n", "\n---\n", "\n🎉🎉\n", "\n\n...\n\n", "\r\n\r\n"]
)
def test_a_paragraph_ends_at_an_empty_line_and_at_one_that_says_nothing(between: str):
    assert list(stretches(f"One{between}two\nThree")) == [("One", True), ("two", False), ("Three", True)]


def test_a_line_too_long_to_have_been_wrapped_is_a_paragraph():
    assert list(stretches(f"{WRAPPED}, {WRAPPED}.\nMore")) == [(f"{WRAPPED}, {WRAPPED}.", True), ("More", True)]


@pytest.mark.parametrize("text", ["", "\n", "***", "!\n?!", "🎉 …"])
def test_what_says_nothing_has_no_sentences(text: str):
    assert split_sentences(text) == []


@pytest.mark.parametrize("sentence", ["Hello. ...", "... Hello.", "!!! Hello! 🎉🎉", '"..." Yes.', "Hm! !!! Yes."])
def test_marks_that_stand_alone_are_no_sentences(sentence: str):
    assert all(any(map(str.isalnum, found)) for found in split_sentences(sentence))


@pytest.mark.parametrize(
    "part", [".", "! ", "a. ", '!"', "…", "»", "[", "! » ", "_", "。", "(", "\n", "a\n", "1. ", "- "]
)
def test_rows_of_marks_take_no_time_that_matters(part: str):
    text = part * 50_000 + ".x"
    assert "".join("".join(split_sentences(text)).split())[-1] == "x"


@pytest.mark.parametrize("text", ["Options:\nred\ngreen\nblue", "milk\neggs\nbread", "The options are these:\nto go"])
def test_items_without_bullets_stay_apart(text: str):
    assert split_sentences(text) == text.split("\n")
