"""The trials of a blind test: pairs of takes on random sides, and the owner's own voice to compare with."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pipelines.eval.ballot import NEITHER, Vote, cast, read_votes
from pipelines.eval.memory import audio_digest
from pipelines.eval.panel import Recording
from pipelines.eval.takes import Take
from voice.errors import InputError


@dataclass(frozen=True, slots=True)
class Spoken:
    """One system's takes and the folder they lie in."""

    system: str
    folder: Path
    takes: Sequence[Take]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two that are heard."""

    system: str
    audio: Path


@dataclass(frozen=True, slots=True)
class Trial:
    """One sentence, said by two systems on sides A and B; X is the owner."""

    sentence: str
    take: int
    text: str
    a: Side
    b: Side
    x: Path


def pair_up(one: Spoken, other: Spoken, owner: Sequence[Recording], *, draw: random.Random) -> list[Trial]:
    """Pair the takes that both systems managed, in random order and on random sides.

    X is the owner saying the same sentence where it was recorded, any held-out clip otherwise.
    """
    others = {(take.sentence, take.take): take for take in other.takes if not take.error}
    recorded = {clip.id: clip.path for clip in owner}
    trials = []
    for take in one.takes:
        partner = others.get((take.sentence, take.take))
        if partner and not take.error:
            sides = [Side(one.system, one.folder / take.audio), Side(other.system, other.folder / partner.audio)]
            draw.shuffle(sides)
            a, b = sides
            x = recorded.get(take.sentence) or draw.choice(list(owner)).path
            trials.append(Trial(take.sentence, take.take, take.text, a, b, x))
    draw.shuffle(trials)
    return trials


@dataclass
class Session:
    """A walk through the trials that were not voted on yet. Each vote is on disk before the next trial is shown."""

    voice: str
    trials: Sequence[Trial]
    votes: Path
    at: int = 0
    earlier: int = 0  # trials that were voted on in a session before
    _digests: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def of(cls, voice: str, trials: Sequence[Trial], votes: Path) -> "Session":
        """Leave out what was voted on before. Raises InputError if there is nothing to hear at all."""
        if not trials:
            raise InputError(f"voice {voice}: no sentence was spoken by both systems. Run `make repro` first.")
        known = {frozenset((vote.one_audio, vote.other_audio)) for vote in read_votes(votes) if vote.voice == voice}
        session = cls(voice, trials, votes)
        left = [trial for trial in trials if frozenset(map(session._digest, (trial.a, trial.b))) not in known]
        session.trials, session.earlier = left, len(trials) - len(left)
        return session

    def _digest(self, side: Side) -> str:
        if side.audio not in self._digests:
            self._digests[side.audio] = audio_digest(side.audio)
        return self._digests[side.audio]

    @property
    def trial(self) -> Trial | None:
        """What is heard now; None at the end."""
        return self.trials[self.at] if self.at < len(self.trials) else None

    def choose(self, number: int, choice: str, *, time: datetime) -> None:
        """Vote for side `a`, `b` or NEITHER of trial `number`. Raises InputError for another trial or choice."""
        trial = self.trial
        if trial is None or number != self.at:
            raise InputError("this page shows another pair than the test. Reload it.")
        sides = {"a": trial.a, "b": trial.b}
        if choice not in (*sides, NEITHER):
            raise InputError(f"{choice!r} is no choice. Use a, b or {NEITHER}.")
        one, other = sorted(sides.values(), key=lambda side: side.system)
        cast(
            self.votes,
            Vote(
                self.voice, trial.sentence, trial.take, one.system, other.system, self._digest(one),
                self._digest(other), sides[choice].system if choice in sides else NEITHER,
                time.isoformat(timespec="seconds"),
            ),
        )  # fmt: skip
        self.at += 1

    def back(self) -> None:
        """Hear the pair before again; the last vote on a pair is the one that counts."""
        self.at = max(0, self.at - 1)
