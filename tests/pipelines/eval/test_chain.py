"""synthesize, score, compare on fakes that behave: a voice, a recogniser, a speaker encoder."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.eval.compare import compare, metric_names, read_scores
from pipelines.eval.gate import Outcome
from pipelines.eval.report import render
from pipelines.eval.score import Judges, Row, load_judges, score_recordings, score_system, write_rows
from pipelines.eval.settings import Eval, System
from pipelines.eval.synthesize import Sentence, Take, read_sentences, synthesize
from voice.audio import Waveform, write_wav
from voice.errors import InputError
from voice.manifest import Utterance, write_metadata
from voice.tts import Request, Speech

SETTINGS = Eval(
    text_limit=4, held_out_limit=2, takes=2, seed=10, asr="pocketsphinx", asr_model="", asr_url=None,
    speaker="resemblyzer", speaker_model="", other_speaker="", resamples=200, wer_margin=0.05, players=3,
)  # fmt: skip
SENTENCES = [Sentence(f"fixed_{i:03}", "fixed", f"This is sentence {'abcdefgh'[i]}.") for i in range(8)]


class Humming:
    """A voice that hums each sentence's length at its own pitch, and cannot say one of them."""

    voice = "me"

    def __init__(self, hertz: float, *, cannot_say: str = "") -> None:
        self.hertz, self.cannot_say, self.requests = hertz, cannot_say, list[Request]()

    def stream(self, request: Request) -> Iterator[Waveform]:
        raise NotImplementedError

    def batch(self, requests: Sequence[Request]) -> list[Speech]:
        self.requests += requests
        [request] = requests
        if request.text == self.cannot_say:
            raise RuntimeError("cannot")
        t = np.arange(1_200 * len(request.text)) / 24_000
        return [Speech((0.3 * np.sin(2 * np.pi * self.hertz * t)).astype(np.float32), runaway=False)]


class Deaf:
    """Hears the same words in everything."""

    name = "pocketsphinx"
    copies = False

    def transcribe(self, waveform: Waveform) -> str:
        return "this is sentence a"


class PitchEncoder:
    """Two voices are alike if their pitch is."""

    name = "resemblyzer"

    def embed(self, waveform: Waveform) -> np.ndarray:
        hertz = float(np.abs(np.fft.rfft(waveform)).argmax()) * 24_000 / len(waveform)
        angle = hertz / 400 * np.pi / 2
        return np.array([np.cos(angle), np.sin(angle)], np.float32)


@pytest.fixture
def judges(tmp_path: Path) -> Judges:
    encoder = PitchEncoder()
    hum = Humming(200)
    held_out = {f"real_{i}": encoder.embed(hum.batch([Request("held out text", "me")])[0].waveform) for i in range(2)}
    return Judges(Deaf(), encoder, held_out)


def synthesised(voice: Humming, folder: Path, *, takes: int = 2) -> Path:
    folder.mkdir(parents=True)
    made = list(synthesize(voice, SENTENCES, folder, language="en", takes=takes, seed=10))
    with (folder / "utterances.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(Take.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(take) for take in made)
    return folder


def test_every_system_gets_the_same_texts_and_seeds(tmp_path: Path):
    one, other = Humming(200), Humming(210, cannot_say=SENTENCES[2].text)
    synthesised(one, tmp_path / "one")
    synthesised(other, tmp_path / "other")
    assert [(r.text, r.seed) for r in one.requests] == [(r.text, r.seed) for r in other.requests]
    assert len({r.seed for r in one.requests}) == 16


def test_a_sentence_that_fails_counts_as_not_understood_and_keeps_its_row(tmp_path: Path, judges: Judges):
    folder = synthesised(Humming(200, cannot_say=SENTENCES[2].text), tmp_path / "system")
    rows = list(score_system(folder, judges))
    assert len(rows) == 16
    failed = [row for row in rows if row.error]
    assert [(row.sentence, row.wer, row.sim, row.error) for row in failed] == [("fixed_002", 1.0, 0.0, "cannot")] * 2


def test_a_held_out_clip_is_never_compared_with_itself(tmp_path: Path):
    encoder = PitchEncoder()
    hums = {
        name: Humming(hertz).batch([Request("held out text", "me")])[0].waveform
        for name, hertz in (("a", 200), ("b", 300))
    }
    for name, waveform in hums.items():
        write_wav(tmp_path / f"{name}.wav", waveform)
    judges = Judges(Deaf(), encoder, {name: encoder.embed(w) for name, w in hums.items()})
    clips = [(name, "Text.", tmp_path / f"{name}.wav") for name in hums]
    between = float(np.dot(encoder.embed(hums["a"]), encoder.embed(hums["b"])))
    assert [row.sim for row in score_recordings(clips, judges, origin="real")] == pytest.approx([between] * 2, abs=1e-3)


def scored(tmp_path: Path, judges: Judges, pitches: dict[str, float]) -> dict[str, list[dict[str, str]]]:
    scores = {}
    for name, hertz in pitches.items():
        folder = synthesised(Humming(hertz), tmp_path / "audio" / name)
        rows = list(score_system(folder, judges))
        if name in ("real", "other_speaker"):
            rows = [replace(row, rtf=None) for row in rows]
        write_rows(tmp_path / f"{name}.csv", rows)
        scores[name] = read_scores(tmp_path / f"{name}.csv")
    return scores


def test_the_voice_that_is_nearer_wins_and_the_page_says_so(
    tmp_path: Path, judges: Judges, monkeypatch: pytest.MonkeyPatch
):
    pitches = {
        System.ZERO_SHOT: 300.0,
        System.ZERO_SHOT_EMBEDDING: 320.0,
        System.FINETUNED: 220.0,
        "real": 200.0,
        "other_speaker": 390.0,
    }
    scores = scored(tmp_path, judges, pitches)
    metrics, decision = compare(scores, SETTINGS)
    assert decision.outcome is Outcome.FINETUNED_WINS
    systems = metrics["systems"]
    sims = {name: systems[name]["sim_resemblyzer"] for name in pitches}
    assert sorted(sims, key=sims.__getitem__) == [
        "other_speaker",
        "zero_shot_embedding",
        "zero_shot",
        "finetuned",
        "real",
    ]
    assert systems["real"]["speaking_rate_ratio"] == 1.0
    assert {"runaway_share", "rtf"} <= systems["finetuned"].keys()
    assert "rtf" not in systems["real"]

    names = {"wer": "wer_pocketsphinx", "cer": "cer_pocketsphinx", "sim": "sim_resemblyzer"}
    page = render("me", metrics, scores, names=names, players=3)
    assert "Fine-tuned wins" in page
    assert page.count("<audio") == page.count("data:audio/mpeg;base64,") >= 9
    assert "http" not in page  # offline


def test_equal_voices_show_no_difference_and_zero_shot_ships(tmp_path: Path, judges: Judges):
    pitches = dict.fromkeys([*System, "real", "other_speaker"], 250.0)
    metrics, decision = compare(scored(tmp_path, judges, pitches), SETTINGS)
    assert decision.outcome is Outcome.NO_DIFFERENCE
    assert metrics["decision"]["winner"] == System.ZERO_SHOT


@pytest.mark.parametrize(
    ("asr", "model", "name"),
    [
        ("pocketsphinx", "openai/whisper-large-v3", "wer_pocketsphinx"),
        ("whisper", "openai/whisper-large-v3", "wer_whisper_large_v3"),
        ("whisper", "/models/whisper-large-v3/", "wer_whisper_large_v3"),
        ("http", "nvidia/some-asr-0.6b", "wer_some_asr_0_6b"),
    ],
)
def test_a_metric_has_the_name_of_who_judged(asr: str, model: str, name: str):
    settings = replace(SETTINGS, asr=asr, asr_model=model, asr_url="http://127.0.0.1:9")
    assert metric_names(settings)["wer"] == name
    if asr == "http":
        load_judges(settings, [], language="en")  # takes the address from conf/eval/


def test_texts_are_the_fixed_set_and_each_held_out_sentence_once(tmp_path: Path):
    takes = [Utterance("a1", "Said twice."), Utterance("a2", "said twice"), Utterance("b", "Said once.")]
    write_metadata(tmp_path / "eval.csv", takes)
    sentences = read_sentences("en", tmp_path / "eval.csv", text_limit=24, held_out_limit=6)
    assert [s.origin for s in sentences].count("fixed") == 24
    assert [s.id for s in sentences if s.origin == "held_out"] == ["a1", "b"]
    assert len({s.id for s in sentences}) == len({s.text for s in sentences}) == 26


def test_a_language_without_texts_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no evaluation texts"):
        read_sentences("xx", tmp_path / "eval.csv", text_limit=1, held_out_limit=1)


def test_rows_survive_their_file(tmp_path: Path):
    row = Row(
        "s", "fixed", 0, 'A "quoted", text\nof two lines', "heard", 0.5, 0.25, 0.75, 1.0, 12.0, False, 0.1, "a.flac", ""
    )
    write_rows(tmp_path / "rows.csv", [row])
    [read] = read_scores(tmp_path / "rows.csv")
    assert read["text"] == row.text
    assert float(read["sim"]) == 0.75
