"""What the page and its figures say of a voice, and how they refuse files that no stage writes."""

import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipelines.data import describe
from pipelines.data.coverage import coverage, prompts
from pipelines.data.report import (
    Presence,
    Progress,
    chart,
    listen_first,
    matrix,
    reasons,
    record_next,
    sentences_to_next_tier,
    singles,
    tiers,
)
from pipelines.data.split import TIERS
from pipelines.data.verdicts import MEASURES, Clip, Verdict, read_voice
from tests.pipelines.data.described import row, write_quality, write_voice

TEXTS = {"a": "Who opened the gate?", "b": "What a day!", "c": "The kettle sang <b>softly</b>."}
ROWS = [
    row("a", seconds=4.0, snr_db=30.0, lufs=-23.0),
    row("b", "flagged", "pause of 2.4 s; SNR 14.2 dB", seconds=5.0, snr_db=14.2),
    row("c", seconds=6.0, snr_db=31.0, characters_per_second=15.0),
    row("d", "dropped", "clipped in 2.31% of its samples", seconds=3.0, snr_db=25.0),
    {**row("e", "dropped", "no audio file in wavs/"), "source": ""},
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_voice(tmp_path / "data/processed/me", ROWS, TEXTS)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["describe", "voice=me", *arguments])
    describe.main()
    return Path("reports/me/data.html").read_text(encoding="utf-8")


class Outline(HTMLParser):
    """What assistive technology and browsers would ask of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def clips(values: list[float], column: str = "snr_db", **changes: object) -> list[Clip]:
    return [
        Clip(f"c{i}", Verdict.KEPT, (), "", f"Text {i}.", {column: value}, changes.get("audio"))  # type: ignore[arg-type]
        for i, value in enumerate(values)
    ]


def test_the_stage_writes_one_page_and_its_figures(project: Path, monkeypatch: pytest.MonkeyPatch):
    page = run(monkeypatch)
    figures = json.loads(Path("reports/me/data.json").read_text())
    assert figures["clips"] == {"kept": 2, "flagged": 1, "dropped": 2}
    assert figures["kinds"] == {"statement": 1, "question": 1, "exclamation": 1}
    assert figures["tier"] == "below minimum"
    assert figures["median"]["seconds"] == 5.0
    assert figures["median"]["characters_per_second"] == 15.0
    assert 0 < figures["sounds"]["covered_share"] < figures["sounds"]["single_covered_share"] < 1
    assert "reference says" in page
    assert sorted(p.name for p in Path("reports/me").iterdir()) == ["data.html", "data.json"]


def test_the_page_carries_all_that_it_shows(project: Path, monkeypatch: pytest.MonkeyPatch):
    outline = Outline(run(monkeypatch))
    addresses = [
        value for _, attributes in outline.tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert {str(address).split(":")[0].split("#")[0] for address in addresses} == {"", "data"}
    players = outline.all("audio")
    assert len(players) == 5  # a, b, c, d and the reference; e has no audio
    assert all(str(p["src"]).startswith("data:audio/mpeg;base64,") for p in players)
    assert all(p["aria-label"] for p in players)
    assert outline.all("link") == [{"rel": "icon", "href": "data:,"}]


def test_every_table_has_a_caption_and_every_head_a_scope(project: Path, monkeypatch: pytest.MonkeyPatch):
    outline = Outline(run(monkeypatch))
    assert len(outline.all("caption")) == len(outline.all("table")) >= 5
    assert all(head.get("scope") in ("col", "row") for head in outline.all("th"))
    assert all(svg.get("aria-hidden") or svg.get("aria-label") for svg in outline.all("svg"))


def test_what_owners_write_is_text_not_markup(project: Path, monkeypatch: pytest.MonkeyPatch):
    page = run(monkeypatch)
    assert "&lt;b&gt;softly&lt;/b&gt;" in page
    assert "<b>softly" not in page


def test_columns_that_nobody_measured_do_not_appear(project: Path, monkeypatch: pytest.MonkeyPatch):
    page = run(monkeypatch)
    assert "Signal to noise" in page
    assert "Reverberation" not in page


def test_a_table_cut_short_says_how_much_is_missing(project: Path, monkeypatch: pytest.MonkeyPatch):
    assert "3 more are in quality.csv" in run(monkeypatch, "data.table_rows=2")


def test_audio_stops_where_the_page_would_grow_too_large(project: Path, monkeypatch: pytest.MonkeyPatch):
    assert len(Outline(run(monkeypatch, "data.audio_megabytes=0")).all("audio")) == 1  # the reference


@pytest.mark.parametrize("language", ["zh", "ja", "ko", "de", "auto"])
def test_the_page_is_made_in_other_languages_too(
    language: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spoken = prompts(language)[:3]
    write_voice(tmp_path / "data/processed/you", ROWS[:3], dict(zip("abc", spoken, strict=True)))
    monkeypatch.setattr(sys, "argv", ["describe", "voice=you", f"language={language}"])
    describe.main()
    page = Path("reports/you/data.html").read_text(encoding="utf-8")
    assert prompts(language)[3] in page
    assert ("<h3>Pairs</h3>" in page) == (language in ("de", "auto"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda voice: (voice / "quality.csv").unlink(), "quality.csv is missing"),
        (lambda voice: (voice / "summary.json").unlink(), "summary.json is missing"),
        (lambda voice: (voice / "summary.json").write_text("{}"), "is not a summary"),
        (lambda voice: (voice / "reference.txt").unlink(), "reference.txt is missing"),
        (lambda voice: (voice / "quality.csv").write_text("id,kept\na,True\n"), "quality.csv:2: no column `verdict`"),
        (lambda voice: write_quality(voice / "quality.csv", [row("a", "lost")]), "quality.csv:2: 'lost'"),
        (lambda voice: write_quality(voice / "quality.csv", [row("a"), row("x")]), "quality.csv:3: 'x' is kept but"),
        (lambda voice: write_quality(voice / "quality.csv", [row("a", snr_db="loud")]), "quality.csv:2: .*'loud'"),
    ],
)
def test_files_that_no_stage_writes_are_refused_by_name(
    spoil: Callable[[Path], object], message: str, project: Path, monkeypatch: pytest.MonkeyPatch
):
    spoil(project)
    with pytest.raises(SystemExit, match=message):
        run(monkeypatch)


def test_clips_are_read_with_what_could_be_measured(project: Path):
    by_id = {clip.id: clip for clip in read_voice(project)}
    assert by_id["b"].reasons == ("pause of 2.4 s", "SNR 14.2 dB")
    assert by_id["b"].is_used
    assert by_id["d"].text == ""
    assert not by_id["d"].is_used
    assert by_id["d"].audio
    assert by_id["e"].audio is None
    assert by_id["a"].measures == {"seconds": 4.0, "snr_db": 30.0, "lufs": -23.0}


def test_tiers_say_what_is_short():
    short = {t["name"]: (t["minutes_short"], t["clips_short"]) for t in tiers(Progress(10.0, 200, "minimum"))}
    assert short == {"minimum": (0.0, 0), "good": (5.0, 0), "excellent": (20.0, 100)}


def test_the_way_to_the_next_tier_is_counted_in_sentences_of_the_usual_length():
    assert sentences_to_next_tier(Progress(10.0, 200, "minimum")) == 100  # 5 minutes at 3 s each
    assert sentences_to_next_tier(Progress(14.9, 100, "minimum")) == 50  # clips are what lacks
    _, minutes, count = TIERS[0]
    assert sentences_to_next_tier(Progress(minutes, count, "excellent")) == 0


def test_reasons_that_differ_in_their_figures_only_are_counted_together():
    found = [
        Clip(name, Verdict.DROPPED, (f"clipped in {share}% of its samples",), "", "", {}, None)
        for name, share in (("a", 2.31), ("b", 14))
    ]
    assert reasons(found) == [{"verdict": Verdict.DROPPED, "reason": "clipped in …% of its samples", "ids": ["a", "b"]}]


def test_flagged_clips_are_heard_first_then_dropped_ones_then_the_oddest(project: Path):
    heard = listen_first(read_voice(project), players=9, megabytes=6)
    assert [item["clip"].id for item in heard] == ["b", "d", "a", "c"]
    assert heard[0]["why"] == ["pause of 2.4 s", "SNR 14.2 dB"]


def test_the_oddest_clip_is_told_with_what_is_usual(project: Path):
    audio = next(clip.audio for clip in read_voice(project) if clip.audio)
    noisy = clips([30.0, 31.0, 29.0, 30.5, 12.0, 60.0], audio=audio)
    [first, *_] = listen_first(noisy, players=1, megabytes=6)
    assert first["clip"].id == "c4"  # low is bad, high is not
    assert re.fullmatch(r"Signal to noise 12\.0 dB, usually 30\.\d", first["why"][0])


def test_each_sentence_to_record_adds_to_those_before_it():
    rows = record_next(prompts("en")[:10], "en", count=5)
    assert [r["text"] for r in rows] == prompts("en")[10:15]  # the files are in that order already
    added = [unit for r in rows for unit in r["adds"]]
    assert len(added) == len(set(added))
    before = coverage(prompts("en")[:10], "en")
    after = coverage(prompts("en")[:15], "en")
    assert len(after.covered) == len(before.covered) + len(added)


def test_sounds_are_covered_rare_missing_or_extra():
    covered = coverage(["A boy, a boy, a boy, a toy."], "en")
    presence = {s["unit"]: (s["presence"], s["count"]) for s in singles(covered)}
    assert presence["OY"] == (Presence.COVERED, 4)
    assert presence["T"] == (Presence.RARE, 1)
    assert presence["ZH"] == (Presence.MISSING, 0)
    drawn = matrix(covered)
    assert drawn
    assert sum(drawn["counts"].values()) == len({u for u in covered.aim | covered.counts.keys() if "-" in u})
    assert matrix(coverage(["안녕"], "ko")) is None


def test_a_histogram_counts_every_clip_in_use_and_names_the_median():
    seconds = next(m for m in MEASURES if m.column == "seconds")
    drawn = chart(seconds, clips([1.0, 5.0, 5.0, 6.0, 20.0], "seconds"))
    assert (drawn["low"], drawn["high"], drawn["median"], drawn["outside"]) == ("1.0", "20.0", "5.0", 2)
    assert max(drawn["bars"]) == 1.0
    alone = chart(seconds, clips([4.0], "seconds"))
    assert alone["median"] == "4.0"
