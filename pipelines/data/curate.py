"""curate: every clip kept, flagged or dropped, with reasons in quality.csv; metadata.csv of what is left to train on.

python -m pipelines.data.curate voice=demo data.drop_snr_db=12
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np

from pipelines.data.clips import Clip, read_clips
from pipelines.data.measurements import Measured, read_measurements
from pipelines.data.quality import Quality
from pipelines.data.quality.timbre import Voice
from pipelines.data.review import Decision
from pipelines.data.rules import (
    Finding,
    Limits,
    Severity,
    about_length,
    about_level,
    about_surroundings,
    about_text,
)
from pipelines.data.transcripts import Transcript, read_transcripts
from pipelines.data.verdicts import Verdict
from voice.errors import InputError
from voice.manifest import Utterance, write_metadata
from voice.stage import output_root, stage
from voice.table import write_table
from voice.text import same_text_key

log = logging.getLogger(__name__)


@dataclass
class Curate:  # conf/curate.yaml
    """Settings of the stage."""

    voice: str
    language: str
    data: Limits


@dataclass(slots=True)
class Case:
    """All that is known of a clip, and what was found."""

    clip: Clip
    measured: Measured
    transcript: Transcript
    speaker_distance: float | None = None
    findings: list[Finding] = field(default_factory=list)

    def flag(self, reason: str) -> None:
        """Keep it, but tell the owner."""
        self.findings.append(Finding(Severity.FLAG, reason))

    def drop(self, reason: str) -> None:
        """Leave it out."""
        self.findings.append(Finding(Severity.DROP, reason))

    @property
    def id(self) -> str:
        """The clip's name."""
        return self.clip.id

    @property
    def pace(self) -> float | None:
        """Characters per second."""
        quality = self.measured.quality
        return len(self.transcript.text) / quality.seconds if quality and self.transcript.text else None

    @property
    def verdict(self) -> Verdict:
        """`kept`, `flagged` or `dropped`. The owner's decision stands above all but a clip that cannot be used."""
        if self.measured.error or not self.transcript.text or self.transcript.decision is Decision.DROP:
            return Verdict.DROPPED
        if self.transcript.decision is Decision.KEEP:
            return Verdict.KEPT
        worst = max((finding.severity for finding in self.findings), default=None)
        return {None: Verdict.KEPT, Severity.FLAG: Verdict.FLAGGED, Severity.DROP: Verdict.DROPPED}[worst]


def curate(cases: Sequence[Case], limits: Limits, *, language: str) -> None:
    """Add every finding to its case: first what a clip shows alone, then what only the others show."""
    for case in cases:
        case.findings += _alone(case, limits, language=language)
    find_foreign_speakers(cases, limits)
    find_odd_pace(cases, limits)
    find_wrong_words(cases, limits)
    find_copies(cases)
    find_repeated_takes(cases)


def _alone(case: Case, limits: Limits, *, language: str) -> list[Finding]:
    if case.measured.error:
        return [Finding(Severity.DROP, case.measured.error)]
    if case.transcript.decision is Decision.DROP:
        return [Finding(Severity.DROP, "dropped by its owner")]
    assert case.measured.quality is not None  # no error, so it was measured
    return [
        *about_length(case.measured.quality, limits),
        *about_level(case.measured.quality, limits),
        *about_surroundings(case.measured.quality, limits),
        *about_text(case.clip, case.transcript, language=language),
    ]


def find_foreign_speakers(cases: Sequence[Case], limits: Limits) -> None:
    """Clips whose timbre is not the voice's; and clips in which only a part sounds like somebody else."""
    heard = [c for c in cases if c.measured.timbres is not None]
    voice = Voice(np.array([c.measured.timbres[0] for c in heard if c.measured.timbres is not None]))
    for case in heard:
        assert case.measured.timbres is not None
        distances = voice.distances(case.measured.timbres)
        if distances is None:
            return
        case.speaker_distance = float(distances[0])
        if distances[0] > limits.drop_speaker_distance:
            case.drop("sounds like another speaker")
        elif distances[0] > limits.flag_speaker_distance:
            case.flag("sounds unlike the other clips: another speaker or microphone?")
        elif distances.max() > limits.drop_speaker_distance:
            case.flag("a part of it sounds like somebody else: a second voice?")


def find_odd_pace(cases: Sequence[Case], limits: Limits) -> None:
    """Characters per second far outside the usual: words are missing in the text or in the clip (Emilia-Pipe)."""
    usual = [case for case in cases if case.pace and case.verdict != Verdict.DROPPED]
    if len(usual) < 8:
        return
    low, high = np.percentile([case.pace for case in usual if case.pace], [25, 75])
    reach = max(limits.pace_iqr * (high - low), limits.pace_tolerance * low)
    for case in usual:
        assert case.pace is not None
        if not low - reach <= case.pace <= high + reach:
            case.flag(f"{case.pace:.0f} characters a second (usual: {low:.0f} to {high:.0f}): check its text")


def find_wrong_words(cases: Sequence[Case], limits: Limits) -> None:
    """Texts that a recogniser disputes far more than the voice's others: a weak one disputes all of them a little."""
    rates = [case.transcript.disagreement for case in cases]
    known = [rate for rate in rates if rate is not None]
    if not known:
        return
    usual = float(np.median(known))
    spread = 1.4826 * float(np.median(np.abs(np.array(known) - usual)))
    bar = usual + limits.disagreement_spread * spread
    for case, rate in zip(cases, rates, strict=True):
        if rate is None or rate <= bar:
            continue
        heard = f"“{case.transcript.heard}” was heard" if case.transcript.heard else "nothing was heard"
        if rate > limits.drop_disagreement:
            case.drop(f"other words than its text: {heard}")
        elif rate > limits.flag_disagreement:
            case.flag(f"{rate:.0%} of its words are disputed: {heard}")


def find_copies(cases: Sequence[Case]) -> None:
    """The same recording under two names."""
    first: dict[str, str] = {}
    for case in cases:
        if case.measured.digest and first.setdefault(case.measured.digest, case.id) != case.id:
            case.drop(f"the same recording as {first[case.measured.digest]}")


def find_repeated_takes(cases: Sequence[Case]) -> None:
    """Several takes of one sentence: the best one stays."""
    takes: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if case.verdict != Verdict.DROPPED and case.transcript.decision is not Decision.KEEP:
            takes[same_text_key(case.transcript.text)].append(case)
    for several in takes.values():
        best = min(several, key=_badness)
        for case in several:
            if case is not best:
                case.drop(f"another take of the same sentence as {best.id}, which is better")


def _badness(case: Case) -> tuple[int, float, float, str]:
    quality = case.measured.quality
    assert quality is not None
    # fewer findings, then closer to the voice, then cleaner
    return len(case.findings), round(case.transcript.disagreement or 0.0, 1), -quality.snr_db, case.id


def write_quality(path: Path, cases: Iterable[Case]) -> None:
    """Write quality.csv."""
    measured = [spec.name for spec in fields(Quality)]
    names = [
        "id",
        "verdict",
        "reasons",
        "source",
        *measured,
        "characters_per_second",
        "disagreement",
        "speaker_distance",
    ]
    write_table(path, names, map(_row, cases))


def _row(case: Case) -> dict[str, object]:
    numbers = asdict(case.measured.quality) if case.measured.quality else dict.fromkeys(f.name for f in fields(Quality))
    numbers |= {
        "characters_per_second": case.pace,
        "disagreement": case.transcript.disagreement,
        "speaker_distance": case.speaker_distance,
    }
    return {
        "id": case.id,
        "verdict": case.verdict,
        "reasons": "; ".join(finding.reason for finding in case.findings),
        "source": case.clip.source,
    } | {name: "" if value is None else round(value, 4) for name, value in numbers.items()}


def read_cases(segments: Path, processed: Path) -> list[Case]:
    """Gather what the stages before this one wrote. Raises InputError if one of them has not run."""
    clips = {clip.id: clip for clip in read_clips(segments / "clips.csv")}
    measured = {m.id: m for m in read_measurements(processed)}
    transcripts = {t.id: t for t in read_transcripts(processed / "transcripts.csv")}
    if not clips.keys() == measured.keys() == transcripts.keys():
        raise InputError(f"{processed} does not belong to {segments}. Run `dvc repro curate`.")
    return [Case(clip, measured[name], transcripts[name]) for name, clip in clips.items()]


@stage(Curate)
def main(config: Curate) -> None:
    """Curate one voice."""
    processed = Path("data/processed") / config.voice
    cases = read_cases(Path("data/segments") / config.voice, processed)
    curate(cases, config.data, language=config.language)
    left = [case for case in cases if case.verdict != Verdict.DROPPED]
    if not left:
        raise InputError(
            f"{processed}: no clip is left; {cases[0].id} was dropped because: {_row(cases[0])['reasons']}."
        )
    out = output_root() / processed
    write_quality(out / "quality.csv", cases)
    write_metadata(out / "metadata.csv", (Utterance(case.id, case.transcript.text) for case in left))
    count = Counter(case.verdict for case in cases)
    minutes = sum(case.measured.quality.seconds for case in left if case.measured.quality) / 60
    log.info(
        "%d clips kept, %d flagged, %d dropped; %.1f minutes",
        count[Verdict.KEPT],
        count[Verdict.FLAGGED],
        count[Verdict.DROPPED],
        minutes,
    )


if __name__ == "__main__":
    main()
