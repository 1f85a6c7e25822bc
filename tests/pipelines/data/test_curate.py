from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from pipelines.data.clips import Clip
from pipelines.data.curate import Case, curate
from pipelines.data.measurements import Measured, read_measurements, write_measurements
from pipelines.data.quality import Quality
from pipelines.data.review import Decision
from pipelines.data.rules import Limits, foreign_script
from pipelines.data.transcripts import Origin, Transcript
from voice.stage import CONF

SHIPPED = OmegaConf.load(CONF / "data/curate.yaml")
LIMITS = Limits(**{str(name): value for name, value in SHIPPED.items()})
GOOD = Quality(
    seconds=4.0, lufs=-25.0, peak_dbfs=-6.0, clipped_share=0.0, dc_offset=0.0, clicks=0, snr_db=35.0, snr_gain_db=0.0,
    hum_db=3.0, bandwidth_hz=12_000.0, reverberation_seconds=0.25, longest_pause_seconds=0.3, low_level_share=0.3,
)  # fmt: skip


def case(
    name: str = "a", *, text: str | None = None, rate: float | None = 0.1, decision: str = "", **changed: object
) -> Case:
    text = f"This is sentence {name}, which says a little more." if text is None else text
    transcript = Transcript(name, text, Origin.WRITTEN, "something heard", rate, Decision(decision))
    quality = replace(GOOD, **changed)  # type: ignore[arg-type]
    return Case(Clip(name, name, f"wavs/{name}.wav", text), Measured(name, "", f"digest {name}", quality), transcript)


def curated(*cases: Case, language: str = "en") -> dict[str, Case]:
    curate(cases, LIMITS, language=language)
    return {c.id: c for c in cases}


def test_a_good_clip_is_kept_without_a_word():
    good = curated(case())["a"]
    assert (good.verdict, good.findings) == ("kept", [])


@pytest.mark.parametrize(
    ("changed", "verdict", "says"),
    [
        ({"seconds": 0.3}, "dropped", "shorter"),
        ({"seconds": 31.0}, "dropped", "longer"),
        ({"longest_pause_seconds": 2.4}, "flagged", "pause of 2.4 s"),
        ({"lufs": -65.0}, "dropped", "almost silent"),
        ({"clipped_share": 0.02}, "dropped", "clipped in 2.00%"),
        ({"clipped_share": 0.001}, "flagged", "clipped in 0.10%"),
        ({"clicks": 3}, "flagged", "3 clicks"),
        ({"dc_offset": 0.05}, "flagged", "DC offset"),
        ({"snr_db": 8.0}, "dropped", "SNR 8 dB"),
        ({"snr_db": 14.0}, "flagged", "SNR 14 dB"),
        ({"hum_db": 20.0}, "flagged", "mains hum"),
        ({"bandwidth_hz": 3_900.0}, "dropped", "telephone"),
        ({"bandwidth_hz": 7_900.0}, "flagged", "above 7.9 kHz"),
        ({"reverberation_seconds": 0.8}, "flagged", "reverberant"),
        ({"reverberation_seconds": None}, "kept", ""),
        ({"low_level_share": 0.01}, "dropped", "music"),
        ({"text": ""}, "dropped", "no text"),
        ({"text": "Сегодня хорошая погода."}, "dropped", "cyrillic letters"),
        ({"decision": "drop"}, "dropped", "by its owner"),
        ({"decision": "keep", "snr_db": 8.0}, "kept", "SNR"),
    ],
)
def test_a_finding_names_its_measurement(changed: dict[str, object], verdict: str, says: str):
    found = curated(case(**changed))["a"]  # type: ignore[arg-type]
    assert found.verdict == verdict
    assert says in "; ".join(f.reason for f in found.findings)


def test_the_best_take_of_a_sentence_stays():
    takes = [
        case(n, text=t, snr_db=snr)
        for n, t, snr in (("a", "Once more.", 30.0), ("b", "once more", 36.0), ("c", "Once more!", 33.0))
    ]
    found = curated(*takes, case("other"))
    assert [name for name, c in found.items() if c.verdict != "dropped"] == ["b", "other"]
    assert "another take of the same sentence as b" in found["a"].findings[0].reason


def test_a_take_that_the_owner_keeps_is_no_rival():
    found = curated(case("a", text="Once more."), case("b", text="Once more.", decision="keep"))
    assert {c.verdict for c in found.values()} == {"kept"}


def test_copies_of_a_recording_count_once():
    one, two = case("a"), case("b")
    two.measured = replace(two.measured, digest=one.measured.digest)
    found = curated(one, two)
    assert (found["a"].verdict, found["b"].verdict) == ("kept", "dropped")
    assert "the same recording as a" in found["b"].findings[0].reason


def test_an_odd_pace_is_flagged():
    usual = [case(f"c{i}", seconds=4.0 + 0.05 * i) for i in range(20)]
    found = curated(*usual, case("words_missing", seconds=12.0))
    assert [c.id for c in found.values() if c.verdict == "flagged"] == ["words_missing"]


def test_a_weak_recogniser_disputes_everything_and_condemns_nothing():
    all_bad = [case(f"c{i}", rate=0.6 + 0.01 * (i % 5)) for i in range(20)]
    assert {c.verdict for c in curated(*all_bad).values()} == {"kept"}


def test_a_clip_that_says_something_else_is_dropped():
    found = curated(
        *[case(f"c{i}", rate=0.1 + 0.01 * (i % 5)) for i in range(20)], case("wrong", rate=1.0), case("odd", rate=0.7)
    )
    assert (found["wrong"].verdict, found["odd"].verdict) == ("dropped", "flagged")
    assert "“something heard” was heard" in found["wrong"].findings[0].reason


def test_an_unread_transcript_and_a_cut_without_a_pause_are_flagged():
    heard, cut = case("a"), case("b")
    heard.transcript = replace(heard.transcript, origin=Origin.HEARD)
    cut.clip = replace(cut.clip, between_pauses=False)
    assert {c.verdict for c in curated(heard, cut).values()} == {"flagged"}


def test_another_speakers_clip_is_dropped_and_a_second_voice_flagged():
    draw = np.random.default_rng(0)
    cases = [case(f"c{i:02}") for i in range(60)]
    for one in cases:
        one.measured = replace(one.measured, timbres=draw.normal(0, 1, (3, 20)))
    cases[7].measured = replace(cases[7].measured, timbres=draw.normal(9, 1, (3, 20)))
    part = draw.normal(0, 1, (3, 20))
    part[2] += 9
    cases[9].measured = replace(cases[9].measured, timbres=part)
    found = curated(*cases)
    assert found["c07"].verdict == "dropped"
    assert found["c09"].verdict == "flagged"
    assert sum(c.verdict == "kept" for c in cases) == 58


@pytest.mark.parametrize(
    ("text", "language", "script"),
    [
        ("Plain English, café.", "en", None),
        ("Привет, мир", "en", "cyrillic"),
        ("Привет, мир", "ru", None),
        ("今日は good です", "ja", None),
        ("Hello there", "zh", "latin"),
        ("안녕하세요", "ko", None),
        ("Hello", "auto", None),
        ("12 + 3!", "en", None),
    ],
)
def test_a_text_in_another_script_than_its_language_is_noticed(text: str, language: str, script: str | None):
    assert foreign_script(text, language) == script


def test_measurements_read_back_as_written(tmp_path: Path):
    rows = [
        Measured("a", "", "d", GOOD, np.ones((2, 20), np.float32)),
        Measured("b", "", "e", replace(GOOD, reverberation_seconds=None), np.zeros((1, 20), np.float32)),
        Measured("c", "is empty."),
    ]
    write_measurements(tmp_path, rows)
    for one, other in zip(rows, read_measurements(tmp_path), strict=True):
        assert replace(one, timbres=None) == replace(other, timbres=None)
        np.testing.assert_array_equal(one.timbres, other.timbres)  # type: ignore[arg-type]
