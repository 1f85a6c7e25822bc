"""synthesize, score, compare on fakes that behave: a voice, a recogniser, a speaker encoder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.eval.ballot import Poll
from pipelines.eval.compare import Scored, compare, plot_rows
from pipelines.eval.gate import Outcome
from pipelines.eval.panel import Panel, Recording, held_out_clips, load_panel, metric_names
from pipelines.eval.report import Limits, render
from pipelines.eval.score import Clip, Row, read_rows, recorded, score, takes_of
from pipelines.eval.settings import CODEC, REAL, Eval, Judges, MoreSystem, System, system_names
from pipelines.eval.synthesize import require_speech, synthesize, time_first_audio
from pipelines.eval.takes import Take, Unfinished, read_takes, write_takes
from pipelines.eval.texts import Sentence
from voice.audio import Waveform, write_wav
from voice.errors import InputError
from voice.manifest import Utterance, write_metadata
from voice.table import write_records
from voice.tts import Request, Speech

SETTINGS = Eval(
    text_limit=4, held_out_limit=2, takes=2, seed=10, batch=3, first_audio=2, early_stop_ratio=2.0, floors={},
    resamples=200, sim_margin=0.0, wer_margin=0.05, runaway_margin=0.02, votes=20, players=3, audio_megabytes=5.0,
    next_sentences=2,
)  # fmt: skip
OFFLINE = Judges(
    asr="pocketsphinx", asr_model="", asr_url=None, speaker="resemblyzer", speaker_model="", mos="distillmos"
)
NAMES = {"wer": "wer_pocketsphinx", "cer": "cer_pocketsphinx", "sim": "sim_resemblyzer", "mos": "mos_distillmos"}
SENTENCES = [
    Sentence(f"en_{i:03}", "fixed", "short" if i % 2 else "long", f"This is sentence {'abcdefgh'[i]}.", "")
    for i in range(8)
]
OTHER = "other_speaker"
NO_VOTES = Poll(0, 0, 0)


class Humming:
    """A voice that hums each sentence's length at its own pitch, and cannot say some of them."""

    voice = "me"

    def __init__(self, hertz: float, *, wrong: Mapping[str, Waveform | None] | None = None) -> None:
        self.hertz, self.wrong = hertz, wrong or {}
        self.requests, self.sizes = list[Request](), list[int]()

    def stream(self, request: Request) -> Iterator[Waveform]:
        yield from np.array_split(self.batch([request])[0].waveform, 4)

    def batch(self, requests: Sequence[Request]) -> list[Speech]:
        self.sizes.append(len(requests))
        if any(self.wrong.get(r.text, 0) is None for r in requests):
            raise RuntimeError("cannot")
        self.requests += requests
        return [Speech(self._hum(request.text), runaway=False) for request in requests]

    def _hum(self, text: str) -> Waveform:
        if text in self.wrong:
            return self.wrong[text]  # type: ignore[return-value]
        t = np.arange(1_200 * len(text)) / 24_000
        return (0.3 * np.sin(2 * np.pi * self.hertz * t)).astype(np.float32)


class Deaf:
    """Hears the same words in everything."""

    name = "pocketsphinx"
    identity = "deaf"
    copies = False
    batch = 4

    def transcribe(self, waveform: Waveform) -> str:
        return "this is sentence a"

    def transcribe_all(self, waveforms: Sequence[Waveform]) -> list[str]:
        return [self.transcribe(waveform) for waveform in waveforms]


class PitchEncoder:
    """Two voices are alike if their pitch is. Silence has none: no number."""

    name = "resemblyzer"
    identity = "pitch"

    def embed(self, waveform: Waveform) -> np.ndarray:
        if not waveform.any():
            return np.full(2, np.nan, np.float32)
        hertz = float(np.abs(np.fft.rfft(waveform)).argmax()) * 24_000 / len(waveform)
        angle = hertz / 400 * np.pi / 2
        return np.array([np.cos(angle), np.sin(angle)], np.float32)


class Critic:
    """Likes low voices."""

    name = identity = "distillmos"

    def predict(self, waveform: Waveform) -> float:
        spectrum = np.abs(np.fft.rfft(waveform))
        return 5 - float(spectrum.argmax()) * 24_000 / len(waveform) / 100


def hum(path: Path, hertz: float, text: str = "Held out text.") -> Recording:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_wav(path, Humming(hertz).batch([Request(text, "me")])[0].waveform)
    return Recording(path.stem, text, path)


@pytest.fixture
def held_out(tmp_path: Path) -> list[Recording]:
    return [hum(tmp_path / f"real_{i}.wav", 200) for i in range(2)]


@pytest.fixture
def panel(held_out: list[Recording]) -> Panel:
    return Panel(Deaf(), PitchEncoder(), held_out, memory=None, mos=Critic())


def synthesised(voice: Humming, folder: Path, *, takes: int = 2, batch: int = 3) -> Path:
    folder.mkdir(parents=True)
    made = list(synthesize(voice, SENTENCES, folder, language="en", takes=takes, seed=10, batch=batch))
    write_takes(folder, made)
    return folder


def test_what_an_interrupted_run_has_spoken_is_not_spoken_again(tmp_path: Path):
    whole = synthesised(Humming(200), tmp_path / "whole")

    def speak(voice: Humming, *, stop_after: int | None = None) -> list[Take]:
        so_far = Unfinished.of("me-finetuned", "these weights", root=tmp_path)
        spoken = synthesize(
            voice, SENTENCES, so_far.folder, language="en", takes=2, seed=10, batch=3, done=so_far.takes()
        )
        return [so_far.note(take) for _, take in zip(range(stop_after or 99), spoken, strict=False)]

    speak(Humming(200), stop_after=6)
    (tmp_path / "me-finetuned" / "en_000_0.flac").write_bytes(b"")  # the disk did not get it
    second = Humming(200)
    takes = speak(second)
    assert len(second.requests) == 16 - 5
    key = {(t.sentence, t.take): replace(t, synthesis_seconds=0) for t in takes}
    assert key == {(t.sentence, t.take): replace(t, synthesis_seconds=0) for t in read_takes(whole)}


def test_a_sentence_that_was_edited_meanwhile_is_spoken_anew(tmp_path: Path):
    so_far = Unfinished.of("me-finetuned", "these weights", root=tmp_path)
    spoken = synthesize(Humming(200), SENTENCES, so_far.folder, language="en", takes=1, seed=10, batch=3)
    for take in spoken:
        so_far.note(take)
    edited = [replace(SENTENCES[0], text="A quite different text."), *SENTENCES[1:]]
    voice = Humming(200)
    takes = list(
        synthesize(voice, edited, so_far.folder, language="en", takes=1, seed=10, batch=3, done=so_far.takes())
    )
    assert [request.text for request in voice.requests] == ["A quite different text."]
    assert {take.text for take in takes} == {sentence.text for sentence in edited}


def test_nothing_that_other_weights_have_spoken_is_kept(tmp_path: Path):
    so_far = Unfinished.of("me-finetuned", "these weights", root=tmp_path)
    write_wav(so_far.folder / "a.wav", np.zeros(24_000, np.float32))
    so_far.note(Take("a", "fixed", "short", "A.", "", 0, 1, audio="a.wav", seconds=1.0))
    assert Unfinished.of("me-finetuned", "these weights", root=tmp_path).takes()
    assert not Unfinished.of("me-finetuned", "other weights", root=tmp_path).takes()
    assert not Unfinished.of("me-finetuned", "these weights", root=tmp_path).takes()


def judged(clips: Sequence[Clip], panel: Panel) -> list[Row]:
    return list(score(clips, panel, language="en", early_stop_pace=40.0))


def test_every_system_gets_the_same_texts_and_seeds_whatever_the_batch(tmp_path: Path):
    one, other = Humming(200), Humming(210)
    synthesised(one, tmp_path / "one", batch=3)
    synthesised(other, tmp_path / "other", batch=16)
    assert [(r.text, r.seed) for r in one.requests] == [(r.text, r.seed) for r in other.requests]
    assert len({r.seed for r in one.requests}) == 16
    assert (one.sizes, other.sizes) == ([3, 3, 3, 3, 3, 1], [16])


def test_one_sentence_that_fails_costs_its_batch_nothing(tmp_path: Path, panel: Panel):
    folder = synthesised(Humming(200, wrong={SENTENCES[2].text: None}), tmp_path / "system", batch=8)
    assert [t.sentence for t in read_takes(folder) if t.error] == ["en_002"] * 2
    rows = judged(takes_of(folder), panel)
    assert len(rows) == 16
    failed = [row for row in rows if row.error]
    found = [(row.sentence, row.wer, row.sim, row.mos, row.error) for row in failed]
    assert found == [("en_002", 1.0, 0.0, 1.0, "cannot")] * 2


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.full(999, np.nan, np.float32)])
def test_no_audio_and_audio_that_is_no_number_are_failures(tmp_path: Path, samples: Waveform):
    folder = synthesised(Humming(200, wrong={SENTENCES[2].text: samples}), tmp_path / "system")
    assert [t.sentence for t in read_takes(folder) if t.error] == ["en_002"] * 2


def test_silence_is_nobody_and_not_understood_whatever_a_judge_makes_of_it(tmp_path: Path, panel: Panel):
    folder = synthesised(Humming(200, wrong={SENTENCES[0].text: np.zeros(9_600, np.float32)}), tmp_path / "system")
    silent = [row for row in judged(takes_of(folder), panel) if row.sentence == "en_000"]
    assert [(row.silent, row.wer, row.sim) for row in silent] == [(True, 1.0, 0.0)] * 2
    assert all(row.cer >= 1.0 and row.errors >= row.words > 0 for row in silent)


def test_what_is_said_in_no_time_stopped_early(tmp_path: Path, panel: Panel):
    short = 0.3 * np.sin(2 * np.pi * 200 * np.arange(4_800) / 24_000).astype(np.float32)
    folder = synthesised(Humming(200, wrong={SENTENCES[1].text: short}), tmp_path / "system")
    assert {row.sentence for row in judged(takes_of(folder), panel) if row.early_stop} == {"en_001"}


def test_first_audio_is_timed_on_the_first_takes_of_a_few_sentences(tmp_path: Path):
    takes = read_takes(synthesised(Humming(200), tmp_path / "system"))
    timed = time_first_audio(Humming(200), takes, language="en", sentences=2)
    found = [(t.sentence, t.take) for t in timed if t.first_audio_seconds is not None]
    assert found == [("en_000", 0), ("en_001", 0)]


def test_a_held_out_clip_is_never_compared_with_itself_nor_is_its_round_trip(tmp_path: Path):
    clips = [hum(tmp_path / f"{name}.wav", hertz) for name, hertz in (("a", 200), ("b", 300))]
    panel = Panel(Deaf(), PitchEncoder(), clips, memory=None)
    one, other = panel.embed([clip.path for clip in clips])
    between = pytest.approx([float(one @ other)] * 2, abs=1e-3)
    assert [row.sim for row in judged(recorded(clips, "held_out"), panel)] == between
    (tmp_path / CODEC).mkdir()
    takes = [Take(c.id, "held_out", "", c.text, "", 0, 0, audio=f"../{c.path.name}", seconds=1.0) for c in clips]
    write_takes(tmp_path / CODEC, takes)
    assert [row.sim for row in judged(takes_of(tmp_path / CODEC), panel)] == between


def scored(tmp_path: Path, panel: Panel, held_out: Sequence[Recording], pitches: Mapping[str, float]) -> Scored:
    rows = {}
    for name, hertz in pitches.items():
        clips = takes_of(synthesised(Humming(hertz), tmp_path / "audio" / name)) if name in list(System) else None
        made = clips or recorded([hum(tmp_path / f"{name}/{i}.wav", hertz) for i in range(2)], name)
        if name == REAL:
            made = recorded(held_out, "held_out")
        write_records(tmp_path / f"{name}.csv", Row, judged(made, panel))
        rows[name] = read_rows(tmp_path / f"{name}.csv")
    return Scored(rows, list(System))


PITCHES = {
    System.ZERO_SHOT: 300.0, System.ZERO_SHOT_EMBEDDING: 320.0, System.FINETUNED: 220.0,
    System.FINETUNED_IN_CONTEXT: 230.0, REAL: 200.0, CODEC: 205.0, OTHER: 390.0,
}  # fmt: skip


def test_the_voice_that_is_nearer_wins_and_the_page_says_so(tmp_path: Path, panel: Panel, held_out: list[Recording]):
    ones = scored(tmp_path, panel, held_out, PITCHES)
    metrics, headline, decision = compare(ones, SETTINGS, NAMES, NO_VOTES)
    assert decision.outcome is Outcome.FINETUNED_WINS
    sims = {name: f["sim_resemblyzer"] for group in ("systems", "bounds") for name, f in metrics[group].items()}
    assert sorted(sims, key=sims.__getitem__, reverse=True) == sorted(PITCHES, key=PITCHES.__getitem__)
    assert metrics["bounds"][REAL]["speaking_rate_ratio"] == 1.0
    tuned = metrics["systems"][System.FINETUNED]
    assert {"runaway_share", "rtf", "early_stop_share", "silent_share"} <= tuned.keys()
    assert tuned["pitch_difference_semitones"] == pytest.approx(12 * np.log2(220 / 200), abs=0.7)
    assert set(tuned["by_kind"]) == {"short", "long"}
    assert "rtf" not in metrics["bounds"][REAL]
    change = metrics["difference_to_zero_shot"][System.FINETUNED]["sim_resemblyzer"]
    assert change["low"] > 0
    assert change["holm_p"] >= change["wilcoxon_p"] == pytest.approx(2 / 2**8)
    assert headline["verdict"] == "fine-tuned wins"
    assert headline["finetuned_minus_zero_shot"]["sim_resemblyzer"]["mean"] == pytest.approx(change["mean"])
    assert len(plot_rows(metrics, NAMES)) == len(NAMES) * len(PITCHES)
    assert metrics["bounds"][REAL]["mos_distillmos"] > tuned["mos_distillmos"] > 1

    metrics["texts"] = {"language": "en", "sentences": 8, "version": "v"}
    write_metadata(tmp_path / "train.csv", [Utterance("t", "Something was said before.")])
    limits = Limits(players=3, audio_megabytes=5.0, next_sentences=2)
    page = render("me", "en", metrics, ones.rows, names=NAMES, spoken=tmp_path / "train.csv", limits=limits)
    assert "Fine-tuned wins" in page
    assert page.count("<audio") == page.count("data:audio/mpeg;base64,") == 2 + 3 * 2  # you twice, three sentences
    assert "http:" not in page  # offline
    assert "https:" not in page


def test_equal_voices_show_no_difference_and_zero_shot_ships(tmp_path: Path, panel: Panel, held_out: list[Recording]):
    ones = scored(tmp_path, panel, held_out, dict.fromkeys(PITCHES, 250.0))
    metrics, _, decision = compare(ones, SETTINGS, NAMES, NO_VOTES)
    assert decision.outcome is Outcome.NO_DIFFERENCE
    assert metrics["decision"]["winner"] == System.ZERO_SHOT
    _, _, voted = compare(ones, SETTINGS, NAMES, Poll(won=18, lost=4, tied=3))
    assert voted.outcome is Outcome.FINETUNED_WINS


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
    assert metric_names(replace(OFFLINE, asr=asr, asr_model=model))["wer"] == name


def test_a_judge_that_cannot_load_names_the_offline_ones(tmp_path: Path):
    for broken in (
        {"asr": "whisper", "asr_model": str(tmp_path / "none")},
        {"speaker": "wavlm", "speaker_model": "./"},
    ):
        with pytest.raises(InputError, match="judges: offline"):
            load_panel(replace(OFFLINE, **broken), [], language="en", memory=None)


def test_a_judge_that_gives_no_number_is_found_before_anything_is_spoken(tmp_path: Path):
    clips = [hum(tmp_path / "a.wav", 200), hum(tmp_path / "b.wav", 200)]
    write_wav(clips[1].path, np.zeros(24_000, np.float32))
    with pytest.raises(InputError, match="gives no number"):
        Panel(Deaf(), PitchEncoder(), clips, memory=None).try_out(clips[0])


@pytest.mark.parametrize("name", ["real", "finetuned", "a b", "_a", "other"])
def test_a_system_needs_a_name_of_its_own(name: str):
    floors = {"other": "data/other_speaker"}
    assert system_names({"mine": MoreSystem(checkpoint="models/x")}, floors) == [*System, "mine"]
    with pytest.raises(InputError, match="taken or not a plain name"):
        system_names({name: MoreSystem(checkpoint="models/x")}, floors)


def test_a_system_of_which_most_takes_failed_is_no_baseline_to_win_against():
    take = Take("a", "fixed", "", "Text.", "Text.", 0, 1)
    failed = replace(take, error="CUDA error")
    assert require_speech([take, failed], "zero_shot") == [take, failed]
    with pytest.raises(InputError, match="zero_shot: 2 of 3 takes failed, the first with: CUDA error"):
        require_speech([take, failed, failed], "zero_shot")


def test_one_held_out_clip_is_refused_with_what_to_do(tmp_path: Path):
    write_metadata(tmp_path / "metadata_eval.csv", [Utterance("a", "Held out.")])
    with pytest.raises(InputError, match=r"one held-out clip.*Raise eval_share"):
        held_out_clips(tmp_path)
