"""The blind listening test's ballots: which of two takes the owner found more like themselves.

`data/listening.csv` holds one line a vote and is committed, at first with a header only. A vote names the two files by
the hash of their audio: after another training or other texts it is about audio that is gone, and counts no more.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from scipy.stats import binomtest

from voice.errors import InputError

VOTES = Path("data/listening.csv")
NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Vote:
    """One choice between two systems that said the same sentence."""

    voice: str
    sentence: str
    take: int
    one: str  # the two systems, in the order of their names
    other: str
    one_audio: str  # hashes of what was heard
    other_audio: str
    chosen: str  # one of the systems, or NEITHER
    time: str  # ISO 8601


_COLUMNS = [field.name for field in fields(Vote)]


@dataclass(frozen=True, slots=True)
class Poll:
    """Votes for a system against another; ties say nothing about either."""

    won: int
    lost: int
    tied: int

    @property
    def decided(self) -> int:
        """Votes that chose."""
        return self.won + self.lost

    @property
    def p_value(self) -> float:
        """Two-sided sign test: how often a coin would be as uneven as that."""
        return float(binomtest(self.won, self.decided).pvalue) if self.decided else 1.0

    def prefers(self, *, at_least: int) -> bool:
        """Whether the first one is surely preferred, at 5 %, by `at_least` votes that chose."""
        return self.decided >= at_least and self.won > self.lost and self.p_value < 0.05

    def __str__(self) -> str:
        return f"{self.won} of {self.decided} votes (p = {self.p_value:.3f}), {self.tied} undecided"


def read_votes(path: Path) -> list[Vote]:
    """Read the votes. Raises InputError that names the line. No file is no vote."""
    if not path.is_file():
        return []
    votes = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                texts = {key: row[key] for key in _COLUMNS if key != "take"}
                vote = Vote(take=int(row["take"]), **texts)
                if vote.chosen not in (vote.one, vote.other, NEITHER):
                    raise ValueError(f"{vote.chosen!r} was not to be chosen")
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{path}:{number}: is no vote ({error}). Remove the line, or restore the file with git."
                ) from error
            votes.append(vote)
    return votes


def cast(path: Path, vote: Vote) -> None:
    """Append a vote, under a header if there is none yet."""
    new = not path.is_file() or not path.stat().st_size
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(asdict(vote))


def latest(votes: Iterable[Vote]) -> list[Vote]:
    """The last vote on each pair of files: who hears it again may change their mind."""
    return list({(vote.one_audio, vote.other_audio): vote for vote in votes}.values())


def poll(
    votes: Sequence[Vote], voice: str, system: str, against: str, audio: Mapping[str, set[str]], *, first: int
) -> Poll:
    """Count the votes on audio that is still there (`audio`: system -> hashes of its files), by sentence.

    The takes of a sentence are no independent votes, so what most of them say is one. And the `first` decided sentences
    count, no later ones: who may go on until the figures please them, gets them to please (with a coin and 130
    sentences in 15 of 100 tests, instead of 2.5).
    """
    counted = [
        vote
        for vote in latest(votes)
        if vote.voice == voice
        and {vote.one, vote.other} == {system, against}
        and vote.one_audio in audio[vote.one]
        and vote.other_audio in audio[vote.other]
    ]
    won, lost, tied = 0, 0, 0
    for choices in _by_sentence(counted):
        lead = choices.count(system) - choices.count(against)
        won, lost, tied = won + (lead > 0), lost + (lead < 0), tied + (lead == 0)
        if won + lost == first:
            break
    return Poll(won, lost, tied)


def _by_sentence(votes: Sequence[Vote]) -> Iterable[list[str]]:
    choices: dict[str, list[str]] = {}
    for vote in sorted(votes, key=lambda vote: vote.time):
        choices.setdefault(vote.sentence, []).append(vote.chosen)
    return choices.values()
