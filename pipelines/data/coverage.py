"""Which sounds and kinds of sentence a set of texts covers, and which of the shipped sentences would add most.

The aim is what all shipped sentences of a language hold together: a finite list, and each item of it can be reached by
reading one. The sentences are ours; prompts/<iso>.txt holds one a line: `sentence|tone`, in Japanese also `|reading`.

    python -m pipelines.data.coverage en    # prints a language's file anew, what adds most first: how they are ordered
"""

import functools
import sys
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipelines.data.sounds import Sounds, inventory
from voice.errors import InputError
from voice.text import language_name, same_text_key

PROMPTS = Path(__file__).parent / "prompts"
RARE_BELOW = 3  # a sound heard once or twice is heard in one or two surroundings


class Kind(StrEnum):
    """How a sentence ends, as far as its punctuation tells."""

    STATEMENT = "statement"
    QUESTION = "question"
    EXCLAMATION = "exclamation"


class Tone(StrEnum):
    """The mood that a shipped sentence is written in."""

    NEUTRAL = "neutral"
    HAPPY = "happy"
    SERIOUS = "serious"


@dataclass(frozen=True, slots=True)
class Prompt:
    """A sentence to read aloud."""

    text: str
    tone: Tone
    reading: str  # what its sounds are counted from: the text, or its kana in Japanese


@dataclass(frozen=True, slots=True)
class Coverage:
    """What some texts hold of what a language's shipped sentences hold."""

    counts: Mapping[str, int]  # unit -> how often
    aim: frozenset[str]
    unknown: tuple[str, ...]  # words whose sounds are not known, each once, as they came
    kinds: Mapping[Kind, int]
    tones: Mapping[Tone, int]  # of the texts that are shipped sentences; others are not judged

    @property
    def covered(self) -> frozenset[str]:
        """Units of the aim that occur."""
        return self.aim & self.counts.keys()

    @property
    def missing(self) -> frozenset[str]:
        """Units of the aim that do not."""
        return self.aim - self.counts.keys()

    @property
    def rare(self) -> frozenset[str]:
        """Units of the aim that occur, but hardly."""
        return frozenset(unit for unit in self.covered if self.counts[unit] < RARE_BELOW)

    @property
    def share(self) -> float:
        """Covered units over all of the aim."""
        return len(self.covered) / len(self.aim)


def prompts(language: str) -> list[str]:
    """The shipped sentences, in the order to read them. Raises InputError for a language without any."""
    return [prompt.text for prompt in _shipped(_iso(language)).values()]


def units(text: str, language: str) -> list[str]:
    """The sounds of a text, in order and with repetitions, pairs last. What they are: pipelines.data.sounds."""
    return list(_sounds(text, _iso(language)).units)


def coverage(texts: Iterable[str], language: str) -> Coverage:
    """Count what texts hold."""
    language, texts = _iso(language), list(texts)
    read = [_sounds(text, language) for text in texts]
    return Coverage(
        counts=Counter(unit for sounds in read for unit in sounds.units),
        aim=_aim(language),
        unknown=tuple(dict.fromkeys(word for sounds in read for word in sounds.unknown)),
        kinds=Counter(kind(text) for text in texts),
        tones=Counter(found for text in texts if (found := tone(text, language))),
    )


def kind(text: str) -> Kind:
    """A text with a question mark anywhere is a question, with an exclamation mark an exclamation."""
    marks = set(unicodedata.normalize("NFKC", text))  # fullwidth marks become plain ones
    if marks & set("?¿"):
        return Kind.QUESTION
    return Kind.EXCLAMATION if marks & set("!¡") else Kind.STATEMENT


def tone(text: str, language: str) -> Tone | None:
    """The tone of a shipped sentence; of other texts it is not known."""
    prompt = _shipped(_iso(language)).get(same_text_key(text))
    return prompt.tone if prompt else None


def most_useful(language: str, spoken: Sequence[str], candidates: Sequence[str], count: int) -> list[str]:
    """Choose up to `count` sentences, each the one that adds most units not yet heard for its length; ties in order.

    None is one that was spoken already.
    """
    language = _iso(language)
    heard = {unit for text in spoken for unit in _sounds(text, language).units}
    done = {same_text_key(text) for text in spoken}
    left = dict[str, str]()
    for text in candidates:
        if same_text_key(text) not in done:
            left.setdefault(same_text_key(text), text)
    chosen = list[str]()
    while left and len(chosen) < count:
        best = max(left.values(), key=lambda text: _gain(_sounds(text, language), heard))
        del left[same_text_key(best)]
        chosen.append(best)
        heard.update(_sounds(best, language).units)
    return chosen


def _gain(sounds: Sounds, heard: Collection[str]) -> float:
    new = sum(unit not in heard for unit in set(sounds.units))
    return new / max(1, len(sounds.units))


def _iso(language: str) -> str:
    language_name(language)  # refuses what is no language
    return "en" if language.lower() == "auto" else language.lower()


@functools.cache
def _shipped(language: str) -> dict[str, Prompt]:
    path = PROMPTS / f"{language}.txt"
    if not path.is_file():
        raise InputError(f"{path.name}: no sentences are shipped for this language. Write one a line into {path}.")
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [_parse(line, f"{path.name}:{number}") for number, line in enumerate(lines, start=1)]
    return {same_text_key(prompt.text): prompt for prompt in found}


def _parse(line: str, where: str) -> Prompt:
    try:
        text, tone, *reading = line.split("|")
        return Prompt(text, Tone(tone), reading[0] if reading else text)
    except ValueError as error:
        raise InputError(f"{where}: {error}. Write `sentence|tone`.") from error


@functools.cache
def _aim(language: str) -> frozenset[str]:
    return frozenset(unit for text in prompts(language) for unit in _sounds(text, language).units)


@functools.lru_cache(maxsize=100_000)
def _sounds(text: str, language: str) -> Sounds:
    prompt = _shipped(language).get(same_text_key(text))
    return inventory(language).read(prompt.reading if prompt else text)


def main(language: str) -> None:
    """Print a language's file anew, the sentences that add most first."""
    known = _shipped(_iso(language))
    for text in most_useful(language, [], prompts(language), len(known)):
        prompt = known[same_text_key(text)]
        reading = [prompt.reading] if prompt.reading != prompt.text else []
        print("|".join([prompt.text, prompt.tone, *reading]))


if __name__ == "__main__":
    main(*sys.argv[1:])
