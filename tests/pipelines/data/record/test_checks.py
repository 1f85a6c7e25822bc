"""Each thing that can be wrong with a take is found, named, and not found in a good one."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from pipelines.data.record.checks import Finding, Severity, check, measure
from pipelines.data.record.take import Take, decode
from pipelines.data.record.words import check_words, open_recogniser
from tests.pipelines.data.record.conftest import LIMITS, RATE, room, spoken, wav
from voice.audio import Waveform
from voice.errors import InputError
from voice.stage import CONF


def found(samples: np.ndarray, *, rate: int = RATE) -> dict[str, Finding]:
    take = decode(wav(samples, rate=rate), max_seconds=60.0)
    return {f.kind: f for f in check(measure(take, LIMITS), take.rate, LIMITS)}


def pause(seconds: float) -> np.ndarray:
    return np.concatenate([spoken(2.0, after=0.0), room(seconds), spoken(2.0, before=0.0)])


GOOD = spoken()


def dropped(at: float, seconds: float) -> np.ndarray:
    """What a browser delivers that misses a moment: zeros in its place."""
    samples = GOOD.copy()
    samples[round(at * RATE) : round((at + seconds) * RATE)] = 0
    return samples


WRONG = {
    "clipped": 12 * GOOD,
    "quiet": 0.1 * GOOD,
    "noisy": GOOD + room(5.0, level=0.022),
    "cut_start": GOOD[RATE * 6 // 10 :],
    "cut_end": GOOD[: -RATE * 6 // 10],
    "short": spoken(1.5),
    "long": spoken(16.0),
    "pause": pause(2.5),
    "dropout": dropped(2.12, 0.01),
}


@pytest.mark.parametrize("rate", [24_000, 44_100, 48_000, 96_000])
def test_nothing_is_wrong_with_a_good_take_at_any_rate(rate: int):
    assert found(spoken(rate=rate), rate=rate) == {}


@pytest.mark.parametrize("kind", WRONG)
def test_a_bad_take_is_warned_of_in_one_sentence_with_the_remedy(kind: str):
    findings = found(WRONG[kind])
    assert set(findings) == {kind}
    assert findings[kind].severity is Severity.WARN
    assert findings[kind].message[0].isupper()
    assert findings[kind].message.endswith(".")
    assert "\n" not in findings[kind].message


@pytest.mark.parametrize(
    "silent",
    [np.zeros(3 * RATE, np.float32), room(3.0), room(3.0, level=0.01), np.zeros(7, np.float32)],
    ids=["muted", "empty room", "fan", "seven samples"],
)
def test_a_take_without_a_voice_is_refused_and_nothing_else_is_said(silent: np.ndarray):
    findings = found(silent)
    assert set(findings) == {"silence"}
    assert findings["silence"].severity is Severity.REFUSE


def test_a_telephone_headset_is_warned_of():
    assert set(found(spoken(rate=16_000), rate=16_000)) == {"rate"}


def test_a_pause_that_is_allowed_is_not_mentioned():
    assert found(pause(1.5)) == {}


def test_a_moment_that_is_missing_in_silence_does_no_harm():
    assert found(dropped(0.2, 0.01)) == {}


def test_the_click_of_a_key_is_neither_speech_nor_a_cut():
    clicked = GOOD.copy()
    for at in (0, len(clicked) - RATE // 50):
        clicked[at : at + RATE // 50] += 0.3 * room(0.02, level=1.0)  # 20 ms
    assert found(clicked) == {}
    clicks, plain = (measure(Take(s, RATE), LIMITS) for s in (clicked, GOOD))
    assert clicks.speech_seconds == pytest.approx(plain.speech_seconds, abs=0.05)


def test_a_take_measures_what_it_was_made_of():
    measured = measure(Take(GOOD, RATE), LIMITS)
    assert measured.seconds == 5.0
    assert measured.speech_seconds == pytest.approx(4.0, abs=0.15)
    assert measured.peak_dbfs == pytest.approx(20 * np.log10(np.abs(GOOD).max()), abs=1e-6)
    assert measured.noise_floor_dbfs == pytest.approx(-70, abs=2)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_uncompressed_takes_are_decoded_as_they_are(subtype: str):
    take = decode(wav(GOOD, subtype=subtype), max_seconds=60.0)
    assert take.rate == RATE
    np.testing.assert_allclose(take.samples, GOOD, atol=1 / 32_767)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a WAV"),
        (b"RIFF....WAVE", "not a WAV"),
        (b"<html>", "not a WAV"),
        (wav(GOOD, container="FLAC"), "FLAC"),
        (wav(GOOD, subtype="FLOAT"), "FLOAT"),
        (wav(np.stack([GOOD, GOOD], axis=1)), "2 channels"),
        (wav(GOOD[:0]), "no samples"),
        (wav(GOOD, rate=4_000), "4000 samples a second"),
        (wav(np.tile(GOOD, 13)), "longer than 60 s"),
    ],
)
def test_what_is_not_a_take_is_refused(content: bytes, says: str):
    with pytest.raises(InputError, match=says):
        decode(content, max_seconds=60.0)


class Hears:
    """A recogniser that hears the same in everything."""

    name = "hears"

    def __init__(self, words: str) -> None:
        self._words = words

    def transcribe(self, waveform: Waveform) -> str:
        return self._words


@pytest.mark.parametrize(
    ("text", "heard", "language", "wrong"),
    [
        ("Who opened the gate?", "who opened the gate", "en", False),
        ("Who opened the gate?", "who closed the gate", "en", False),  # a weak recogniser mishears a word
        ("Who opened the gate?", "first the kettle sang", "en", True),
        ("Who opened the gate?", "", "en", True),
        ("今天天气很好。", "今天天气很好", "zh", False),
        ("今天天气很好。", "我们明天再见", "zh", True),
    ],
)
def test_other_words_than_the_sentence_are_warned_of(text: str, heard: str, language: str, wrong: bool):
    findings = check_words(Take(GOOD, RATE), text, recogniser=Hears(heard), language=language, max_wer=LIMITS.max_wer)
    assert [f.kind for f in findings] == (["words"] if wrong else [])
    assert all(heard in f.message for f in findings)


def test_a_recogniser_is_optional_and_its_name_is_checked():
    assert open_recogniser(LIMITS, language="en") is None
    with pytest.raises(InputError, match=r"none, pocketsphinx or whisper"):
        open_recogniser(replace(LIMITS, asr="ears"), language="en")


def test_pocketsphinx_hears_the_demo_voice_and_misses_its_words_in_silence():
    recogniser = open_recogniser(replace(LIMITS, asr="pocketsphinx"), language="en")
    assert recogniser
    samples, rate = soundfile.read(CONF.parent / "data/raw/demo/wavs/demo_001.flac", dtype="float32", always_2d=True)
    spoken = Take(samples.mean(axis=1), rate)
    text = "The morning bus was late again, so we walked along the river instead."
    options = {"recogniser": recogniser, "language": "en", "max_wer": LIMITS.max_wer}
    assert check_words(spoken, text, **options) == []
    [silent] = check_words(Take(np.zeros(RATE, np.float32), RATE), text, **options)
    assert silent.kind == "words"
