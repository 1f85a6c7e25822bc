"""What the page shows, as it goes over HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.data.record.checks import Finding, Measured


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is to be read now."""

    text: str
    replaces: str | None  # the clip that a new take would replace


@dataclass(frozen=True, slots=True)
class Review:
    """The take under review."""

    id: str
    measured: Measured
    findings: list[Finding]
    may_be_kept: bool


@dataclass(frozen=True, slots=True)
class Clip:
    """A kept clip."""

    id: str
    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Tier:
    """An amount of data with a name."""

    name: str
    minutes: float
    clips: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How much is recorded, silence included."""

    minutes: float
    clips: int
    tier: str
    next: Tier | None
    sentences_left: int


@dataclass(frozen=True, slots=True)
class Marks:
    """The limits that the page's meters show."""

    max_take_seconds: float
    min_peak_dbfs: float
    max_noise_floor_dbfs: float


@dataclass(frozen=True, slots=True)
class State:
    """Everything that the page shows."""

    voice: str
    language: str
    checklist: Mapping[str, tuple[str, ...]]
    statement: str
    consent: str | None
    sentence: Sentence | None  # None when all are read
    review: Review | None
    progress: Progress
    clips: list[Clip]
    undo: str | None  # the clip that can be undone
    marks: Marks
