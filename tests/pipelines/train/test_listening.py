"""What is said during a training, who hears it, and what follows from it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from accelerate import Accelerator
from peft.tuners.lora import LoraLayer

from pipelines.data.record import words
from pipelines.eval import texts as evaluation_texts
from pipelines.train.choice import kept
from pipelines.train.ears import Ears
from pipelines.train.listening import (
    SENTENCES,
    Heard,
    Judges,
    Sentence,
    fixed_sentences,
    listen,
    load_judges,
    untrained_sentences,
)
from pipelines.train.prepare import Prepared, fit_memory, prepare
from pipelines.train.settings import Checkpointing, Train
from tests.pipelines.train.voices import FULL, LISTEN, LORA, Voice, heard
from tests.sounds import speechlike
from voice.audio import Waveform, read_waveform
from voice.text import LANGUAGES, same_text_key
from voice.tts import Request, Speech


def test_every_language_has_three_sentences_that_nobody_records_or_is_tested_on():
    texts = yaml.safe_load(SENTENCES.read_text(encoding="utf-8"))
    assert set(texts) == set(LANGUAGES) - {"auto"}
    prompts = Path(words.__file__).parent.parent / "prompts"
    elsewhere = [line for path in prompts.glob("*.txt") for line in path.read_text(encoding="utf-8").splitlines()]
    elsewhere += [s.text for code in texts for s in evaluation_texts.fixed_sentences(code)]
    known = {same_text_key(line) for line in elsewhere}
    for language, sentences in texts.items():
        assert len(sentences) == 3
        assert [s.text for s in fixed_sentences(language)] == sentences
        assert not known & {same_text_key(s) for s in sentences}


def test_other_languages_and_instructions_are_what_was_not_trained():
    asked = untrained_sentences("en", instructions=True)
    assert {s.language for s in asked} == set(LANGUAGES) - {"auto"}
    assert [s.id for s in asked if s.instruct] == ["instruct"]
    assert not [s for s in untrained_sentences("en", instructions=False) if s.instruct or s.language == "en"]


class Parrot:
    """Says everything in two seconds, and never ends what contains `never`."""

    voice = "me"

    def __init__(self, waveform: Waveform) -> None:
        self._waveform = waveform

    def batch(self, requests: Sequence[Request]) -> list[Speech]:
        return [Speech(self._waveform, runaway="never" in r.text) for r in requests]

    def stream(self, request: Request):  # type: ignore[no-untyped-def]
        raise NotImplementedError


class Hears:
    """Hears the same words in everything."""

    name, identity, copies, batch = "hears", "hears", False, 2

    def transcribe(self, waveform: Waveform) -> str:
        return "one two three"

    def transcribe_all(self, waveforms: Sequence[Waveform]) -> list[str]:
        return [self.transcribe(waveform) for waveform in waveforms]


class Level:
    """Tells voices apart by their loudness."""

    name = identity = "level"

    def embed(self, waveform: Waveform) -> np.ndarray:
        angle = 10 * float(np.sqrt(np.mean(waveform**2)))
        return np.array([np.cos(angle), np.sin(angle)], np.float32)


def test_what_is_said_is_judged_against_the_text_the_owner_and_the_owners_pace(tmp_path: Path):
    owner = speechlike(2.0)
    judges = Judges(Hears(), Level(), "en", [Level().embed(owner)], characters_per_second=10.0)
    sentences = [Sentence("a", "One two four", "en"), Sentence("b", "never ends", "en"), Sentence("c", "Eins", "de")]
    result = listen(Parrot(owner), sentences, judges, tmp_path, step=7, takes=2)
    assert [(t.sentence, t.take) for t in result.takes] == [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0), ("c", 1)]
    a, b, c = result.takes[::2]
    assert a.wer == pytest.approx(1 / 3)
    assert a.sim == pytest.approx(1.0)
    assert a.pace == pytest.approx(12 / 2.0 / 10.0)
    assert (b.wer, b.runaway, b.transcript) == (1.0, True, "one two three")
    assert np.isnan(c.wer)
    assert c.transcript == ""  # not listened for
    assert len(read_waveform(tmp_path / a.audio)) == len(owner)
    assert result.runaways == pytest.approx(1 / 3)


def test_the_judges_hear_training_clips_only(voice: Voice):
    for held_out in ("c4", "c5"):
        (voice.folders.processed / "wavs" / f"{held_out}.wav").unlink()
    judges = load_judges(LISTEN, voice.folders.processed, language="en", device="cpu")
    assert len(judges.owner) == 4
    assert judges.characters_per_second == pytest.approx(14 / 1.2, rel=0.01)


@pytest.fixture
def quick_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    judges = Judges(Hears(), Level(), "en", [Level().embed(speechlike(1.0))], characters_per_second=12.0)
    monkeypatch.setattr("pipelines.train.ears.load_judges", lambda *_, **__: judges)
    monkeypatch.setattr("voice.tts.frame_budget", lambda text: 8)


@pytest.mark.usefixtures("quick_judges")
def test_a_training_is_heard_before_it_and_after_each_epoch_and_keeps_what_is_chosen(voice: Voice, tmp_path: Path):
    result = voice.train(replace(FULL, listen=LISTEN), tmp_path / "out")
    assert [h.step for h in result.history.heard] == [0, 2, 4]
    assert [t.sentence for t in result.history.heard[0].takes] == ["en_1", "en_2", "en_3", "held_out"]
    chosen = kept(result.history.heard, confidence=0.95)
    assert chosen
    assert result.summary["chosen_step"] == chosen.step
    assert [h.step for h in result.history.forgetting] == [0, result.summary["chosen_step"]]
    for take in result.history.heard[-1].takes:
        assert (result.snapshots.audio / take.audio).is_file()


@pytest.mark.usefixtures("quick_judges")
def test_the_exported_weights_are_those_of_an_earlier_checkpoint_that_is_surely_better(
    voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from safetensors.torch import load_file

    from pipelines.train.ears import Ears

    listen_once = replace(FULL, epochs=3, listen=replace(LISTEN, forgetting=False))
    sims = {0: 0.5, 2: 0.9, 4: 0.7, 6: 0.8}
    kept = {}

    def hear(self: Ears, step: int) -> Heard:
        talker = self._prepared.tts.model.talker
        kept[step] = talker.codec_head.weight.detach().clone()
        return heard(step, sims[step], sims[step])  # by both sentences alike: no doubt about it

    monkeypatch.setattr(Ears, "hear", hear)
    result = voice.train(listen_once, tmp_path / "out")
    assert result.summary["chosen_step"] == 2
    exported = load_file(tmp_path / "out" / "model.safetensors")["talker.codec_head.weight"]
    assert (exported == kept[2]).all()
    assert not (exported == kept[6]).all()

    validations = {s.step: s.loss for s in result.history.curve if s.side == "eval"}
    assert result.summary["eval_loss"] == pytest.approx(validations[2])

    stopped = voice.train(replace(listen_once, seed=1, listen=replace(listen_once.listen, patience=1)), tmp_path / "b")
    assert (stopped.summary["steps"], stopped.summary["chosen_step"]) == (4, 2)


@pytest.mark.usefixtures("quick_judges")
def test_the_last_weights_are_heard_in_any_case(voice: Voice, tmp_path: Path):
    rarely = replace(LISTEN, every=3, forgetting=False)
    result = voice.train(replace(FULL, listen=rarely), tmp_path / "out")
    assert [h.step for h in result.history.heard] == [0, 3, 4]


@pytest.mark.usefixtures("quick_judges")
def test_what_was_forgotten_can_be_listened_to(voice: Voice, tmp_path: Path):
    result = voice.train(replace(FULL, epochs=1, listen=LISTEN), tmp_path / "out")
    for take in result.history.forgetting[0].takes:
        assert (result.snapshots.audio / take.audio).is_file()


def ears_of(voice: Voice, train: Train, folder: Path) -> tuple[Prepared, Ears]:
    accelerator = Accelerator(cpu=True)
    config = voice.settings(train)
    ready = prepare(config.voice, config.model, train, voice.folders.codes, accelerator)
    ears = Ears.of(ready, LISTEN, voice.folders.processed, folder, voice="Me", language="en", accelerator=accelerator)
    return ready, ears


def said(ears: Ears) -> list[np.ndarray]:
    return [read_waveform(ears.audio / take.audio) for take in ears.hear(1).takes]


@pytest.mark.usefixtures("quick_judges")
@pytest.mark.parametrize("method", [FULL, LORA], ids=["full", "lora"])
def test_a_model_in_the_middle_of_its_training_speaks_as_its_checkpoint_would(
    voice: Voice, tmp_path: Path, method: Train
):
    ready, ears = ears_of(voice, replace(method, gradient_checkpointing=Checkpointing.always), tmp_path)
    fit_memory(ready, Accelerator(cpu=True))
    ready.trainer.update()
    assert ready.tts.model.talker.training
    in_training = said(ears)
    ready.tts.model.eval()
    for one, other in zip(in_training, said(ears), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("quick_judges")
def test_adapters_are_heard_at_the_scale_they_are_exported_at_and_trained_at_one(voice: Voice, tmp_path: Path):
    assert LORA.lora is not None
    silent = replace(LORA, lr=0.05, lora=replace(LORA.lora, scale=0.0))
    ready, ears = ears_of(voice, silent, tmp_path / "silent")
    before = said(ears)
    for _ in range(3):
        ready.trainer.update()
    for one, other in zip(before, said(ears), strict=True):
        np.testing.assert_array_equal(one, other)  # at scale 0 what the adapters learnt is not heard
    assert ready.adapted is not None
    scales = {m.scaling["default"] for m in ready.adapted.modules() if isinstance(m, LoraLayer)}
    assert scales == {1.0}
