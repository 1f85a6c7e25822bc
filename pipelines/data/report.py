"""data.html: how much there is, what to listen to, what to record next, which sounds are there; one offline file."""

import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.data.coverage import Coverage, Kind, Tone, coverage, kind, most_useful, prompts, tone, units
from pipelines.data.sounds import EXAMPLES, PAIR, inventory, is_pair
from pipelines.data.split import TIERS
from pipelines.data.verdicts import MEASURES, Clip, Measure, Verdict, Worse
from pipelines.page import audio_source, template
from voice.pack import Reference

TEMPLATE = Path(__file__).parent / "report.html.j2"
CHARTS = ("seconds", "lufs", "snr_db", "characters_per_second", "bandwidth_hz", "pitch_hz")
AIMS = {"seconds": (3.0, 15.0)}  # design note: keep each clip 3 to 15 s long
BINS = (8, 24)  # at least, at most


@dataclass(frozen=True, slots=True)
class Progress:
    """How much is used, as `split` counted it."""

    minutes: float
    clips: int
    tier: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the page shows."""

    next_sentences: int
    players: int
    audio_megabytes: float
    table_rows: int


class Presence(StrEnum):
    """Whether a sound was heard. `extra` is one that the shipped sentences do not hold."""

    COVERED = "covered"
    RARE = "rare"
    MISSING = "missing"
    EXTRA = "extra"


def render(
    voice: str,
    language: str,
    clips: Sequence[Clip],
    covered: Coverage,
    progress: Progress,
    reference: Reference,
    *,
    aims: Mapping[Kind | Tone, float],
    limits: Limits,
) -> str:
    """Fill the template."""
    order = list(Verdict)[::-1]  # dropped, flagged, kept
    rows = sorted(clips, key=lambda clip: order.index(clip.verdict))
    return template(TEMPLATE).render(
        voice=voice,
        language=language,
        progress=progress,
        tiers=tiers(progress),
        wanted=sentences_to_next_tier(progress),
        verdicts=Counter(clip.verdict for clip in clips),
        reasons=reasons(clips),
        listen=listen_first(clips, players=limits.players, megabytes=limits.audio_megabytes),
        record=record_next([clip.text for clip in clips if clip.is_used], language, count=limits.next_sentences),
        sounds=inventory(language).name,
        covered=covered,
        heard={"singles": _of_aim(covered, pairs=False), "pairs": _of_aim(covered, pairs=True)},
        singles=singles(covered),
        matrix=matrix(covered),
        missing_pairs=sorted(unit for unit in covered.missing if is_pair(unit)),
        kinds=shares(covered.kinds, Kind, aims, total=sum(covered.kinds.values())),
        tones=shares(covered.tones, Tone, aims, total=sum(covered.tones.values())),
        charts=[chart(m, clips) for m in MEASURES if m.column in CHARTS and _values(m, clips)],
        reference={"source": audio_source(reference.audio), "text": reference.text},
        columns=[m for m in MEASURES if any(m.column in clip.measures for clip in clips)],
        rows=rows[: limits.table_rows],
        left_out=max(0, len(rows) - limits.table_rows),
    )


def tiers(progress: Progress) -> list[dict[str, Any]]:
    """Each tier from the lowest up, and what it lacks."""
    return [
        {
            "name": name,
            "minutes": minutes,
            "clips": clips,
            "minutes_short": max(0.0, minutes - progress.minutes),
            "clips_short": max(0, clips - progress.clips),
        }
        for name, minutes, clips in reversed(TIERS)
    ]


def sentences_to_next_tier(progress: Progress) -> int:
    """How many more sentences of the usual length the next tier takes; 0 at the best one."""
    short = [t for t in tiers(progress) if t["minutes_short"] or t["clips_short"]]
    if not short:
        return 0
    usual_minutes = progress.minutes / progress.clips
    return max(short[0]["clips_short"], math.ceil(short[0]["minutes_short"] / usual_minutes))


def reasons(clips: Sequence[Clip]) -> list[dict[str, Any]]:
    """Why clips were flagged or dropped, the most frequent first; measured numbers are left out to count alike ones."""
    alike: dict[tuple[Verdict, str], list[str]] = defaultdict(list)
    for clip in clips:
        for reason in clip.reasons:
            alike[clip.verdict, re.sub(r"“.*?”|-?\d+([.,]\d+)?", "…", reason)].append(clip.id)
    ranked = sorted(alike.items(), key=lambda item: (-len(item[1]), item[0]))
    return [{"verdict": verdict, "reason": reason, "ids": ids} for (verdict, reason), ids in ranked]


def listen_first(clips: Sequence[Clip], *, players: int, megabytes: float) -> list[dict[str, Any]]:
    """Clips with players: flagged ones, then dropped ones, then those that lie furthest from the others."""
    usual = {m.column: _spread(m, clips) for m in MEASURES}
    odd = {clip.id: _oddity(clip, usual) for clip in clips}
    order = (Verdict.FLAGGED, Verdict.DROPPED, Verdict.KEPT)
    ranked = sorted(
        (clip for clip in clips if clip.audio),
        key=lambda clip: (order.index(clip.verdict), -len(clip.reasons), -odd[clip.id][0], clip.id),
    )
    chosen, left = [], megabytes * 1e6
    for clip in ranked[:players]:
        source = audio_source(clip.audio) if clip.audio else ""
        left -= len(source) * 3 / 4  # base64 writes three bytes as four characters
        if left < 0:
            break
        chosen.append({"clip": clip, "source": source, "why": list(clip.reasons) or [odd[clip.id][1]]})
    return chosen


def _values(measure: Measure, clips: Sequence[Clip]) -> list[float]:
    return [clip.measures[measure.column] for clip in clips if measure.column in clip.measures and clip.is_used]


def _spread(measure: Measure, clips: Sequence[Clip]) -> tuple[float, float]:
    values = _values(measure, clips)
    if len(values) < 4:
        return 0.0, 0.0
    low, median, high = statistics.quantiles(values, n=4)
    return median, high - low


def _oddity(clip: Clip, usual: Mapping[str, tuple[float, float]]) -> tuple[float, str]:
    # distance from the median in interquartile ranges, on the side that is suspicious
    found = [(0.0, "nothing unusual")]
    for measure in MEASURES:
        median, spread = usual[measure.column]
        if spread > 0 and measure.column in clip.measures:
            distance = (clip.measures[measure.column] - median) / spread
            size = {Worse.LOW: -distance, Worse.HIGH: distance, Worse.EITHER: abs(distance)}[measure.worse]
            value = measure.shown(clip.measures[measure.column])
            found.append(
                (size, f"{measure.label} {value} {measure.unit}".rstrip() + f", usually {measure.shown(median)}")
            )
    return max(found, key=lambda item: item[0])


def record_next(spoken: Sequence[str], language: str, *, count: int) -> list[dict[str, Any]]:
    """Shipped sentences that add most, and what each adds to those before it."""
    heard = set(coverage(spoken, language).counts)
    rows = []
    for text in most_useful(language, spoken, prompts(language), count):
        new = dict.fromkeys(unit for unit in units(text, language) if unit not in heard)
        heard.update(new)
        rows.append({"text": text, "kind": kind(text), "tone": tone(text, language), "adds": list(new)})
    return rows


def _of_aim(covered: Coverage, *, pairs: bool) -> tuple[int, int]:
    heard, aim = (sum(is_pair(unit) is pairs for unit in some) for some in (covered.covered, covered.aim))
    return heard, aim


def _presence(unit: str, covered: Coverage) -> Presence:
    if unit not in covered.aim:
        return Presence.EXTRA
    if unit in covered.missing:
        return Presence.MISSING
    return Presence.RARE if unit in covered.rare else Presence.COVERED


def _singles(covered: Coverage) -> list[str]:
    return sorted(unit for unit in covered.aim | covered.counts.keys() if not is_pair(unit))


def singles(covered: Coverage) -> list[dict[str, Any]]:
    """Each sound with how often it was heard."""
    return [
        {
            "unit": unit,
            "example": EXAMPLES.get(unit, ""),
            "count": covered.counts.get(unit, 0),
            "presence": _presence(unit, covered),
        }
        for unit in _singles(covered)
    ]


def matrix(covered: Coverage) -> dict[str, Any] | None:
    """Pairs as squares, the first sound down and the second across: one path for each presence. None without pairs."""
    names = _singles(covered)
    pairs = [unit for unit in covered.aim | covered.counts.keys() if is_pair(unit)]
    if not pairs:
        return None
    place = {name: index for index, name in enumerate(names)}
    squares: dict[Presence, list[str]] = defaultdict(list)
    for pair in sorted(pairs):
        first, second = pair.split(PAIR)
        squares[_presence(pair, covered)].append(f"M{place[second]} {place[first]}h.84v.84h-.84z")
    counts = Counter({presence: len(drawn) for presence, drawn in squares.items()})
    return {"names": names, "paths": {p: "".join(s) for p, s in squares.items()}, "counts": counts}


def shares(
    counts: Mapping[Any, int], members: type[StrEnum], aims: Mapping[Any, float], *, total: int
) -> list[dict[str, Any]]:
    """Each kind or tone with its share of `total` and the share it should have."""
    return [
        {
            "name": member.value,
            "count": counts.get(member, 0),
            "share": counts.get(member, 0) / max(1, total),
            "aim": aims.get(member),
        }
        for member in members
    ]


def chart(measure: Measure, clips: Sequence[Clip]) -> dict[str, Any]:
    """A histogram of the clips that are used: bars in units of the tallest, and the figures that its caption names."""
    values = np.array(_values(measure, clips)) / measure.per_unit
    low, high = float(values.min()), float(values.max())
    bounds = (low, high) if high > low else (low - 0.5, low + 0.5)
    bins = int(np.clip(len(np.histogram_bin_edges(values, "auto", bounds)), *BINS))
    heights, edges = np.histogram(values, bins, bounds)
    start, width = float(edges[0]), float(edges[-1] - edges[0])
    aim = AIMS.get(measure.column)
    within = [min(1.0, max(0.0, (edge - start) / width)) for edge in aim] if aim else None
    return {
        "measure": measure,
        "bars": [float(height) / float(heights.max()) for height in heights],
        "low": f"{start:.{measure.digits}f}",
        "high": f"{start + width:.{measure.digits}f}",
        "median": f"{float(np.median(values)):.{measure.digits}f}",
        "median_at": (float(np.median(values)) - start) / width,
        "aim": aim,
        "aim_at": within,
        "outside": int(sum(not aim[0] <= value <= aim[1] for value in values)) if aim else 0,
    }
