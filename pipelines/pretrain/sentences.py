"""English sentences from templates and word lists: any number of them, each one a function of its generator's state.

They make little sense and are not meant to. What they are for: every common sound in every common neighbourhood,
thousands of words in many orders, numbers, names, questions, one word and forty.
"""

import random
import re
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import yaml

WORDS = Path(__file__).with_name("words.yaml")
HELD_OUT_ONE_IN = 20  # of all sentences, by a hash of their text, so that it does not matter who draws them

# `{kind}` draws a word; kinds are those of words.yaml and the functions below. A second run of braces is another draw.
TEMPLATES = (
    "{np} {pred}.",
    "{np} {pred}.",
    "{np} {pred} {pp}.",
    "{np} {pred} {adverb}.",
    "{np} {pred} because {np} {pred}.",
    "{np} {pred}, but {np} {pred}.",
    "{np} {pred}, and then {np} {pred}.",
    "When {np} {pred}, {np} {pred}.",
    "If {np} {present}, {np} will {base}.",
    "Although {np} {pred}, {np} {pred} {pp}.",
    "While {np} was {gerund}, {np} {pred}.",
    "{pp}, {np} {pred}.",
    "There is {a_thing} {pp}.",
    "There were {count} {things} {pp}.",
    "{np}, which was {adjective} and {adjective}, {pred}.",
    "It was {a_idea} of {idea} and {idea}.",
    "{subject} {past_o} {the_thing} and {past_o} {the_thing}.",
    "{subject} never {past_o} {things} or {things}.",
    "{name} and {name} {past_a} {adverb}.",
    "{fullname} {past_o} {the_thing} in {year}.",
    "{fullname} lives at {small} {surname} Street, {city}.",
    "My {person} has {count} {animals} and {a_animal}.",
    "Our {person} wants to {base} {adverb}.",
    "Do you {base_o} {the_thing}?",
    "Did {name} {base_o} {the_thing} {pp}?",
    "Where is {the_thing} that {subject} {past_o}?",
    "Who {past_o} {the_thing} on {weekday}?",
    "Why did {np} {base}?",
    "How many {things} can {a_person} {base_o}?",
    "How {adjective} is {the_idea}?",
    "What is the {idea} of {the_thing}?",
    "Which {person} {past_o} the {adjective} {thing}?",
    "Have you ever {participle_o} {a_animal}?",
    "Could you {base_o} the {food}, please?",
    "Would {name} rather {base_a} or {base_a}?",
    "Please {base_o} {the_thing} before {weekday}.",
    "Please do not {base_o} {the_thing}!",
    "{base_o} {the_thing}, {name}!",
    "What {a_thing}!",
    "How {adjective}!",
    "No, {np} {pred}.",
    "Yes, {subject} {past_o} it {adverb}.",
    "Hello, {name}.",
    "Good morning, {fullname}.",
    "Thank you for {the_thing}, {name}.",
    "I am {adjective}.",
    "{subject} {past_a}.",
    "{name} {past_a}.",
    "{adverb}.",
    "{number}.",
    "Only {adjective} {things}.",
    "The train to {city} leaves at {clock}.",
    "On {weekday}, the {ordinal} of {month}, {np} {pred}.",
    "In {month} {year}, {fullname} {past_o} {the_thing}.",
    "The {food} costs {money}, and the {food} costs {money}.",
    "{percent} percent of the {people} in {country} {present_o_plural} {food}.",
    "The number is {digits}.",
    "Call {name} at {digits}.",
    "{number} and {number} make {number}.",
    "The {place} is {number} miles from {city}.",
    "Turn left at the {place}, then walk {pp} and past the {place}.",
    "We ate {food}, {food} and {food} in {a_place}.",
    "{name} said that {np} {pred}.",
    '"{np} {pred}," said {the_person}.',
    "{subject} thought about {idea}, {idea} and {idea}.",
    "{gerund_o_cap} {things} is {adjective}, {gerund_o} {things} is {adjective}.",
    "The {adjective}, {adjective} {animal} {past_a} {pp}.",
    "{the_idea} of {country} is {adjective} and {adjective}.",
    "From {city} to {city}, {people} {base_o} {things}.",
    "{np} {has} {participle_o} {the_thing} {pp}.",
    "{the_thing} was {participle_o} by {the_person} {pp}.",
    "{the_animal} is more {adjective} than {the_animal}.",
    "{thing}, {thing}, {animal}, {food}.",
    "{adjective} {thing}, {adjective} {place}, {adjective} {idea}.",
    "The {person} of {surname} and {surname} {past_o} {quantity} {things}.",
    "Some {people} {base_a}, others {base_o} {food}.",
    "{np} will {base}, will {base}, and will not {base}.",
    "It takes {number} {people} to {base_o} {a_thing}.",
    "At {clock}, {the_person} {past_o} {np_object} and {past_a} {adverb} {pp}.",
    "{np} should have {participle_o} {the_thing}, shouldn't {subject}?",
    "I don't think {np} can {base}.",
    "They're {gerund}, but we're {gerund}.",
    "It's {a_place}, isn't it?",
)

# Words in no order at all, and ones that do not exist: a voice says whatever is written.
UNORDERED = (
    "{any} {any} {any} {any}.",
    "{any} {any} {any} {any} {any} {any}.",
    "{any} {any}, {any} {any} {any}.",
    "{any} {any} {any} {any} {any} {any} {any} {any}.",
    "{any} {any} {any}, {any} {any}, {any} {any} {any}.",
    "{everyday} {everyday} {everyday} {the_thing} {everyday} {everyday} {a_place}.",
    "{everyday} {np} {everyday} {pred} {everyday} {everyday}.",
    "{np} {everyday} {everyday} {the_thing} {everyday}, {everyday} {pp}.",
    "{everyday} {everyday} {any} {name} {everyday} {fullname}?",
    "{any} {any} {any}?",
    "{any} {any}!",
    "{any}, {any}, {any}, {any}.",
    "{any} {amount}, {any} {amount}.",
    "{np} {everyday} {amount} {everyday} {everyday}.",
    "{title} {surname} {pred} {everyday} {month} {day}, {year}.",
    "{title} {surname} lives at {small} {any} {street}.",
    "{everyday} {initials} {everyday} {any} {initials}.",
    "{any}_{any} is {number}, {any}.{any} {everyday} {number}.",
)

# What English syllables are made of; words of them are read by the rules of spelling alone.
ONSETS = """
b c ch d f g h j k l m n p qu r s sh t th v w y z bl br cl cr dr fl fr gl gr pl pr sc scr sk sl sm sn sp st str sw tr tw
wh
"""
NUCLEI = "a a a e e e i i i o o o u u ai au ay ea ee ew ie igh oa oi oo ou ow oy ar er ir or ur"
CODAS = "b ck d f ft g k l ld ll lp lt m mp n nd ng nk nt p pt r rd rk rm rn rt s sh sk sp ss st t tch th ve x zz"
ENDINGS = "ing ed er est ly ness tion ment ful less ous able al ic ity ism y s"
INDECENT = re.compile(
    "f[au]+(ck|g)|c[ou]+(ck|nt|on)|n[ie]+g|sh[ie]+t|tw[ao]+t|wh[oa]+re|slu|dyk|kik|coc|cum|pi+ss|ass$"
)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

DETERMINERS = ("the", "the", "the", "this", "that", "my", "your", "his", "her", "our", "their")

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
_SMALL = (*_ONES.split(), "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINAL_END = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}


@cache
def words() -> dict[str, tuple[str, ...]]:
    """The lists of words.yaml; irregular forms still joined by `/`, words of several parts by `-`."""
    lists = yaml.safe_load(WORDS.read_text(encoding="utf-8"))
    return {kind: tuple(dict.fromkeys(text.split())) for kind, text in lists.items()}


def spell(number: int) -> str:
    """Write a number below a million in words."""
    if number < 20:
        return _SMALL[number]
    if number < 100:
        ones = number % 10
        return _TENS[number // 10 - 2] + (f"-{_SMALL[ones]}" if ones else "")
    unit, name = (100, "hundred") if number < 1_000 else (1_000, "thousand")
    rest = number % unit
    between = " and " if unit == 100 or 0 < rest < 100 else " "
    return f"{spell(number // unit)} {name}" + (f"{between}{spell(rest)}" if rest else "")


def ordinal(number: int) -> str:
    """Write first, second, ... of a number below a hundred."""
    head, hyphen, last = spell(number).rpartition("-")
    end = _ORDINAL_END.get(last) or (f"{last[:-1]}ieth" if last.endswith("y") else f"{last.removesuffix('e')}th")
    return f"{head}{hyphen}{'twelfth' if last == 'twelve' else end}"


def plural(noun: str) -> str:
    """The plural of a noun, `mouse/mice` or regular."""
    single, slash, irregular = noun.partition("/")
    return irregular if slash else _with_s(single)


def _with_s(word: str) -> str:
    if re.search(r"(s|x|z|ch|sh)$", word) or word in ("potato", "tomato", "echo", "go"):
        return f"{word}es"
    return f"{word[:-1]}ies" if re.search(r"[^aeiou]y$", word) else f"{word}s"


def _stem(verb: str, ending: str) -> str:
    if verb.endswith("e") and ending in ("ed", "ing") and not verb.endswith(("ee", "ye")):
        return f"{verb[:-2]}y{ending}" if verb.endswith("ie") and ending == "ing" else f"{verb[:-1]}{ending}"
    if ending == "ed" and re.search(r"[^aeiou]y$", verb):
        return f"{verb[:-1]}ied"
    if re.fullmatch(r"[^aeiou]*[aeiou][bdgklmnprt]", verb) and not verb.endswith("k"):  # stop, stopped
        return f"{verb}{verb[-1]}{ending}"
    return f"{verb}{ending}"


def conjugate(verb: str, form: str) -> str:
    """A verb of words.yaml as `base`, `present` (he), `past`, `participle` or `gerund`."""
    base, *irregular = verb.split("/")
    match form:
        case "base":
            return base
        case "present":
            return _with_s(base)
        case "gerund":
            return _stem(base, "ing")
        case "past":
            return irregular[0] if irregular else _stem(base, "ed")
        case "participle":
            return irregular[-1] if irregular else _stem(base, "ed")
    raise ValueError(f"a verb has no form {form!r}")


class Sentences:
    """Draws sentences with a generator of its own."""

    def __init__(self, rng: random.Random, *, unordered: float = 0.5) -> None:
        self._rng, self._unordered = rng, unordered  # share of sentences without grammar

    def draw(self, *, held_out: bool) -> str:
        """Draw until a sentence lies on the side asked for."""
        while is_held_out(text := self._draw()) != held_out:
            pass
        return text

    def _draw(self) -> str:
        count = self._rng.choices((1, 2, 3), (8, 2, 1))[0]
        return " ".join(self._sentence() for _ in range(count))

    def _sentence(self) -> str:
        unordered = self._unordered > 0 and self._rng.random() < self._unordered
        template = self._rng.choice(UNORDERED if unordered else TEMPLATES)
        text = re.sub(r"\{(\w+)\}", lambda match: self._slot(match[1]), template)
        text = text.replace("-", " ") if self._rng.random() < 0.5 else text
        return text[:1].upper() + text[1:] if text[0] != '"' else text[:1] + text[1:2].upper() + text[2:]

    def _slot(self, kind: str) -> str:
        made: dict[str, Callable[[], str]] = {
            "np": self._subject_phrase,
            "np_object": self._object_phrase,
            "pred": lambda: self._predicate("past"),
            "present": lambda: self._predicate("present"),
            "base": lambda: self._predicate("base"),
            "gerund": lambda: self._predicate("gerund"),
            "has": lambda: self._rng.choice(("has", "had")),
            "pp": lambda: f"{self._word('preposition')} {self._noun('the', 'place')}",
            "people": lambda: plural(self._word("person")),
            "fullname": lambda: f"{self._word('name')} {self._word('surname')}",
            "number": self._number,
            "small": lambda: self._maybe_digits(self._rng.randint(2, 99)),
            "count": lambda: self._rng.choice((spell(self._rng.randint(2, 30)), self._word("quantity"))),
            "year": lambda: self._rng.choice((str(self._rng.randint(1500, 2030)), str(self._rng.randint(1900, 2030)))),
            "ordinal": lambda: ordinal(self._rng.randint(1, 31)),
            "percent": lambda: self._maybe_digits(self._rng.randint(1, 99)),
            "digits": lambda: " ".join(_SMALL[self._rng.randint(0, 9)] for _ in range(self._rng.randint(3, 7))),
            "money": self._money,
            "clock": self._clock,
            "any": self._any_word,
            "amount": self._amount,
            "initials": lambda: "".join(self._rng.choices(LETTERS, k=self._rng.randint(2, 4))),
            "day": lambda: str(self._rng.randint(1, 31)),
            "gerund_o_cap": lambda: self._verb("verb_object", "gerund").capitalize(),
            "present_o_plural": lambda: self._verb("verb_object", "base"),
        }
        if kind in made:
            return made[kind]()
        form, _, which = kind.rpartition("_")
        if which in ("o", "a") and form:
            return self._verb({"o": "verb_object", "a": "verb_alone"}[which], form)
        if form in ("the", "a"):
            return self._noun(form, which)
        if kind not in words() and kind.endswith("s"):
            return plural(self._word(kind[:-1]))
        return self._word(kind).partition("/")[0]

    def _word(self, kind: str) -> str:
        return self._rng.choice(words()[kind])

    def _any_word(self) -> str:
        if self._rng.random() < 0.3:
            return self._made_up()
        kind = self._rng.choice(
            ("everyday", "everyday", "everyday", "person", "animal", "thing", "food", "place", "idea")
        )
        return self._word(kind).partition("/")[0]

    def _made_up(self) -> str:
        while INDECENT.search(word := self._syllables()):
            pass
        return word

    def _syllables(self) -> str:
        # one to three of them, of which only the last is sure to be closed
        syllables = self._rng.choices((1, 2, 3), (3, 5, 2))[0]
        parts = []
        for left in reversed(range(syllables)):
            parts += [self._rng.choice(ONSETS.split()), self._rng.choice(NUCLEI.split())]
            if left == 0 or self._rng.random() < 0.4:
                parts.append(self._rng.choice(CODAS.split()))
        return "".join(parts) + (self._rng.choice(ENDINGS.split()) if self._rng.random() < 0.3 else "")

    def _amount(self) -> str:
        number = self._rng.randint(2, 400)
        figure = f"{number}.{self._rng.randint(1, 9)}" if self._rng.random() < 0.3 else str(number)
        return f"{figure} {plural(self._word('unit'))}"

    def _verb(self, kind: str, form: str) -> str:
        return conjugate(self._word(kind), form)

    def _noun(self, article: str, kind: str) -> str:
        noun = self._word(kind).partition("/")[0]
        if self._rng.random() < 0.4:
            noun = f"{self._word('adjective')} {noun}"
        if article == "the":
            return f"{self._rng.choice(DETERMINERS)} {noun}"
        return f"{'an' if noun[0] in 'aeiou' and not noun.startswith(('uni', 'use', 'one', 'eu')) else 'a'} {noun}"

    def _subject_phrase(self) -> str:
        if self._rng.random() < 0.2:
            return self._word("name")
        kind = self._rng.choice(("person", "person", "animal", "thing", "idea", "place"))
        return self._noun(self._rng.choice(("the", "the", "a")), kind)

    def _object_phrase(self) -> str:
        kind = self._rng.choice(("thing", "thing", "food", "animal", "person", "idea", "place"))
        if self._rng.random() < 0.25:
            return f"{self._word('quantity')} {plural(self._word(kind))}"
        return self._noun(self._rng.choice(("the", "a")), kind)

    def _predicate(self, form: str) -> str:
        match self._rng.randrange(4):
            case 0:
                return self._verb("verb_alone", form)
            case 1:
                return f"{self._verb('verb_alone', form)} {self._word('adverb')}"
            case 2:
                be = {"past": "was", "present": "is", "base": "be", "gerund": "being"}[form]
                return f"{be} {self._word('adjective')}"
        return f"{self._verb('verb_object', form)} {self._object_phrase()}"

    def _maybe_digits(self, number: int) -> str:
        return str(number) if self._rng.random() < 0.3 else spell(number)

    def _number(self) -> str:
        return self._maybe_digits(self._rng.randrange(self._rng.choice((20, 100, 1_000, 100_000))))

    def _money(self) -> str:
        unit = self._rng.choice(("dollars", "pounds", "euros", "cents", "pence"))
        return f"{self._maybe_digits(self._rng.randint(2, 900))} {unit}"

    def _clock(self) -> str:
        hour = spell(self._rng.randint(1, 12))
        past = ("half past {}", "a quarter to {}", "a quarter past {}", "{} o'clock", "{} thirty", "twenty past {}")
        return self._rng.choice(past).format(hour)


def is_held_out(text: str) -> bool:
    """Whether a sentence belongs to evaluation. Case and punctuation do not matter."""
    key = " ".join(re.findall(r"[a-z0-9']+", text.lower()))
    return zlib.crc32(key.encode()) % HELD_OUT_ONE_IN == 0
